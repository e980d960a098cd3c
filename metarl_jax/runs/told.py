"""Comparison of a run with a control run that observes the task."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.config import Config, RuntimeConfig, changes
from metarl_jax.core.errors import UserError
from metarl_jax.core.statistics import finite_tasks, mean_over_tasks, relative_returns
from metarl_jax.program.evaluation import RETURN
from metarl_jax.runs.executables import REPORTS
from metarl_jax.runs.json_files import finite
from metarl_jax.runs.loop import Run
from metarl_jax.runs.report import Evaluated
from metarl_jax.runs.restore import open_run, reopen


class ToldRun:
    """A trained run whose learner observes the task, at its best checkpoint."""

    def __init__(
        self,
        run_dir: Path | str,
        config: Config,
        runtime: RuntimeConfig | None,
        warn: Callable[[str], None],
    ):
        """Opens the run.

        Args:
          run_dir: its folder.
          config: of the run to compare with it.
          runtime: where to compute; as in training when not given.
          warn: receives messages about differences on this machine.

        Raises:
          UserError: if it does not observe the task, or was trained in other tasks.
        """
        folder, own = reopen(Path(run_dir), warn, runtime)
        check_told(str(run_dir), own, config)
        sizes = {"num_tasks": config.evaluation.num_tasks}
        evaluation = dataclasses.replace(own.evaluation, **sizes)
        self._saved = open_run(folder, dataclasses.replace(own, evaluation=evaluation), warn)
        self.path = folder.path

    def compare(self, run: Run, found: Evaluated, split: str) -> dict[str, Any]:
        """Compares what was found of a run with the returns of this one, in the same tasks.

        The result has `run`, `step`, the `return_mean` of this run by round, and of each round of the other one
        `relative`, (return − random)/(told − random), with its 95% interval `relative_ci95` over tasks. Told is the
        return of this run in its last round, and random that of the random policy in all rounds.
        """
        key, num_tasks = run.executables.evaluation_key(REPORTS), len(found.returns)
        told = self._saved.executables.evaluate(self._saved.state, key, split, num_tasks)[RETURN]
        random = found.random.mean(axis=1, keepdims=True)
        together = finite_tasks(np.concatenate([found.returns, told[:, -1:], random], axis=1))
        relative, ends = relative_returns(together[:, :-2], together[:, -2], together[:, -1])
        return finite(
            {
                "run": str(self.path),
                "step": self._saved.step,
                "return_mean": mean_over_tasks(told).tolist(),
                "relative": relative.tolist(),
                "relative_ci95": ends.T.tolist(),
            }
        )


def check_told(name: str, told: Config, config: Config) -> None:
    """Raises `UserError` unless a run observes the task and was trained in the same tasks as another run.

    Args:
      name: the folder of the run, for messages.
      told: its configuration.
      config: of the other run.
    """
    if not told.env.told_task:
        raise UserError(
            f"told={name!r} is not told the task: name a run that was trained with --env.told-task"
        )
    if config.env.told_task:
        raise UserError(
            f"told={name!r} is a control for runs that are not told the task, and this one is: leave --told out"
        )
    untold = dataclasses.replace(told, env=dataclasses.replace(told.env, told_task=False))
    differs = changes(untold, dataclasses.replace(untold, env=config.env))
    if differs:
        fields = ", ".join(
            f"{field}={mine!r}, not {its!r}" for field, (its, mine) in differs.items()
        )
        raise UserError(
            f"told={name!r} was trained in other tasks: this run has {fields}: name one with the same environment"
        )
