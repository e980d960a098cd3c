"""`metarl structure`: prints, saves and draws the routing and connections of a modular run."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.output import check_folder, say_written
from metarl_jax.cli.run_dir import read_run_dir
from metarl_jax.config import RuntimeConfig, Which
from metarl_jax.console.tables import Column, Table, number, show
from metarl_jax.core.validation import bounded
from metarl_jax.runs.json_files import finite, write_json

HELP = """Show the structure that a modular learner has learned: how tasks are routed through the
modules, and which connections between them are left. It is that of the last checkpoint, because the
costs that shape it do so to the end; --checkpoint best shows that of the best by held-out return.

  metarl structure runs/modular-rotated-point-robot-seed0
  metarl structure runs/mine --out figures --num-tasks 500

Prints a table, and writes structure.json, modules.png (a graph) and routing.png (a heat map, tasks
of the same skill together) into the folder of the run, or into --out. Files of these names that are
there from before are written again."""


@dataclasses.dataclass(frozen=True)
class ShowOptions:
    """Options of `metarl structure`."""

    runtime: RuntimeConfig
    """Devices and blocks. If those of training are not available, a message says so, and available ones are used."""
    checkpoint: Which = "last"
    """Checkpoint: `best` by held-out return, `last`, or the number of a meta-step."""
    num_tasks: int = bounded(200, at_least=2)
    """Number of held-out tasks to measure the routing in."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the files; the folder of the run when not given."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only structure.json on stdout."""


def main(args: list[str]) -> int:
    """`metarl structure RUN_DIR …`."""
    run_dir, options = read_run_dir(
        "structure", args, HELP, lambda config: ShowOptions(config.runtime)
    )
    out = options.out or run_dir
    check_folder("out", out)
    start_backend(options.runtime.platform)

    from metarl_jax.analysis import modules, structure_plots
    from metarl_jax.runs.restore import load

    program, state, *_ = load(run_dir, options.checkpoint, options.runtime)
    learned = modules.learned_structure(program, state, num_tasks=options.num_tasks)
    summary = learned.summary() | {"checkpoint": options.checkpoint}
    if options.json:
        print(json.dumps(finite(summary), indent=2))
    else:
        print_structure(summary)
    files = [out / name for name in ("structure.json", "modules.png", "routing.png")]
    write_json(files[0], summary)
    structure_plots.module_graph(learned.strength, learned.routing.mean(0), files[1])
    structure_plots.routing_map(learned.routing, learned.skill, files[2])
    say_written(*files)
    return 0


def print_structure(summary: dict[str, Any]) -> None:
    """Prints the routing as a table, and the connections by layer."""
    places = [
        (layer, module)
        for layer, weights in enumerate(summary["routing"])
        for module in range(len(weights))
    ]
    columns = [Column("layer.module", [f"{layer + 1}.{module + 1}" for layer, module in places])]
    by_skill = [(f"skill {row['skill']}", row["routing"]) for row in summary["routing_by_skill"]]
    for name, modules in [*by_skill, ("all tasks", summary["routing"])]:
        cells = [number(modules[layer][module]) for layer, module in places]
        columns.append(Column(name, cells))
    title = (
        "Mean weight of each module in the last round; "
        f"checkpoint {summary['checkpoint']}, step {summary['step']}"
    )
    show(Table(title, columns))
    show(
        f"{summary['connections']} of {summary['possible_connections']} connections between modules are left"
    )
    for layer, strengths in enumerate(summary["strength"]):
        for module, row in enumerate(strengths):
            to = [f"{layer + 2}.{j + 1} ({number(x)})" for j, x in enumerate(row) if x > 0]
            show(f"  {layer + 1}.{module + 1} -> {', '.join(to) or 'nothing'}")
    if "skill_information" in summary:
        show(
            f"The strongest modules tell {number(summary['skill_information'])} of the "
            f"{number(summary['skill_entropy'])} bits of the skill; of shuffled skills "
            f"{number(summary['shuffled_information'])} at most."
        )
