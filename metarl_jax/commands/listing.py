"""`metarl list`: everything that has a name."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import json
import pkgutil
from types import ModuleType
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from metarl_jax import envs, experiments, learners, outer
from metarl_jax.commands.options import parse
from metarl_jax.config import Config

HELP = """Print the presets, and the environments, learners and outer methods to recombine:

  metarl train PRESET --env.name ENVIRONMENT --learner.name LEARNER --outer.name OUTER_METHOD"""

PARTS = {
    "environments": envs.registry,
    "learners": learners.registry,
    "outer_methods": outer.registry,
}


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Options of `metarl list`."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the names and descriptions as JSON."""


def main(args: list[str]) -> int:
    """`metarl list`."""
    options = parse(ListOptions, args, prog="metarl list", description=HELP)
    listing = {"presets": describe_presets()} | {
        kind: {name: _first_line(registry.get(name)) for name in registry}
        for kind, registry in PARTS.items()
    }
    if options.json:
        print(json.dumps(listing, indent=2))
        return 0
    console = Console()
    width = max(len(name) for entries in listing.values() for name in entries)
    for kind, entries in listing.items():
        table = Table(
            title=kind.replace("_", " "), title_justify="left", box=None, show_header=False
        )
        table.add_column(min_width=width, no_wrap=True, style="bold")
        table.add_column()
        for name, description in entries.items():
            table.add_row(f"  {name}", description)
        console.print(table)
        console.print()
    return 0


def describe_presets() -> dict[str, str]:
    """Name to one line: the docstring below the preset, or else that of its file."""
    described = {}
    for info in pkgutil.iter_modules(experiments.__path__):
        module = importlib.import_module(f"{experiments.__name__}.{info.name}")
        below = _docstrings_below(module)
        for variable, value in vars(module).items():
            # Other variables may hold what a preset is made from, under the name of another.
            preset = isinstance(value, Config) and value.name in experiments.names()
            if preset and value is experiments.get(value.name):
                described[value.name] = below.get(variable) or _first_line(module)
    return {name: described.get(name, "") for name in experiments.names()}


def _docstrings_below(module: ModuleType) -> dict[str, str]:
    """The first lines of the strings that stand below the assignments of a module, by variable."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for assignment, below in itertools.pairwise(body):
        if not (isinstance(assignment, ast.Assign) and isinstance(below, ast.Expr)):
            continue
        text, target = below.value, assignment.targets[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            found[ast.unparse(target)] = text.value.strip().splitlines()[0]
    return found


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
