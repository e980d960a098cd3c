"""`metarl compare`: the held-out returns of several runs and sweeps, side by side."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl_jax.cli.compare_files import as_json, times, write_csv
from metarl_jax.cli.options import parse
from metarl_jax.cli.output import check_output, say_written
from metarl_jax.console.markup import as_markdown
from metarl_jax.console.tables import Column, Table, interval, number, show, thousands
from metarl_jax.core.errors import UserError
from metarl_jax.core.seed_statistics import Estimate as SeedEstimate
from metarl_jax.runs.json_files import finite
from metarl_jax.sweeps.comparison import read_all
from metarl_jax.sweeps.rows import Interval, Row

HELP = """Compare trained runs and sweeps: held-out returns with 95% intervals, over seeds and tasks where there are
several seeds and over tasks alone where there is one; the meta-steps and env-steps that each was trained for, and the
share of its time that went into them; how many numbers a new task moves and how many parameters there are; and the
controls in the same tasks.

Runs that differ in nothing but their seed are one row, with means over the seeds, and the interquartile mean (IQM) of
their counted returns. Rows are named by folder and by the fields in which runs of one preset differ. A run that has not
ended is shown with its last evaluation.

  metarl compare runs/maml-point-robot-seed0 runs/anil-point-robot-seeds
  metarl compare runs/family/* --rounds all --markdown
  metarl compare runs/* --baseline maml-point-robot
  metarl compare runs/* --csv results.csv"""

WORDS = ("first", "counted", "last", "sum", "all")


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Options of `metarl compare`."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR")]
    """Folders of runs and sweeps."""
    rounds: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ROUND …")] = ()
    """Rounds to show: numbers from 1, `first`, `last`, `counted` (the round, or mean over all rounds, by which
    checkpoints are ranked), `sum` (over all), or `all`. When not given: first, counted, last and sum, without
    duplicates."""
    each_seed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show each run in a row of its own, also those that differ in their seed alone."""
    baseline: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name of a row, or preset, of the table: also show the probability that a seed of another row in the same
    environment is better than one of this row."""
    told: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run in the same environment that observes the task (--env.told-task). Also show (return -
    random)/(told - random), treating told and random as exact."""
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the table in Markdown."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only JSON on stdout, with all rounds of all rows."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write all rounds of all rows to a CSV file."""


def main(args: list[str]) -> int:
    """`metarl compare RUN_DIR …`."""
    options = parse(CompareOptions, args, prog="metarl compare", description=HELP)
    if not options.run_dirs:
        raise UserError("metarl compare needs folders of runs or sweeps: see metarl compare --help")
    _check_rounds(options.rounds)
    check_output("csv", options.csv)
    errors = Console(stderr=True, style="yellow", markup=False, highlight=False, soft_wrap=True)
    rows = read_all(
        options.run_dirs,
        lambda message: errors.print(f"warning: {message}"),
        told=options.told,
        each_seed=options.each_seed,
        baseline=options.baseline,
    )
    if options.csv is not None:
        write_csv(rows, options.csv)
    if options.json:
        print(json.dumps(finite([as_json(row) for row in rows]), indent=2))
    elif options.markdown:
        print(as_markdown(table(rows, options.rounds)))
    else:
        show(table(rows, options.rounds))
    if options.csv is not None:
        say_written(options.csv)
    return 0


def table(rows: Sequence[Row], rounds: Sequence[str] = ()) -> Table:
    """Makes a table of rows; `rounds` are those that have a column, the first and last few when not given."""
    seeds = {row.num_seeds for row in rows} - {None}
    over = "seeds and tasks" if seeds - {1} else "tasks alone"
    if len(seeds) > 1 and 1 in seeds:
        over += ", over tasks alone where there is one seed"
    return Table(f"Held-out return; 95% intervals over {over}", _columns(rows, rounds))


def _columns(rows: Sequence[Row], rounds: Sequence[str]) -> list[Column]:
    words = _chosen_rounds(rows, rounds)
    returns = [Column(_heading(rows, word), [_cell(row, word) for row in rows]) for word in words]
    relative = [row.relative() for row in rows]
    if any(relative):
        returns += [
            Column(
                f"{_heading(rows, word)}\n(relative to told)",
                [_cell(row, word) if row else "" for row in relative],
            )
            for word in words
            if word != "sum"
        ]
    returns += _seed_columns(rows)
    reported = [
        Column(f"{name}\n(last {_round_label(rows)})", [_last_metric(row, name) for row in rows])
        for name in dict.fromkeys(name for row in rows for name in row.metrics)
        if not name.endswith("_mean")
    ]
    adapted, every = (
        [_count(row.parameters.get(name)) for row in rows] for name in ("adapted", "all")
    )
    about = {
        "seeds": [_count(row.num_seeds) for row in rows],
        "tasks": [_count(row.num_tasks) for row in rows],
        "meta-steps": [_step(row) for row in rows],
        "env-steps": ["" if row.env_steps is None else thousands(row.env_steps) for row in rows],
        "moved": adapted,
        "parameters": every,
        "time in\nmeta-steps": [_goodput(row) for row in rows],
    }
    names = [Column("", [row.name for row in rows], is_text=True)]
    environments = [row.environment or "" for row in rows]
    if len({*environments} - {""}) > 1:
        names.append(Column("environment", environments, is_text=True))
    return [
        *names,
        *returns,
        *reported,
        *(Column(*named) for named in about.items() if any(named[1])),
    ]


def _seed_columns(rows: Sequence[Row]) -> list[Column]:
    """Returns the columns of the statistics over seeds, where a row has several, or there is a baseline."""
    columns = []
    if any((row.num_seeds or 1) > 1 and row.iqm for row in rows):
        cells = [_of_seeds(row.iqm) if (row.num_seeds or 1) > 1 else "" for row in rows]
        columns.append(Column("counted,\nIQM of seeds", cells))
    if any(row.improvement for row in rows):
        columns.append(
            Column("P(better than\nbaseline)", [_of_seeds(row.improvement) for row in rows])
        )
    return columns


def _of_seeds(found: SeedEstimate | None) -> str:
    if found is None:
        return ""
    return _estimate(found.value, () if math.isnan(found.low) else (found.low, found.high))


def _last_metric(row: Row, name: str) -> str:
    """Returns a metric of the environment in the last round that has a number."""
    known = [x for x in row.metrics.get(name, ()) if x is not None]
    return number(known[-1]) if known else ""


def _check_rounds(rounds: Sequence[str]) -> None:
    for word in rounds:
        if word not in WORDS and not (word.isdecimal() and int(word) >= 1):
            raise UserError(f"rounds={word!r} must be a number from 1 or one of {', '.join(WORDS)}")


def _chosen_rounds(rows: Sequence[Row], rounds: Sequence[str]) -> list[str]:
    """Returns the words for the columns of returns, without duplicates."""
    longest = max(len(row.return_mean) for row in rows)
    if not rounds:
        rounds = ["first", "last", "sum"] if longest > 1 else ["first"]
        if any(len(row.counted) == 1 and row.counted[0] + 1 < len(row.return_mean) for row in rows):
            rounds.insert(1, "counted")
    every = [str(index + 1) for index in range(longest)]
    words = [x for word in rounds for x in (every if word == "all" else [word])]
    return list(dict.fromkeys(words))


def _heading(rows: Sequence[Row], word: str) -> str:
    """Returns the name of the round if it is the same for all rows."""
    unit = _round_label(rows)
    if word.isdecimal():
        return f"{unit} {word}"
    places = {_places(row, word) for row in rows} - {()}
    if word != "sum" and len(places) == 1 and len(place := places.pop()) == 1:
        return f"{unit} {place[0] + 1}"
    names = {"first": f"{unit} 1", "last": f"last {unit}", "counted": "counted", "sum": "sum"}
    return names[word]


def _round_label(rows: Sequence[Row]) -> str:
    """Returns the name of a round: `episode` if it is one in all rows, otherwise `round`."""
    labels = {row.round_label for row in rows}
    return labels.pop() if len(labels) == 1 else "round"


def _places(row: Row, word: str) -> tuple[int, ...]:
    """Returns indices of the rounds that a word means; none if the row has no such round."""
    last = len(row.return_mean) - 1
    if word.isdecimal():
        return (int(word) - 1,) if int(word) - 1 <= last else ()
    return {"first": (0,), "last": (last,), "counted": tuple(row.counted), "sum": ()}[word]


def _cell(row: Row, word: str) -> str:
    if word == "sum":
        return _estimate(row.total(), row.total_ci95)
    places = _places(row, word)
    if not places:
        return ""
    if word == "counted":
        return _estimate(row.counted_mean(), row.counted_ci95)
    return _estimate(row.return_mean[places[0]], row.ci95[places[0]] if row.ci95 else ())


def _estimate(mean: float | None, ends: Interval) -> str:
    return number(mean) + (f"\n({interval(ends)})" if ends else "")


def _step(row: Row) -> str:
    if row.step is None:
        return ""
    remark = row.checkpoint if row.is_finished else "not ended"
    return str(row.step) + (f"\n({remark})" if remark else "")


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _goodput(row: Row) -> str:
    """Returns the share of the time that went into meta-steps, as in `93% of 1.2 h`; empty if it was not recorded."""
    found = times(row)
    return "" if found is None else f"{found.share:.0%} of {found.total / 3600:.2g} h"
