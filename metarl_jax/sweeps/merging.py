"""Runs that differ in nothing but their seed, as one row of a comparison."""

import json
import math
from collections.abc import Sequence

import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.seed_statistics import probability_of_improvement, seeds_iqm
from metarl_jax.core.statistics import t_ci95
from metarl_jax.sweeps.rows import Interval, Row, flat_config


def merge_seeds(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with one for all ended runs of a configuration, at the place of the first.

    Runs belong together if their configurations differ in the seed alone, or in fields that do not change results.
    Means are then over the seeds, and intervals are t intervals over the means of the seeds. Sweeps have such rows
    already.
    """
    groups: dict[str, list[Row]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(_configuration(row) or f"row {index}", []).append(row)
    return [group[0] if len(group) == 1 else _merged(group) for group in groups.values()]


def _configuration(row: Row) -> str | None:
    """Returns what the runs of a configuration have in common; None for a row that stays alone."""
    if row.num_seeds != 1 or not row.is_finished:
        return None
    same = flat_config(row.config) | row.values
    same.pop("seed", None)
    return json.dumps([same, row.num_tasks, row.step, len(row.return_mean)], sort_keys=True)


def _merged(rows: Sequence[Row]) -> Row:
    first = rows[0]
    means = _columns([row.return_mean for row in rows])
    config = {name: value for name, value in first.config.items() if name != "seed"}
    env_steps = [row.env_steps for row in rows if row.env_steps is not None]
    metrics = {name: _columns([row.metrics[name] for row in rows]) for name in first.metrics}
    checkpoints = {row.checkpoint for row in rows}
    return first._replace(
        num_seeds=len(rows),
        env_steps=float(np.mean(env_steps)) if env_steps else None,
        return_mean=[_mean(column) for column in means],
        ci95=[_interval(column) for column in means],
        total_mean=_mean([row.total() for row in rows]),
        total_ci95=_interval([row.total() for row in rows]),
        counted_ci95=_interval([row.counted_mean() for row in rows]),
        metrics={name: [_mean(x) for x in columns] for name, columns in metrics.items()},
        checkpoint=first.checkpoint if len(checkpoints) == 1 else None,
        config=config,
        seed_scores=[score for row in rows for score in row.scores()],
        paths=[row.path for row in rows],
    )


def _columns(rows: Sequence[Sequence[float | None]]) -> list[tuple[float | None, ...]]:
    return list(zip(*rows, strict=True))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _interval(values: Sequence[float | None]) -> Interval:
    known = [value for value in values if value is not None]
    return t_ci95(np.array(known)).tolist() if len(known) == len(values) else (None, None)


def with_seed_statistics(rows: Sequence[Row], baseline: str | None) -> list[Row]:
    """Returns the rows with the interquartile mean over seeds, where they have several, and with the probability that a
    seed is better than one of the baseline in the same environment and split.

    Args:
      rows: with names.
      baseline: the name of a row: its folder, as the table shows it, or its preset. None for no baseline.

    Raises:
      UserError: if no row, or several rows of one environment, have that name.
    """
    rows = [
        row._replace(iqm=seeds_iqm(np.array(row.scores())[:, None])) if _is_known(row) else row
        for row in rows
    ]
    if baseline is None:
        return rows
    named = [
        row for row in rows if baseline in (*row.name.splitlines()[:1], row.config.get("name"))
    ]
    by_tasks = {_tasks(row): row for row in named}
    if not named or len(by_tasks) < len(named):
        names = ", ".join(dict.fromkeys(row.name.splitlines()[0] for row in rows if row.config))
        how_many = "no row" if not named else f"{len(named)} rows"
        raise UserError(f"baseline={baseline!r} is the name of {how_many}: choose one of {names}")

    def compared(row: Row) -> Row:
        other = by_tasks.get(_tasks(row))
        if other is None or row is other or not (_is_known(row) and _is_known(other)):
            return row
        scores, theirs = (np.array(x.scores())[:, None] for x in (row, other))
        return row._replace(improvement=probability_of_improvement(scores, theirs))

    return [compared(row) for row in rows]


def _is_known(row: Row) -> bool:
    """Whether the scores of all seeds of a row are known and finite."""
    scores = row.scores()
    return bool(scores) and all(math.isfinite(score) for score in scores)


def _tasks(row: Row) -> str:
    split = row.config.get("evaluation", {}).get("split")
    return json.dumps([row.config.get("env"), split], sort_keys=True)
