"""Trained runs, opened again at their best state."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metarl_jax import checkpoint as checkpointing
from metarl_jax import run_folder
from metarl_jax.config import RuntimeConfig
from metarl_jax.executables import Executables, run_functions
from metarl_jax.program import Program, build
from metarl_jax.run_folder import RunFolder
from metarl_jax.types import TrainState


class Saved(NamedTuple):
    """A run that lies in a folder, and its state at one of its checkpoints.

    Attributes:
      folder: where it lies.
      program: what its configuration says.
      executables: its functions, compiled when they are called.
      state: at the checkpoint that is best by held-out return, or else the latest.
      step: the meta-steps of that state.
    """

    folder: RunFolder
    program: Program
    executables: Executables
    state: TrainState
    step: int


def open_best(
    run_dir: Path, warn: Callable[[str], None], *, runtime: RuntimeConfig | None = None
) -> Saved:
    """Opens a run at its best state.

    Args:
      run_dir: the folder of a run.
      warn: is told of checkpoints that are damaged.
      runtime: where to compute, if not where the run was trained.

    Raises:
      ValueError: if there is no run, or no whole checkpoint.
    """
    folder, config = run_folder.open_existing(run_dir)
    if runtime is not None:
        config = dataclasses.replace(config, runtime=runtime)
    program = build(config)
    executables = Executables(run_functions(program))
    found = checkpointing.load_best(
        folder.checkpoints,
        executables.abstract_state,
        on_damage=lambda error: warn(f"{error}; another one is used"),
    )
    if found is None:
        raise ValueError(
            f"run_dir={str(run_dir)!r} has no checkpoint that can be read: train it first, "
            f"with `metarl resume {run_dir}`"
        )
    return Saved(folder, program, executables, found.state, found.step)
