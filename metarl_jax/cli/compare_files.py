"""What `metarl compare` writes for other programs: JSON and CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl_jax.core.seed_statistics import Estimate
from metarl_jax.runs.timekeeping import Goodput, goodput
from metarl_jax.sweeps.rows import Interval, Row

LISTS = (
    "runs",
    "return_mean",
    "ci95",
    "total_mean",
    "total_ci95",
    "metrics",
    "scores",
    "iqm",
    "improvement",
    "counted_rounds",
)
"""Entries of JSON that CSV has otherwise: in columns of their own, or not at all."""


def times(row: Row) -> Goodput | None:
    """Returns where the time of the runs of a row went, summed; None for a control, and if it was not recorded."""
    if not row.config:
        return None
    found = [goodput(path) for path in row.paths or [row.path]]
    known = [mine for mine in found if mine is not None]
    return Goodput(*map(sum, zip(*known, strict=True))) if known else None


def as_json(row: Row) -> dict[str, Any]:
    """Returns all numbers of a row, ready for JSON."""
    is_control, relative, spent = not row.config, row.relative(), times(row)
    return {
        "run": row.name if is_control else str(row.path),
        "runs": [str(path) for path in row.paths or ([] if is_control else [row.path])],
        "is_control": is_control,
        "preset": row.config.get("name"),
        "env": row.environment,
        "differs": row.values,
        "step": row.step,
        "checkpoint": row.checkpoint,
        "is_finished": row.is_finished,
        "num_seeds": row.num_seeds,
        "num_tasks": row.num_tasks,
        "env_steps": row.env_steps,
        "seconds": spent and {**spent._asdict(), "total": spent.total, "share": spent.share},
        "parameters": row.parameters,
        "return_mean": row.return_mean,
        "ci95": row.ci95,
        "total_mean": row.total(),
        "total_ci95": row.total_ci95,
        "metrics": row.metrics,
        "scores": row.scores(),
        "iqm": _estimate(row.iqm),
        "improvement": _estimate(row.improvement),
        "counted_rounds": [index + 1 for index in row.counted],
        "relative": relative and relative.return_mean,
        "relative_ci95": relative and relative.ci95,
    }


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes a line for each row, with the mean and the ends of the interval of each round."""
    lines = [_as_csv(row) for row in rows]
    header = list(dict.fromkeys(name for line in lines for name in line))
    header.sort(key=lambda name: name.startswith("round_"))  # those before, which all have, first
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        writer.writerows(lines)


def _as_csv(row: Row) -> dict[str, Any]:
    line = as_json(row)
    for name in LISTS:
        del line[name]
    relative, ends = line.pop("relative"), line.pop("relative_ci95")
    seconds = line.pop("seconds") or {}
    line |= {f"seconds_{name}": value for name, value in seconds.items()}
    differs, parameters = line.pop("differs"), line.pop("parameters")
    line |= {"adapted": parameters.get("adapted"), "parameters": parameters.get("all"), **differs}
    for name, found in (("iqm", row.iqm), ("improvement", row.improvement)):
        line |= _ends(name, *((found.value, found[1:]) if found else (None, ())))
    line |= _ends("sum", row.total(), row.total_ci95)
    for index, mean in enumerate(row.return_mean):
        line |= _ends(f"round_{index + 1}", mean, row.ci95[index] if row.ci95 else ())
        line |= {f"round_{index + 1}_{name}": values[index] for name, values in row.metrics.items()}
        if relative:
            name = f"round_{index + 1}_relative"
            line |= _ends(name, relative[index], ends[index] if ends else ())
    return line


def _ends(name: str, mean: float | None, ends: Interval) -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else found._asdict()
