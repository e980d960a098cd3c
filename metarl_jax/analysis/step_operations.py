"""Operations of one environment step in the lowered program: `metarl bench --ops`.

A GPU pays for every kernel, whatever its size. Fusion makes fewer kernels of these operations, so that their number is
a bound and not a forecast; it tells learners apart, and what a change adds to each step.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from metarl_jax.analysis.dry_run import LOWERED_AS
from metarl_jax.analysis.timed_programs import make_collect, make_simulate
from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.program.build import make_spec
from metarl_jax.program.step import make_init

FREE = ("constant", "reshape", "return")
"""Operations that compute nothing and move nothing."""
MOVES = (
    "slice",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "scatter",
    "concatenate",
    "pad",
    "transpose",
)
"""Operations that only move numbers."""


@under_fixed_settings
def step_operations(config: Config, platform: str) -> dict[str, Any]:
    """Counts the operations of one environment step, of the simulator under random actions and of the learner in it.

    Args:
      config: of the run; `runtime` is not used.
      platform: `cpu`, `gpu` or `tpu`, which need not be there.

    Returns:
      The content of `metarl bench --ops --json`: for `simulator` and `collect`, the number of `operations`, and of
      those `products`, `moves` and iterations of inner `loops`.

    Raises:
      UserError: for episodes of one step, which are no loop.
    """
    length = config.env.episode_length if config.num_steps is None else config.num_steps
    if length < 2:
        raise UserError(
            f"ops counts the operations in the loop over the steps of an episode, and those of env {config.env.name!r} "
            "have a single step: choose another env"
        )
    runtime = dataclasses.replace(config.runtime, platform="cpu", num_devices=1, unroll=1)
    spec = make_spec(dataclasses.replace(config, runtime=runtime), platform)
    length = spec.segment_steps or length
    key = make_key(config.seed)
    state = jax.eval_shape(make_init(spec), key)

    def count(function: Callable, *args: Any) -> dict[str, int]:
        lowered = jax.jit(function).trace(*args).lower(lowering_platforms=(LOWERED_AS[platform],))
        return _summary(_of_step(lowered.compiler_ir("stablehlo"), length))

    counts = {
        "simulator": count(make_simulate(spec), key),
        "collect": count(make_collect(spec), state, key),
    }
    return {"preset": config.name, "platform": platform, "operations_of_a_step": counts}


def _of_step(module: Any, length: int) -> collections.Counter[str]:
    """Returns the operations in the body of the loop over `length` steps, by name; of several, the one with most."""
    functions = {_symbol(op, "sym_name"): op for op in module.body.operations}
    loops = []

    def walk(op: Any) -> None:
        for inner in _inside(op):
            if inner.name == "stablehlo.while" and _trips(inner) == length:
                loops.append(_count(inner.regions[1], functions))
            walk(inner)

    for function in functions.values():
        walk(function)
    return max(loops, key=lambda counts: counts.total())


def _count(region: Any, functions: dict[str, Any]) -> collections.Counter[str]:
    """Counts the operations of a region, with those of functions that it calls and of loops in it as often as they
    run."""
    counts: collections.Counter[str] = collections.Counter()
    for block in region.blocks:
        for op in block.operations:
            name = op.operation.name.split(".")[-1]
            if name == "call":
                callee = functions[_symbol(op, "callee")]
                counts += _count(callee.regions[0], functions)
            elif name == "while":
                trips = _trips(op.operation) or 1
                body = _count(op.operation.regions[1], functions)
                counts += collections.Counter({k: trips * n for k, n in body.items()})
                counts["iteration"] += trips
            elif name in ("case", "if"):
                branches = [_count(branch, functions) for branch in op.operation.regions]
                counts += max(branches, key=lambda counts: counts.total())
            else:
                counts[name] += 1
    return counts


def _trips(loop: Any) -> int | None:
    """Returns how often a `while` runs that counts from 0 to a constant, as those of scans do; else None."""
    for op in loop.regions[0].blocks[0].operations:
        if op.operation.name == "stablehlo.compare":
            bound = op.operation.operands[1].owner
            if getattr(bound, "name", None) == "stablehlo.constant":
                return int(next(iter(bound.attributes["value"])))
    return None


def _symbol(op: Any, name: str) -> str:
    return str(op.operation.attributes[name]).strip('"@')


def _inside(op: Any) -> list[Any]:
    regions = op.operation.regions
    return [inner.operation for region in regions for block in region.blocks for inner in block]


def _summary(counts: collections.Counter[str]) -> dict[str, int]:
    counted = {name: n for name, n in counts.items() if name not in (*FREE, "iteration")}
    return {
        "operations": sum(counted.values()),
        "products": counts["dot_general"] + counts["convolution"],
        "moves": sum(counts[name] for name in MOVES),
        "loops": counts["iteration"],
    }
