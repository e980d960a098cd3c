"""How the executables of a run are compiled, by its `runtime`."""

from typing import Any

from metarl_jax.config import Config


def compiler_options(config: Config, platform: str) -> dict[str, Any]:
    """Returns what XLA is told for a platform: options of the environment, and of `runtime.deterministic` for a GPU.

    Other platforms have one order for the sums of an executable anyway.
    """
    told = {}
    if platform == "gpu" and config.runtime.deterministic:
        told = {"xla_gpu_deterministic_ops": True}
    return told | config.env.compiler_options(platform)


def donated(config: Config) -> tuple[int, ...]:
    """Returns the arguments of a meta-step, or a chunk of them, whose memory XLA may use again: the state, or none."""
    return (0,) if config.runtime.donate else ()
