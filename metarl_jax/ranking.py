"""The results of a sweep: its combinations of values, ranked by the held-out return of the trained learners."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from metarl_jax.checkpoint import Progress
from metarl_jax.logbook import counted_rounds
from metarl_jax.loop import Run
from metarl_jax.metrics import number
from metarl_jax.report import count_parameters
from metarl_jax.sweep import Sweep


def bootstrap_ci95_of_seeds(
    returns: np.ndarray, num_samples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Percentile bootstrap interval of the mean over seeds and tasks: `[S, tasks, K]` to `[2, K]`.

    Seeds are drawn with replacement, and for each drawn seed the tasks that it was evaluated in.
    With one seed the interval tells of the tasks alone.
    """
    num_seeds, num_tasks, _ = returns.shape
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(num_samples):
        seeds = generator.integers(num_seeds, size=(num_seeds, 1))
        tasks = generator.integers(num_tasks, size=(num_seeds, num_tasks))
        means.append(returns[seeds, tasks].mean(axis=(0, 1)))
    return np.percentile(means, [2.5, 97.5], axis=0)


def rank(
    run: Run, sweep: Sweep, returns: np.ndarray, progress: Sequence[Progress]
) -> dict[str, Any]:
    """The content of `results.json`.

    Args:
      returns: held-out returns of all members, `[M, tasks, K]`.
      progress: of every member.
    """
    num_tasks, num_rounds = returns.shape[1:]
    counted = counted_rounds(run.program, num_rounds)
    groups = returns.reshape(-1, sweep.num_seeds, num_tasks, num_rounds)
    rows = []
    for index, (values, group) in enumerate(zip(sweep.combinations(), groups, strict=True)):
        members = slice(index * sweep.num_seeds, (index + 1) * sweep.num_seeds)
        diverged = [p.diverged_step is not None for p in progress[members]]
        rows.append(_row(values, group, counted) | {"num_diverged": sum(diverged)})
        rows[-1]["members"] = [folder.path.name for folder in run.folders[members]]
    rows.sort(key=lambda row: row["score"] if np.isfinite(row["score"]) else -np.inf, reverse=True)
    return {
        "split": run.config.evaluation.split,
        "num_tasks": num_tasks,
        "num_seeds": sweep.num_seeds,
        "step": run.config.num_meta_steps,
        "parameters": count_parameters(run),
        "counted_rounds": [*range(num_rounds)[counted]],
        "combinations": rows,
    }


def _row(values: dict[str, float], returns: np.ndarray, counted: slice) -> dict[str, Any]:
    """A combination with its held-out returns `[S, tasks, K]`."""
    scores = returns[..., counted].mean(axis=-1, keepdims=True)
    return {
        "values": values,
        "score": float(scores.mean()),
        "score_ci95": bootstrap_ci95_of_seeds(scores)[:, 0].tolist(),
        "score_by_seed": scores.mean(axis=(1, 2)).tolist(),
        "return_mean": returns.mean(axis=(0, 1)).tolist(),
        "ci95": bootstrap_ci95_of_seeds(returns).T.tolist(),
    }


def results_table(results: dict[str, Any]) -> Table:
    """The content of `results.json` as a table, the best combination first."""
    rows, counted = results["combinations"], results["counted_rounds"]
    title = (
        f"Held-out return on {results['num_tasks']} tasks of split {results['split']!r}, "
        f"{results['num_seeds']} seed(s) after {results['step']} meta-steps, ranked by "
        + (f"round {counted[0] + 1}" if len(counted) == 1 else "the mean over rounds")
    )
    table = Table(title=title, title_justify="left")
    rounds = [f"round {index + 1}" for index in range(len(rows[0]["return_mean"]))]
    names = [name.rpartition(".")[2] for name in rows[0]["values"]]
    for name in ("", *names, "return", "95% interval", *rounds):
        table.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(rows, start=1):
        low, high = row["score_ci95"]
        values = [f"{value:g}" for value in row["values"].values()]
        means = [number(mean) for mean in row["return_mean"]]
        score = number(row["score"]) + _remark(row, results["num_seeds"])
        interval = f"{number(low)} to {number(high)}"
        table.add_row(str(place), *values, score, interval, *means)
    return table


def _remark(row: dict[str, Any], num_seeds: int) -> str:
    count = row["num_diverged"]
    return f" ({count} of {num_seeds} diverged)" if count else ""
