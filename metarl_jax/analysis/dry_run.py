"""What a run would be on some number of devices, without the devices: `metarl train --dry-run`."""

import collections
import dataclasses
import math
import re
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.types import PyTree, TrainState
from metarl_jax.program import memory
from metarl_jax.program.build import Program, build, make_spec
from metarl_jax.program.compilation import compiler_options, donated
from metarl_jax.program.devices import replicated, select_devices, state_sharding
from metarl_jax.program.step import take_steps

LOWERED_AS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
"""Platform to JAX's name of what a program is lowered for."""


class Lowered(NamedTuple):
    """A run that was not started.

    Attributes:
      report: tasks of each device, shapes, bytes, and operations of the program, as plain data.
      text: the program of a chunk of meta-steps, as StableHLO.
    """

    report: dict[str, Any]
    text: str


def dry_run(
    config: Config, platform: str, num_devices: int | None = None, *, compiles: bool = False
) -> Lowered:
    """Lowers the program of a run for a platform, on as many devices of this machine's CPU as it would have.

    Args:
      config: of the run; `runtime.platform` is not used.
      platform: `cpu`, `gpu` or `tpu`, which need not be there.
      num_devices: how many share the tasks; one when not given. There must be as many on the CPU
        (`jax_num_cpu_devices`).
      compiles: whether the program is also compiled, which only the CPU does for itself.

    Raises:
      UserError: if the tasks cannot be shared evenly by the devices, or do not fit into `runtime.memory_limit`.
    """
    if compiles and platform != "cpu":
        raise UserError(
            f"compile with runtime.platform={platform}: a program for it is compiled where such a device is; leave "
            "--compile out"
        )
    runtime = dataclasses.replace(config.runtime, platform="cpu", num_devices=num_devices or 1)
    here = dataclasses.replace(config, runtime=runtime)
    program = build(here, platform)
    spec, devices = make_spec(here, platform), select_devices(here)
    memory.check(here, spec)
    shapes = jax.eval_shape(program.init, make_key(config.seed))
    shardings = state_sharding(program.outer, program.axis, devices, shapes)
    state = jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, shardings
    )

    def chunk(state: TrainState, num_steps: jax.Array):
        return take_steps(program.step, state, num_steps, config.log_every)

    everywhere = replicated(program.axis, devices)
    jitted = jax.jit(chunk, donate_argnums=donated(config), out_shardings=(shardings, everywhere))
    started = time.perf_counter()
    traced = jitted.trace(state, jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere))
    lowered = traced.lower(lowering_platforms=(LOWERED_AS[platform],))
    seconds, text = time.perf_counter() - started, lowered.as_text()
    report = {
        "preset": config.name,
        "platform": platform,
        "devices": len(devices),
        "tasks": _division(here, len(devices), spec.collect_block, spec.update_block),
        "state": _state(state),
        "trials": _trials(program, shapes, len(devices)),
        "estimated_bytes_per_device": memory.estimate(here, spec).total(
            memory.blocks_of(here, spec)
        ),
        "program": _operations(text) | {"lower_seconds": seconds},
    }
    if compiles:
        options = compiler_options(config, platform)
        report["compiled"] = _compiled(partial(lowered.compile, options))
    return Lowered(report, text)


def _division(
    config: Config, num_devices: int, collect_block: int | None, update_block: int | None
) -> dict[str, Any]:
    """Returns how tasks are shared out; a block of None is all tasks of a device."""
    local = config.num_tasks // num_devices
    return {
        "all": config.num_tasks,
        "per_device": local,
        "collect_block": min(local, collect_block or local),
        "update_block": min(local, update_block or local),
    }


def _state(state: TrainState) -> dict[str, Any]:
    """Returns the shapes of the parameters, and the bytes on a device of each part of the state."""
    parts = {
        "parameters": state.meta.params,
        "memory": state.meta.memory,
        "normalizer": state.meta.normalizer,
        "optimizer": state.opt_state,
        "trials under way": state.live,
    }
    return {
        "parameter_shapes": _shapes(state.meta.params),
        "num_parameters": sum(x.size for x in jax.tree.leaves(state.meta.params)),
        "bytes_per_device": {
            name: sum(map(_local_bytes, jax.tree.leaves(part))) for name, part in parts.items()
        },
    }


def _trials(program: Program, state: PyTree, num_devices: int) -> dict[str, Any]:
    """Returns the shapes of the record of one task's trial, and the bytes of those of a device's tasks."""
    config = program.config

    def record(state, key):
        return program.trial(state, program.env.sample(key, "train"), key)

    trial = jax.eval_shape(record, state, make_key(0))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(trial)) // config.num_segments
    return {
        "shapes_per_task": _shapes(trial.rollout),
        "bytes_per_task": size,
        "bytes_per_device": size * (config.num_tasks // num_devices),
    }


def _operations(text: str) -> dict[str, Any]:
    """Counts the operations of a StableHLO program, and those that tell how it will run."""
    counts = collections.Counter(re.findall(r"\bstablehlo\.(\w+)", text))
    names = ("all_reduce", "while", "dot_general", "convolution", "custom_call")
    return {
        "operations": sum(counts.values()),
        "bytes": len(text),
        "float64": bool(re.search(r"\bxf64>|<f64>", text)),
        **{name: counts[name] for name in names},
    }


def _compiled(compile_program: Any) -> dict[str, Any]:
    """Compiles, and returns the seconds and the bytes that a device needs."""
    started = time.perf_counter()
    plan = compile_program().memory_analysis()
    found: dict[str, Any] = {"seconds": time.perf_counter() - started}
    if plan is not None:
        kept, temporary = plan.argument_size_in_bytes, plan.temp_size_in_bytes
        found |= {
            "argument_bytes": kept,
            "temporary_bytes": temporary,
            "output_bytes": plan.output_size_in_bytes,
            "total_bytes_per_device": kept
            + temporary
            + plan.output_size_in_bytes
            # Outputs that take the place of donated arguments.
            - plan.alias_size_in_bytes,
        }
    return found


def _shapes(tree: PyTree) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }


def _local_bytes(x: jax.ShapeDtypeStruct) -> int:
    """Bytes of an array on one device. Keys are two numbers of 4 bytes."""
    shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
    size = x.dtype.itemsize if isinstance(x.dtype, np.dtype) else 8
    return math.prod(shape) * size
