"""The content of `eval.json` as tables and sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_jax.console.tables import Column, Table, interval, number

MAX_ROWS = 20
"""Largest number of rounds in a printed table."""


def curve_table(evaluation: dict[str, Any], shown: Sequence[int]) -> Table:
    """Makes a table of returns by round and their sum, with intervals, beside the controls.

    Args:
      evaluation: the content of `eval.json`.
      shown: indices of the rounds that have a row.
    """
    total, rows = _rows(evaluation, shown)
    means = _pick(evaluation["return_mean"], shown)
    intervals = [interval(ends) for ends in _pick(evaluation["ci95"], shown)]
    iqms = [number(value) for value in _pick(evaluation["return_iqm"], shown)]
    controls = {
        name: _pick(control["return_mean"], shown)
        for name, control in evaluation["controls"].items()
    }
    if total:
        means.append(evaluation["total_mean"])
        intervals.append(interval(evaluation["total_ci95"]))
        iqms.append("")
        for name, values in controls.items():
            values.append(evaluation["controls"][name]["total_mean"])
    columns = [
        Column(evaluation["round_label"], rows),
        Column("return", [number(mean) for mean in means]),
        Column("95% interval", intervals),
        Column("IQM", iqms),
        *(Column(name, [number(x) for x in values]) for name, values in controls.items()),
    ]
    title = (
        f"Adaptation on {evaluation['num_tasks']} tasks of split {evaluation['split']!r}, "
        f"{trained_for(evaluation)}; 95% intervals over tasks"
    )
    return Table(title, columns, total)


def told_table(evaluation: dict[str, Any], shown: Sequence[int]) -> Table | None:
    """Makes a table of returns relative to a learner that observes the task; None without one."""
    told = evaluation.get("told")
    if told is None:
        return None
    columns = [
        Column(evaluation["round_label"], [str(index + 1) for index in shown]),
        Column(
            "(return - random) / (told - random)",
            [number(x) for x in _pick(told["relative"], shown)],
        ),
        Column("95% interval", [interval(ends) for ends in _pick(told["relative_ci95"], shown)]),
    ]
    return Table(
        f"Told is {told['run']}, step {told['step']}: {number(told['return_mean'][-1])} in its last "
        f"{evaluation['round_label']}",
        columns,
    )


def percentile_table(evaluation: dict[str, Any], shown: Sequence[int]) -> Table:
    """Makes a table of percentiles of the return over tasks, by round and of the sum over the rounds."""
    total, rows = _rows(evaluation, shown)
    columns = [Column(evaluation["round_label"], rows)]
    for percent, values in evaluation["return_percentiles"].items():
        sums = [evaluation["total_percentiles"][percent]] if total else []
        cells = [number(value) for value in [*_pick(values, shown), *sums]]
        columns.append(Column(f"{percent}%", cells))
    return Table("Percentiles over tasks", columns, total)


def metrics_table(evaluation: dict[str, Any], shown: Sequence[int]) -> Table | None:
    """Returns the metrics of the environment by round, last values and means of an episode; None without any."""
    metrics = evaluation.get("metrics", {})
    if not metrics:
        return None
    columns = [
        Column(name.removeprefix("env/"), [number(x) for x in _pick(found["mean"], shown)])
        for name, found in metrics.items()
    ]
    rounds = Column(evaluation["round_label"], [str(index + 1) for index in shown])
    return Table("Reported by the environment; means over tasks", [rounds, *columns])


def shown_rounds(num_rounds: int) -> list[int]:
    """Returns indices of at most `MAX_ROWS` rounds, including the first and the last, with growing gaps."""
    if num_rounds <= MAX_ROWS:
        return list(range(num_rounds))
    return sorted({round(x) - 1 for x in np.geomspace(1, num_rounds, MAX_ROWS)})


def trained_for(evaluation: dict[str, Any]) -> str:
    """Describes the evaluated checkpoint, as in `best checkpoint, step 30 (last: 60)`; for old files, its step
    alone."""
    step, which = evaluation["step"], evaluation.get("checkpoint")
    if which is None:
        return f"after {step} meta-steps"
    last = evaluation.get("last_step", step)
    kind = "" if isinstance(which, int) else f"{which} "
    return f"{kind}checkpoint, step {step}" + (f" (last: {last})" if step != last else "")


def moved(parameters: dict[str, int]) -> str:
    """Says in a sentence how many numbers adapt to a new task."""
    every, adapted, stay = (parameters[name] for name in ("all", "adapted", "stay"))
    if not adapted:
        return f"Adapts 0 of the {every:,} parameters; the task is inferred in the recurrent state."
    if stay == every:
        return f"Infers {adapted:,} numbers from a new task; all {every:,} parameters stay fixed."
    return f"Adapts {adapted:,} of the {every:,} parameters to a new task; {stay:,} stay fixed."


def gained(evaluation: dict[str, Any]) -> str:
    """Says in a sentence how much the return rises within a trial; empty with a single round, and for old files."""
    mean, ends = evaluation.get("gain_mean"), evaluation.get("gain_ci95")
    if mean is None or ends is None:
        return ""
    label = evaluation["round_label"]
    return (
        f"From the first {label} to the last: {mean:+.3g} (95% interval {interval(ends)}, of differences in the same "
        "task)."
    )


def _rows(evaluation: dict[str, Any], shown: Sequence[int]) -> tuple[list[int], list[str]]:
    """Returns the index of the row of sums, in a list that is empty without one, and the names of the rows."""
    rows = [str(index + 1) for index in shown]
    if len(evaluation["return_mean"]) == 1:
        return [], rows
    return [len(rows)], [*rows, "sum"]


def _pick(values: Sequence[Any], shown: Sequence[int]) -> list[Any]:
    return [values[index] for index in shown]
