"""Trained runs, opened again."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from metarl_jax import checkpoint as checkpointing
from metarl_jax.checkpoint import DamagedCheckpointError
from metarl_jax.config import Config
from metarl_jax.executables import Executables, run_functions
from metarl_jax.program import Program, build
from metarl_jax.run_folder import RunFolder
from metarl_jax.sweep_saved import load_member
from metarl_jax.types import TrainState
from metarl_jax.writing import to_resume


class Saved(NamedTuple):
    """A run that was trained, and its state at one of its checkpoints.

    Attributes:
      program: what its configuration says.
      executables: its functions, compiled when they are called.
      state: at one of its checkpoints.
      step: the meta-steps of that state.
    """

    program: Program
    executables: Executables
    state: TrainState
    step: int


Which = Literal["best", "latest"]
"""A checkpoint of a run: the best by held-out return (or else the latest), or the latest."""


def open_run(
    folder: RunFolder, config: Config, warn: Callable[[str], None], which: Which = "best"
) -> Saved:
    """Opens a run at its best or its latest state.

    Args:
      folder: of the run.
      config: that of the run, but for where it is computed.
      warn: is told of checkpoints that are damaged.
      which: the checkpoint.

    Raises:
      ValueError: if there is no whole checkpoint.
    """
    program = build(config)
    executables = Executables(run_functions(program))
    load = {"best": checkpointing.load_best, "latest": checkpointing.load_latest}[which]

    def on_damage(error: DamagedCheckpointError) -> None:
        warn(f"{error}; another one is used")

    found = load(folder.checkpoints, executables.abstract_state, on_damage=on_damage)
    found = found or load_member(folder, executables.abstract_state, which, on_damage=on_damage)
    if found is None:
        raise ValueError(
            f"run_dir={str(folder.path)!r} has no checkpoint that can be read: train it first, "
            f"with `metarl resume {to_resume(folder.path)}`"
        )
    return Saved(program, executables, found.state, found.step)
