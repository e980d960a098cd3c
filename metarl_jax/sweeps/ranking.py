"""The results of a sweep: its points, ranked by the held-out return of the trained learners."""

from typing import Any

import numpy as np

from metarl_jax.console.tables import Column, Table, interval, interval_over, number
from metarl_jax.core.statistics import (
    ci95_over_seeds,
    finite_tasks,
    mean_over_tasks,
    sum_over_rounds,
)
from metarl_jax.runs.checkpoint import step_of
from metarl_jax.runs.loop import Run, Trained
from metarl_jax.runs.progress import counted_rounds
from metarl_jax.runs.report import count_parameters
from metarl_jax.sweeps.sweep import Point, Sweep


def rank(run: Run, sweep: Sweep, returns: np.ndarray, trained: Trained) -> dict[str, Any]:
    """Returns the content of `results.json`.

    Args:
      returns: held-out returns of all members at their best checkpoints, `[M, tasks, K]`.
      trained: the state of all members at the end, and the progress of each.
    """
    num_tasks, num_rounds = returns.shape[1:]
    counted = counted_rounds(run.program, num_rounds)
    groups = returns.reshape(-1, sweep.num_seeds, num_tasks, num_rounds)
    rows = []
    for index, (values, group) in enumerate(zip(sweep.points, groups, strict=True)):
        members = slice(index * sweep.num_seeds, (index + 1) * sweep.num_seeds)
        diverged = [p.diverged_step is not None for p in trained.progress[members]]
        rows.append(_row(values, group, counted) | {"num_diverged": sum(diverged)})
        rows[-1]["members"] = [folder.path.name for folder in run.folders[members]]
    rows.sort(key=lambda row: row["score"] if np.isfinite(row["score"]) else -np.inf, reverse=True)
    return {
        "split": run.config.evaluation.split,
        "num_tasks": num_tasks,
        "num_seeds": sweep.num_seeds,
        "checkpoint": "best",
        "step": step_of(trained.state),
        "parameters": count_parameters(run),
        "counted_rounds": [*range(num_rounds)[counted]],
        "round_label": run.config.learner.round_label,
        "points": rows,
    }


def _row(values: Point, returns: np.ndarray, counted: slice) -> dict[str, Any]:
    """Returns the row of a point, from its held-out returns `[S, tasks, K]`; tasks with a return that is not finite are
    left out."""
    seeds = [finite_tasks(mine) for mine in returns]
    scores = [_mean_of_ended(mine[:, counted]) for mine in seeds]
    totals = [sum_over_rounds(mine) for mine in seeds]
    by_seed = [float(mean_over_tasks(mine)[0]) for mine in scores]
    return {
        "values": dict(values),
        "score": float(np.mean(by_seed)),
        "score_ci95": ci95_over_seeds(scores)[:, 0].tolist(),
        "score_by_seed": by_seed,
        "return_mean": np.mean([mean_over_tasks(mine) for mine in seeds], axis=0).tolist(),
        "ci95": ci95_over_seeds(seeds).T.tolist(),
        "total_mean": float(np.mean([mine.mean() for mine in totals])),
        "total_ci95": ci95_over_seeds(totals)[:, 0].tolist(),
    }


def _mean_of_ended(returns: np.ndarray) -> np.ndarray:
    """Averages `[tasks, K]` over the rounds in which an episode ended, to `[tasks, 1]`; nan without any."""
    has_ended = ~np.isnan(returns)
    count = has_ended.sum(axis=1, keepdims=True)
    total = np.where(has_ended, returns, 0.0).sum(axis=1, keepdims=True)
    return np.where(count, total / np.maximum(count, 1), np.nan)


def results_table(results: dict[str, Any]) -> Table:
    """Formats the content of `results.json` as a table, the best point first."""
    rows, counted, num_seeds = (results[name] for name in ("points", "counted_rounds", "num_seeds"))
    unit = results["round_label"]
    ranked_by = f"{unit} {counted[0] + 1}" if len(counted) == 1 else f"the mean over {unit}s"
    title = (
        f"Held-out return on {results['num_tasks']} tasks of split {results['split']!r}, "
        f"{num_seeds} seed(s), best checkpoints of {results['step']} meta-steps, ranked by {ranked_by}; "
        f"95% intervals {interval_over(num_seeds)}"
    )
    columns = [Column("", [str(place) for place in range(1, len(rows) + 1)])]
    for name in rows[0]["values"]:
        values = [f"{row['values'][name]:g}" for row in rows]
        columns.append(Column(name.rpartition(".")[2], values))
    returns = [number(row["score"]) + _remark(row, num_seeds) for row in rows]
    columns += [
        Column("return", returns),
        Column("95% interval", [interval(row["score_ci95"]) for row in rows]),
    ]
    for index in range(len(rows[0]["return_mean"])):
        means = [number(row["return_mean"][index]) for row in rows]
        columns.append(Column(f"{unit} {index + 1}", means, may_go=True))
    return Table(title, columns)


def _remark(row: dict[str, Any], num_seeds: int) -> str:
    count = row["num_diverged"]
    return f"\n({count} of {num_seeds} diverged)" if count else ""
