"""`metarl structure`: what a modular run has learned, printed, saved and drawn."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl_jax.commands.backend import start_backend
from metarl_jax.commands.options import parse
from metarl_jax.commands.output import check_folder, say_written
from metarl_jax.run_folder import finite, open_existing, write_json
from metarl_jax.tables import Column, Table, number, show
from metarl_jax.validation import bounded, check_fields

HELP = """Show the structure that a modular learner has learned, as training left it: how tasks
are routed through the modules, and which connections between them are left.

  metarl structure runs/modular-rotated-point-robot-seed0
  metarl structure runs/mine --out figures --num-tasks 500

Prints a table, and writes structure.json, modules.png (a graph) and routing.png (a heat map, tasks
of the same skill together) into the folder of the run, or into --out. Files of these names that are
there from before are written again."""


@dataclasses.dataclass(frozen=True)
class ShowOptions:
    """Options of `metarl structure`."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the run."""
    num_tasks: int = bounded(200, at_least=2)
    """Held-out tasks whose routing is looked at."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the files; that of the run when not given."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print structure.json and nothing else on stdout."""


def main(args: list[str]) -> int:
    """`metarl structure RUN_DIR …`."""
    options = parse(ShowOptions, args, prog="metarl structure", description=HELP)
    check_fields(options)
    _, config = open_existing(options.run_dir)
    out = options.out or options.run_dir
    check_folder("out", out)
    start_backend(config.runtime.platform)

    from metarl_jax import plots, routing, train

    program, state = train.load(options.run_dir, "latest")  # costs shape it to the end
    learned = routing.learned_structure(program, state, num_tasks=options.num_tasks)
    summary = learned.summary()
    if options.json:
        print(json.dumps(finite(summary), indent=2))
    else:
        print_structure(summary)
    files = [out / name for name in ("structure.json", "modules.png", "routing.png")]
    write_json(files[0], summary)
    plots.module_graph(learned.strength, learned.routing.mean(0), files[1])
    plots.routing_map(learned.routing, learned.skill, files[2])
    say_written(*files)
    return 0


def print_structure(summary: dict[str, Any]) -> None:
    """The routing as a table, and the connections by layer."""
    places = [
        (layer, module)
        for layer, weights in enumerate(summary["routing"])
        for module in range(len(weights))
    ]
    columns = [Column("layer.module", [f"{layer + 1}.{module + 1}" for layer, module in places])]
    by_skill = [(f"skill {row['skill']}", row["routing"]) for row in summary["routing_by_skill"]]
    for name, routing in [*by_skill, ("all tasks", summary["routing"])]:
        cells = [number(routing[layer][module]) for layer, module in places]
        columns.append(Column(name, cells))
    title = f"Mean weight of each module in the last round, after {summary['step']} meta-steps"
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
