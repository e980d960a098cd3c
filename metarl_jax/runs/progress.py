"""Progress counters and metrics lines of a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_jax.core.statistics import mean_over_tasks, summarize
from metarl_jax.program.build import Program
from metarl_jax.program.evaluation import RETURN

SUMMED = (
    "env_steps",
    "skipped",
    "nonfinite_reset",
    "nonfinite_observation",
    "nonfinite_reward",
)
"""Metrics that are added up over the meta-steps of a chunk; all others are averaged."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run, kept on the host beside its state.

    Attributes:
      env_steps: valid environment steps of training.
      seconds: time spent in training steps, without compilation and evaluation.
      held_out_return: of this very state, where it was evaluated.
      best_return: the best held-out return up to here.
      best_step: the last meta-step that had it.
      unlogged: metrics `[meta-steps, ...]` as nested lists, of the meta-steps since the last line of `metrics.jsonl`.
        There are some in a state that was saved between two lines, or before the evaluation that is due after it.
      unlogged_seconds: time spent in those meta-steps.
      diverged_step: the meta-step with which `max_skipped` updates in a row had been skipped. A
        single run ends there; a member of a sweep is carried along, and marked.
    """

    env_steps: int = 0
    seconds: float = 0.0
    held_out_return: float | None = None
    best_return: float | None = None
    best_step: int | None = None
    diverged_step: int | None = None
    unlogged: dict[str, list] = dataclasses.field(default_factory=dict)
    unlogged_seconds: float = 0.0

    @property
    def num_unlogged(self) -> int:
        """The number of those meta-steps."""
        return len(next(iter(self.unlogged.values()), ()))


Line = dict[str, Any]
Noted = tuple[Progress, Line]


def summarize_chunk(metrics: dict[str, np.ndarray]) -> dict[str, Any]:
    """Metrics of a chunk `[meta-steps, ...]` as one object of plain numbers and lists.

    Sums of `SUMMED`; of the others, means over the meta-steps where they are finite, or nan.
    """
    return {name: _summarize(name, np.asarray(x, np.float64)) for name, x in metrics.items()}


def _summarize(name: str, values: np.ndarray) -> Any:
    if name in SUMMED:
        return int(values.sum())
    counted = np.isfinite(values)
    total = np.where(counted, values, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return (total / counted.sum(axis=0)).tolist()


def note_steps(progress: Progress, metrics: dict[str, np.ndarray], seconds: float) -> Progress:
    """Meta-steps that were taken, their metrics `[meta-steps, ...]` and the time that they took."""
    before = progress.unlogged
    return dataclasses.replace(
        progress,
        held_out_return=None,
        unlogged={name: before.get(name, []) + x.tolist() for name, x in metrics.items()},
        unlogged_seconds=progress.unlogged_seconds + seconds,
    )


def note_chunk(progress: Progress, step: int) -> Noted:
    """The line of a chunk that ended with `step`, of the meta-steps that were noted since the last one."""
    chunk = summarize_chunk({name: np.asarray(x) for name, x in progress.unlogged.items()})
    env_steps, seconds = chunk.pop("env_steps"), progress.unlogged_seconds
    progress = dataclasses.replace(
        progress,
        env_steps=progress.env_steps + env_steps,
        seconds=progress.seconds + seconds,
        unlogged={},
        unlogged_seconds=0.0,
    )
    line = {
        "step": step,
        "env_steps": progress.env_steps,
        "seconds": progress.seconds,
        "env_steps_per_second": env_steps / seconds,
        "episode_return": chunk.pop("episode_return"),
    }
    return progress, line | chunk


def note_evaluation(
    progress: Progress,
    program: Program,
    step: int,
    measured: dict[str, np.ndarray],
    saved: bool,
) -> Noted:
    """Notes a held-out evaluation after `step`, by name `[tasks, K]`.

    Args:
      saved: whether the state may be kept as the best: of equals, the last.
    """
    statistics = summarize(measured[RETURN])
    score = held_out_score(program, measured)
    if np.isfinite(score):
        progress = dataclasses.replace(progress, held_out_return=score)
        if saved and (progress.best_return is None or score >= progress.best_return):
            progress = dataclasses.replace(progress, best_return=score, best_step=step)
    line = {
        "step": step,
        "env_steps": progress.env_steps,
        "seconds": progress.seconds,
        "eval_return": statistics["return_mean"],
        "eval_return_iqm": statistics["return_iqm"],
        "eval_ci95": statistics["ci95"],
        "held_out_return": score,
    }
    if "num_nonfinite_tasks" in statistics:
        line["num_nonfinite_tasks"] = statistics["num_nonfinite_tasks"]
    others = {name: x for name, x in measured.items() if name != RETURN}
    return progress, line | {
        f"eval_{name}": mean_over_tasks(x).tolist() for name, x in others.items()
    }


def note_divergence(progress: Progress, step: int) -> Progress:
    """Too many updates in a row had been skipped after `step`, unless that was noted before."""
    if progress.diverged_step is not None:
        return progress
    return dataclasses.replace(progress, diverged_step=step)


def held_out_score(program: Program, measured: dict[str, np.ndarray]) -> float:
    """Returns the number by which checkpoints are ranked, of which more is better: the return, or what
    `evaluation.select_by` names, with its sign changed where a minus asks for the least.

    The mean over the rounds for learners to whom a trial is one sequence, exploration included; the
    last round that training has for those that adapt between rounds, to whom the earlier ones are data.
    Tasks with a return that is not finite are left out, where there are others.
    """
    chosen = program.config.evaluation.select_by
    name = chosen.removeprefix("-")
    values = measured[name if name == RETURN else f"env/{name}"]
    if chosen != name:
        values = -values
    by_round = mean_over_tasks(values)[counted_rounds(program, values.shape[1])]
    return float(by_round[~np.isnan(by_round)].mean()) if not np.isnan(by_round).all() else np.nan


def counted_rounds(program: Program, num_rounds: int) -> slice:
    """The rounds, of so many, that `held_out_return` is the mean of."""
    if program.config.learner.result_rounds == "all":
        return slice(num_rounds)
    last = min(program.config.num_rounds, num_rounds) - 1
    return slice(last, last + 1)


def mean_line(lines: Sequence[Line]) -> Line:
    """The lines of all members as one, with means over them, or sums where those are meant."""
    if len(lines) == 1:
        return lines[0]
    shared = [name for name in lines[0] if all(name in line for line in lines)]
    return {name: _mean(name, [line[name] for line in lines]) for name in shared}


def _mean(name: str, values: list[Any]) -> Any:
    if name == "step":
        return values[0]
    total = np.sum(values, axis=0)
    return int(total) if name in SUMMED else (total / len(values)).tolist()
