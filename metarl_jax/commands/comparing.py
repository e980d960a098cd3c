"""`metarl compare`: the held-out returns of several runs and sweeps, side by side."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from metarl_jax.commands.options import parse
from metarl_jax.metrics import number
from metarl_jax.run_folder import MEMBERS, SWEEP, RunFolder

HELP = """Compare trained runs and sweeps: held-out return of each round of the trial with its 95%
interval, over seeds and tasks for a sweep and over tasks for a run, the env-steps that each was trained with, how
many numbers a new task moves and how many parameters there are, and the controls of the first.

  metarl compare runs/maml-point-robot-seed0 runs/anil-point-robot-seeds
  metarl compare runs/family/* --markdown"""


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Options of `metarl compare`."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR")]
    """Folders of runs and sweeps that have ended."""
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the table in Markdown."""


COLUMNS = ("", "seeds", "tasks", "env-steps", "moved", "parameters")
"""Those before the rounds."""


class Row(NamedTuple):
    """One line: a run, a combination of a sweep, or a control.

    Attributes:
      name: what it is.
      num_seeds, num_tasks: how many went into the means; None for what does not apply.
      env_steps: of the training, of each seed; None where they are not known.
      parameters: how many there are (`all`), and how many numbers a new task moves (`adapted`); empty for a control.
      return_mean: `[K]`.
      ci95: `[K, 2]`; empty where none is known.
    """

    name: str
    num_seeds: int | None
    num_tasks: int | None
    env_steps: float | None
    parameters: dict[str, int]
    return_mean: list[float]
    ci95: list[list[float]]


def main(args: list[str]) -> int:
    """`metarl compare RUN_DIR …`."""
    options = parse(CompareOptions, args, prog="metarl compare", description=HELP)
    if not options.run_dirs:
        raise ValueError(
            "metarl compare needs folders of runs or sweeps: see metarl compare --help"
        )
    rows = [row for path in options.run_dirs for row in _rows(path)]
    rows += _controls(options.run_dirs[0])
    if options.markdown:
        print(markdown(rows))
    else:
        Console().print(_table(rows))
    return 0


def markdown(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    header = _header(rows)
    lines = [header, ["---"] * len(header), *(_cells(row, len(header)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(rows: list[Row]) -> Table:
    table = Table(title="Held-out return by round", title_justify="left")
    header = _header(rows)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, len(header)))
    return table


def _header(rows: list[Row]) -> list[str]:
    num_rounds = max(len(row.return_mean) for row in rows)
    return [*COLUMNS, *(f"round {index + 1}" for index in range(num_rounds))]


def _cells(row: Row, num_columns: int) -> list[str]:
    intervals = row.ci95 or [[]] * len(row.return_mean)
    cells = [
        number(mean) + (f" ({number(interval[0])} to {number(interval[1])})" if interval else "")
        for mean, interval in zip(row.return_mean, intervals, strict=True)
    ]
    seeds, tasks, moved, parameters = (
        "" if n is None else str(n)
        for n in (row.num_seeds, row.num_tasks, *map(row.parameters.get, ("adapted", "all")))
    )
    env_steps = "" if row.env_steps is None else f"{row.env_steps / 1e6:.2f}M"
    known = [row.name, seeds, tasks, env_steps, moved, parameters, *cells]
    return known + [""] * (num_columns - len(known))


def _rows(path: Path) -> list[Row]:
    """The run at `path`, or the combinations of the sweep."""
    if (path / SWEEP).is_file():
        results, name = _read(path / "results.json"), _read(path / SWEEP)["config"]["name"]
        return [
            Row(
                _label(name, row["values"]),
                results["num_seeds"],
                results["num_tasks"],
                _env_steps(next((path / MEMBERS).glob("*"), path)),
                results.get("parameters", {}),
                row["return_mean"],
                row["ci95"],
            )
            for row in results["combinations"]
        ]
    evaluation, name = _read(path / "eval.json"), _read(path / "config.json")["name"]
    env_steps, parameters = _env_steps(path), evaluation.get("parameters", {})
    returns = evaluation["return_mean"], evaluation["ci95"]
    return [Row(name, 1, evaluation["num_tasks"], env_steps, parameters, *returns)]


def _env_steps(path: Path) -> float | None:
    """The env-steps of the training of a run, if they are known."""
    last = RunFolder(path).last_metrics()
    return None if last is None else last["env_steps"]


def _controls(path: Path) -> list[Row]:
    """The controls of the run at `path`, or of the first member of the sweep."""
    members = sorted((path / MEMBERS).glob("*/eval.json"))
    evaluation = _read(members[0] if members else path / "eval.json")
    return [
        Row(f"control: {name}", None, evaluation["num_tasks"], None, {}, control["return_mean"], [])
        for name, control in evaluation["controls"].items()
    ]


def _label(name: str, values: dict[str, float]) -> str:
    pairs = ", ".join(f"{field.rpartition('.')[2]}={value:g}" for field, value in values.items())
    return f"{name} ({pairs})" if pairs else name


def _read(path: Path) -> dict[str, Any]:
    """A file that a run or sweep writes.

    Raises:
      ValueError: if it is not there, because nothing was trained here or it has not ended.
    """
    if not path.is_file():
        raise ValueError(
            f"run_dir={str(path.parent)!r} has no {path.name}: name the folder of a run or sweep that has ended "
            "(`metarl resume` ends one that was stopped)"
        )
    return json.loads(path.read_text())
