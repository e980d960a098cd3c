"""`metarl compare`: the held-out returns of several runs and sweeps, side by side."""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl_jax.cli.options import parse
from metarl_jax.cli.output import check_output, say_written
from metarl_jax.console.markup import as_markdown
from metarl_jax.console.tables import Column, Table, interval, number, show, thousands
from metarl_jax.core.errors import UserError
from metarl_jax.runs.json_files import finite
from metarl_jax.sweeps.comparison import read_all
from metarl_jax.sweeps.rows import Interval, Row

HELP = """Compare trained runs and sweeps: held-out returns with 95% intervals, over seeds and tasks where there are
several seeds and over tasks alone where there is one; the meta-steps and env-steps that each was trained for, how many
numbers a new task moves and how many parameters there are; and the controls in the same tasks.

Rows are named by folder and by the fields in which runs of one preset differ. A run that has not ended is shown with
its last evaluation.

  metarl compare runs/maml-point-robot-seed0 runs/anil-point-robot-seeds
  metarl compare runs/family/* --rounds all --markdown
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
        options.run_dirs, lambda message: errors.print(f"warning: {message}"), told=options.told
    )
    if options.csv is not None:
        write_csv(rows, options.csv)
    if options.json:
        print(json.dumps(finite([_as_json(row) for row in rows]), indent=2))
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
    }
    names = [Column("", [row.name for row in rows], is_text=True)]
    environments = [_environment(row) or "" for row in rows]
    if len({*environments} - {""}) > 1:
        names.append(Column("environment", environments, is_text=True))
    return [
        *names,
        *returns,
        *reported,
        *(Column(*named) for named in about.items() if any(named[1])),
    ]


def _last_metric(row: Row, name: str) -> str:
    """Returns a metric of the environment in the last round that has a number."""
    known = [x for x in row.metrics.get(name, ()) if x is not None]
    return number(known[-1]) if known else ""


def _environment(row: Row) -> str | None:
    """Returns the name of the task distribution; None for a control, which is listed below its runs."""
    return row.config.get("env", {}).get("name")


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


def _as_json(row: Row) -> dict[str, Any]:
    """Returns all numbers of a row, ready for JSON."""
    is_control, relative = not row.config, row.relative()
    return {
        "run": row.name if is_control else str(row.path),
        "is_control": is_control,
        "preset": row.config.get("name"),
        "env": _environment(row),
        "differs": row.values,
        "step": row.step,
        "checkpoint": row.checkpoint,
        "is_finished": row.is_finished,
        "num_seeds": row.num_seeds,
        "num_tasks": row.num_tasks,
        "env_steps": row.env_steps,
        "parameters": row.parameters,
        "return_mean": row.return_mean,
        "ci95": row.ci95,
        "total_mean": row.total(),
        "total_ci95": row.total_ci95,
        "metrics": row.metrics,
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
    line = _as_json(row)
    for name in ("return_mean", "ci95", "total_mean", "total_ci95", "metrics", "counted_rounds"):
        del line[name]
    relative, ends = line.pop("relative"), line.pop("relative_ci95")
    differs, parameters = line.pop("differs"), line.pop("parameters")
    line |= {"adapted": parameters.get("adapted"), "parameters": parameters.get("all"), **differs}
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
