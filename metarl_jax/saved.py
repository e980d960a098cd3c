"""Trained runs, opened again at their best state."""

from collections.abc import Callable
from typing import NamedTuple

from metarl_jax import checkpoint as checkpointing
from metarl_jax.config import Config
from metarl_jax.executables import Executables, run_functions
from metarl_jax.program import Program, build
from metarl_jax.run_folder import RunFolder
from metarl_jax.types import TrainState


class Saved(NamedTuple):
    """A run that was trained, and its state at one of its checkpoints.

    Attributes:
      program: what its configuration says.
      executables: its functions, compiled when they are called.
      state: at the checkpoint that is best by held-out return, or else the latest.
      step: the meta-steps of that state.
    """

    program: Program
    executables: Executables
    state: TrainState
    step: int


def open_best(folder: RunFolder, config: Config, warn: Callable[[str], None]) -> Saved:
    """Opens a run at its best state.

    Args:
      folder: of the run.
      config: that of the run, but for where it is computed.
      warn: is told of checkpoints that are damaged.

    Raises:
      ValueError: if there is no whole checkpoint.
    """
    program = build(config)
    executables = Executables(run_functions(program))
    found = checkpointing.load_best(
        folder.checkpoints,
        executables.abstract_state,
        on_damage=lambda error: warn(f"{error}; another one is used"),
    )
    if found is None:
        raise ValueError(
            f"run_dir={str(folder.path)!r} has no checkpoint that can be read: train it first, "
            f"with `metarl resume {folder.path}`"
        )
    return Saved(program, executables, found.state, found.step)
