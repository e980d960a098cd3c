"""Named experiments: each file has a source, a number to expect, and a `CONFIG`."""

from metarl_jax.config import Config
from metarl_jax.registry import Registry

registry: Registry[Config] = Registry(
    "preset",
    {
        "maml-point-robot": "metarl_jax.experiments.maml_point_robot:CONFIG",
        "maml-point-robot-one-step": "metarl_jax.experiments.maml_point_robot:ONE_STEP",
        "rl2-bandit": "metarl_jax.experiments.rl2_bandit:CONFIG",
        "rl2-grid-navi": "metarl_jax.experiments.rl2_grid_navi:CONFIG",
    },
)


def names() -> list[str]:
    """The names of all presets."""
    return registry.names()


def get(name: str) -> Config:
    """The configuration of this name; raises `ValueError` that suggests the nearest name."""
    return registry.get(name)
