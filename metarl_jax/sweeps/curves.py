"""Learning and adaptation curves of runs and sweeps, read from their folders, with one curve a configuration."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.analysis.curves import Curve
from metarl_jax.core.statistics import t_ci95
from metarl_jax.runs.folder import MEMBERS, SWEEP
from metarl_jax.sweeps.comparison import read_each, read_lines, read_run
from metarl_jax.sweeps.rows import Row, label


def read_curves(paths: Sequence[Path], warn: Callable[[str], None]) -> list[Curve]:
    """Reads the curves of these folders; members of a sweep are runs of their own.

    Args:
      paths: folders of runs and sweeps.
      warn: receives messages about unfinished runs, and about folders without results.

    Raises:
      UserError: if no folder holds an evaluation.
    """
    runs = [run for path in paths for run in _runs(path)]
    rows = read_each(runs, lambda run: read_run(run, warn), warn, "there is nothing to draw")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_configuration(row), []).append(row)
    named = label([_named_by(group) for group in groups.values()])
    return [_curve(row.name, group) for row, group in zip(named, groups.values(), strict=True)]


def _runs(path: Path) -> list[Path]:
    return sorted((path / MEMBERS).glob("*")) if (path / SWEEP).is_file() else [path]


def _named_by(rows: list[Row]) -> Row:
    """Returns the row by which a curve is named: without a seed, and with the sweep in place of its members."""
    folders = dict.fromkeys(
        row.path.parent.parent if row.path.parent.name == MEMBERS else row.path for row in rows
    )
    return rows[0]._replace(config=_without_seed(rows[0].config), paths=tuple(folders))


def _without_seed(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("seed", "runtime")}


def _configuration(row: Row) -> str:
    return json.dumps(_without_seed(row.config), sort_keys=True)


def _curve(name: str, rows: Sequence[Row]) -> Curve:
    """Joins the runs of one configuration; the curve ends where the shortest run ends."""
    histories = [_history(row) for row in rows]
    steps = sorted(set.intersection(*(set(history) for history in histories)))
    points = np.array([[history[step] for step in steps] for history in histories], float)
    points = points.reshape(len(rows), len(steps), 2)
    learning, adaptation = points[..., 1], _stack([row.return_mean for row in rows])
    single = len(rows) == 1
    no_band = np.full((2, len(steps)), np.nan)
    over_tasks = (
        _stack(rows[0].ci95).T if rows[0].ci95 else np.full((2, adaptation.shape[1]), np.nan)
    )
    return Curve(
        name=name,
        num_seeds=len(rows),
        meta_steps=np.array(steps),
        env_steps=points[..., 0].mean(axis=0),
        learning=learning.mean(axis=0),
        learning_ci95=no_band if single else t_ci95(learning),
        adaptation=adaptation.mean(axis=0),
        adaptation_ci95=over_tasks if single else t_ci95(adaptation),
        round_label=rows[0].round_label,
    )


def _history(row: Row) -> dict[int, tuple[float, float]]:
    """Returns env-steps and held-out return by meta-step."""
    found, env_steps = {}, np.nan
    for line in read_lines(row.path):
        env_steps = line.get("env_steps", env_steps)
        returns = line.get("eval_return")
        if returns is None:
            continue
        counted = [returns[k] for k in row.counted if k < len(returns)] or returns
        known = [x for x in counted if x is not None]
        found[line["step"]] = env_steps, float(np.mean(known)) if known else np.nan
    return found


def _stack(values: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Stacks rows of numbers, cut to the shortest."""
    length = min(map(len, values))
    return np.array([row[:length] for row in values], float)
