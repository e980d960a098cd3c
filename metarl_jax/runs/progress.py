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
"""Metrics that are summed over the meta-steps of a chunk; all others are averaged."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run, kept on the host beside its state.

    Attributes:
      env_steps: valid environment steps of training.
      seconds: time spent in training steps, without compilation and evaluation.
      held_out_return: of this state, if it was evaluated.
      best_return: the best held-out return so far.
      best_step: the last meta-step that reached it.
      unlogged: metrics `[meta-steps, ...]` as nested lists, of the meta-steps since the last line of `metrics.jsonl`.
        There are some if the state was saved between two lines, or before an evaluation that is due.
      unlogged_seconds: time spent in those meta-steps.
      diverged_step: the meta-step with which `max_skipped` updates in a row had been skipped. A single run ends there;
        a member of a sweep is carried along, and marked.
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
        """Number of meta-steps since the last line."""
        return len(next(iter(self.unlogged.values()), ()))


Line = dict[str, Any]
Noted = tuple[Progress, Line]


def summarize_chunk(metrics: dict[str, np.ndarray]) -> dict[str, Any]:
    """Summarises metrics of a chunk `[meta-steps, ...]` as plain numbers and lists: sums of `SUMMED`; for others, means
    over the meta-steps with finite values, or nan.
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
    """Records meta-steps, with their metrics `[meta-steps, ...]` and duration."""
    before = progress.unlogged
    return dataclasses.replace(
        progress,
        held_out_return=None,
        unlogged={name: before.get(name, []) + x.tolist() for name, x in metrics.items()},
        unlogged_seconds=progress.unlogged_seconds + seconds,
    )


def note_chunk(progress: Progress, step: int) -> Noted:
    """Returns the line of metrics of a chunk that ended with `step`, over the meta-steps since the last line."""
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
    """Records a held-out evaluation after `step`, by name `[tasks, K]`.

    Args:
      saved: whether the state may become the best; among equals, the last is kept.
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
    """Records that too many consecutive updates were skipped by `step`, unless recorded before."""
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
    """Returns the rounds, out of this many, that `held_out_return` averages over."""
    if program.config.learner.result_rounds == "all":
        return slice(num_rounds)
    last = min(program.config.num_rounds, num_rounds) - 1
    return slice(last, last + 1)


def mean_line(lines: Sequence[Line]) -> Line:
    """Joins the lines of all members into one, with means over them, or sums for `SUMMED`."""
    if len(lines) == 1:
        return lines[0]
    shared = [name for name in lines[0] if all(name in line for line in lines)]
    return {name: _mean(name, [line[name] for line in lines]) for name in shared}


def _mean(name: str, values: list[Any]) -> Any:
    if name == "step":
        return values[0]
    total = np.sum(values, axis=0)
    return int(total) if name in SUMMED else (total / len(values)).tolist()
