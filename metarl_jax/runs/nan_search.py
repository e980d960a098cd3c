"""Finds the operation that gives the first nan of a run: `metarl train --debug-nans`."""

import traceback
from collections.abc import Sequence

import jax
import numpy as np

from metarl_jax.core.types import Metrics, TrainState
from metarl_jax.program.build import Program
from metarl_jax.runs.executables import Executables


def first_skipped(metrics: Metrics) -> int | None:
    """Returns the index of the first meta-step, of metrics `[meta-steps, ...]`, whose update was skipped, or None."""
    (skipped,) = np.nonzero(np.asarray(metrics["skipped"]))
    return int(skipped[0]) if len(skipped) else None


def find_nan(program: Program, executables: Executables, state: TrainState, index: int) -> str:
    """Takes a meta-step again, one operation at a time, and describes the operation that gives the first nan.

    That takes minutes for large meta-steps.

    Args:
      program: of a single run.
      executables: of the same run.
      state: is donated.
      index: how many meta-steps after `state`.
    """
    if index:
        state, _, _ = executables.chunk(state, index)
    step = int(state.step) + 1
    try:
        with jax.disable_jit(), jax.debug_nans(True):
            program.step(state)
    except FloatingPointError as error:
        return f"meta-step {step} has its first nan in {_place(error)}"
    return (
        f"the update of meta-step {step} is not finite, but no operation of it gives nan: look for numbers that become "
        "infinite, or divide by a number that is nearly zero"
    )


def _place(error: FloatingPointError) -> str:
    """Describes the line that an error comes from: the innermost that is not part of JAX."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_library(frame.filename)] or frames
    lines = [f"{frame.filename}:{frame.lineno}: {frame.line}" for frame in _last(own)]
    return "\n  called from ".join(lines)


def _last(frames: Sequence[traceback.FrameSummary]) -> Sequence[traceback.FrameSummary]:
    """Returns the last three frames, innermost first."""
    return list(reversed(frames))[:3]


def _is_library(path: str) -> bool:
    return any(f"/{name}/" in path.replace("\\", "/") for name in ("jax", "optax", "flax"))
