"""`metarl report`: runs and sweeps on one page."""

import dataclasses
import html
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl_jax import experiments
from metarl_jax.cli.compare import table as comparison_table
from metarl_jax.cli.options import parse
from metarl_jax.cli.output import check_ending, check_output, say_written
from metarl_jax.config import flat, to_dict
from metarl_jax.console.evaluation_tables import (
    curve_table,
    gained,
    metrics_table,
    moved,
    percentile_table,
    shown_rounds,
)
from metarl_jax.console.markup import as_html
from metarl_jax.console.tables import Column, Table
from metarl_jax.core import machine
from metarl_jax.core.errors import UserError
from metarl_jax.core.version import __version__
from metarl_jax.core.writing import SWEEP, replacing
from metarl_jax.runs.folder import RunFolder
from metarl_jax.sweeps.comparison import read_all, read_lines
from metarl_jax.sweeps.curves import read_curves
from metarl_jax.sweeps.rows import Row

HELP = """Put runs and sweeps on one page, an HTML file for any browser that needs no network: held-out returns
side by side, learning and adaptation curves, and of each run its configuration, controls, quantiles
over tasks, throughput, versions and machine.

  metarl report runs/maml-point-robot-seed0 runs/rl2-point-robot-seed0
  metarl report runs/* --out report.html"""

NOT_COMPARED = ("name", "seed", "runtime.", "format", "metarl_jax")
"""Fields of a configuration in which a run may differ from its preset without being another."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Options of `metarl report`."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR")]
    """Folders of runs and sweeps."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("report.html")
    """File to write."""


def main(args: list[str]) -> int:
    """Runs `metarl report RUN_DIR …`."""
    options = parse(ReportOptions, args, prog="metarl report", description=HELP)
    if not options.run_dirs:
        raise UserError("metarl report needs folders of runs or sweeps: see metarl report --help")
    check_ending("out", options.out, (".html",))
    check_output("out", options.out)
    errors = Console(stderr=True, style="yellow", markup=False, highlight=False, soft_wrap=True)
    page = make_page(options.run_dirs, lambda message: errors.print(f"warning: {message}"))
    with replacing(options.out) as partial:
        partial.write_text(page)
    say_written(options.out)
    return 0


def make_page(paths: Sequence[Path], warn: Callable[[str], None]) -> str:
    """Returns the page of these folders.

    Raises:
      UserError: if no folder holds a result.
    """
    from metarl_jax.analysis.plots import learning_curves

    rows = read_all(paths, warn)
    curves = read_curves(paths, lambda message: None)  # The same messages again.
    runs = [row for row in rows if row.config and (row.path / "eval.json").is_file()]
    parts = [
        as_html(comparison_table(rows)),
        _figure(lambda path: learning_curves(curves, path)),
        *map(_section, runs),
    ]
    sweeps = {row.path for row in rows if row.config and (row.path / SWEEP).is_file()}
    title = " and ".join([*_count(len(runs), "run"), *_count(len(sweeps), "sweep")])
    return PAGE.substitute(title=title or "Results", body="\n".join(parts), version=__version__)


def _count(number: int, what: str) -> list[str]:
    """Returns a number with its noun; nothing for none."""
    return [f"{number} {what}{'' if number == 1 else 's'}"] if number else []


def _section(row: Row) -> str:
    """Returns what is told of one run."""
    from metarl_jax.analysis.plots import adaptation_curve

    evaluation = json.loads((row.path / "eval.json").read_text())
    shown = shown_rounds(len(evaluation["return_mean"]))
    tables = [
        curve_table(evaluation, shown),
        percentile_table(evaluation, shown) if "return_percentiles" in evaluation else None,
        metrics_table(evaluation, shown),
        _differences(row.config),
        _facts(row),
    ]
    titles = {"preset": row.config.get("name"), "env": row.config.get("env", {}).get("name")}
    figure = _figure(lambda path: adaptation_curve(titles | evaluation, path))
    note = moved(evaluation["parameters"]) if "parameters" in evaluation else ""
    note = " ".join(filter(None, (gained(evaluation), note)))
    body = "\n".join(as_html(table) for table in tables if table is not None)
    name = html.escape(row.name).replace("\n", " ")
    return f"<section><h2>{name}</h2><p>{html.escape(note)}</p>{figure}{body}</section>"


def _differences(config: dict[str, Any]) -> Table | None:
    """Returns the fields in which a configuration differs from the preset of its name; None if there is none."""
    try:
        preset = experiments.get(config.get("name", ""))
    except UserError:
        return None
    mine, its = flat(config), flat(to_dict(preset))
    names = [
        name
        for name, value in mine.items()
        if not name.startswith(NOT_COMPARED) and value != its.get(name)
    ]
    if not names:
        return None
    columns = [
        Column("field", names, is_text=True),
        Column("here", [json.dumps(mine[name]) for name in names], is_text=True),
        Column("preset", [json.dumps(its.get(name)) for name in names], is_text=True),
    ]
    return Table(f"What differs from the preset {preset.name}", columns)


def _facts(row: Row) -> Table:
    """Returns how and where a run was trained."""
    folder = RunFolder(row.path)
    rates = [
        line["env_steps_per_second"]
        for line in read_lines(row.path)
        if "env_steps_per_second" in line
    ]
    starts = folder.starts()
    facts = {
        "folder": str(row.path),
        "seed": str(row.config.get("seed")),
        "meta-steps": f"{row.config.get('num_meta_steps'):,}",
        "env-steps": "" if row.env_steps is None else f"{row.env_steps:,.0f}",
        "env-steps/s, median": f"{statistics.median(rates):,.0f}" if rates else "",
        "machine": machine.describe(starts[-1]) if starts else "",
        "jax": starts[-1]["jax"] if starts else "",
        "metarl_jax": str(row.config.get("metarl_jax", "")),
    }
    known = {name: value for name, value in facts.items() if value}
    columns = [
        Column("", list(known), is_text=True),
        Column("", list(known.values()), is_text=True),
    ]
    return Table("Training", columns)


def _figure(draw: Callable[[Path], None]) -> str:
    """Returns a figure as an SVG element; `draw` writes it to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        draw(path)
        text = path.read_text()
    return f"<figure>{text[text.index('<svg') :]}</figure>"


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { margin: 0 auto; max-width: 1280px; padding: 16px; color: #20252c; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin: 36px 0 4px; } p { color: #6b7480; margin: 0 0 8px; }
figure { margin: 16px 0; } svg { width: 100%; height: auto; } section svg { max-width: 640px; }
body > figure { overflow-x: auto; } body > figure > svg { min-width: 860px; }
.wide { margin: 16px 0; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { display: block; text-align: left; padding-bottom: 4px; color: #6b7480; }
th, td { padding: 4px 9px; text-align: right; border-bottom: 1px solid #d9dee5; vertical-align: top; }
td { white-space: nowrap; } th.text, td.text { text-align: left; white-space: normal; } th { font-weight: 600; }
footer { margin-top: 40px; color: #6b7480; }
</style>
</head>
<body>
<h1>$title</h1>
$body
<footer>metarl_jax $version</footer>
</body>
</html>
""")
