"""`metarl list`: everything that has a name."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import json
import pkgutil
import textwrap
from types import ModuleType
from typing import Annotated

import tyro
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from metarl_jax import envs, experiments, learners, outer
from metarl_jax.cli.options import parse
from metarl_jax.config import Config
from metarl_jax.console.tables import show

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
        kind: {name: _description(registry.get(name)) for name in registry}
        for kind, registry in PARTS.items()
    }
    if options.json:
        print(json.dumps(listing, indent=2))
        return 0
    console = Console()
    width = max(len(name) for entries in listing.values() for name in entries)
    for kind, entries in listing.items():
        console.print(Text(kind.replace("_", " "), style="italic"))
        for name, description in entries.items():
            _print_entry(console, name, description, width)
        console.print()
    return 0


def _print_entry(console: Console, name: str, description: str, width: int) -> None:
    """A name and what it is: side by side on a wide terminal, the one below the other on a narrow one, and elsewhere a
    line that is never broken."""
    if not console.is_terminal:
        show(Text(f"  {name:{width}}  {description}"), console)
        return
    indent = width + 4
    if console.width < 2 * indent:
        console.print(Text(f"  {name}", style="bold"), soft_wrap=True)
        console.print(Padding(Text(description), (0, 0, 0, 4)))
        return
    head = Text(f"  {name:{width}}  ", style="bold")
    lines = Text(description).wrap(console, console.width - indent)
    for line in lines or [Text("")]:
        console.print(head + line)
        head = Text(" " * indent)


def describe_presets() -> dict[str, str]:
    """Name to one paragraph, on one line: the docstring below the preset, or else that of its file."""
    described = {}
    for info in pkgutil.iter_modules(experiments.__path__):
        module = importlib.import_module(f"{experiments.__name__}.{info.name}")
        below = _docstrings_below(module)
        for variable, value in vars(module).items():
            # Other variables may hold what a preset is made from, under the name of another.
            preset = isinstance(value, Config) and value.name in experiments.names()
            if preset and value is experiments.get(value.name):
                described[value.name] = below.get(variable) or _description(module)
    return {name: described.get(name, "") for name in experiments.names()}


def _docstrings_below(module: ModuleType) -> dict[str, str]:
    """The first paragraphs of the strings that stand below the assignments of a module, by variable."""
    found = {}
    for assignment, below in itertools.pairwise(_source(module).body):
        if not (isinstance(assignment, ast.Assign) and isinstance(below, ast.Expr)):
            continue
        text, target = below.value, assignment.targets[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            found[ast.unparse(target)] = _first_paragraph(text.value)
    return found


def _description(thing: ModuleType | type) -> str:
    """The first paragraph of the docstring in the source of a module or class; empty where there is none.

    `__doc__` is gone under `python -OO`, and is a signature where a dataclass has no docstring.
    """
    node = _source(thing)
    if isinstance(thing, type) and node.body and isinstance(node.body[0], ast.ClassDef):
        node = node.body[0]
    return _first_paragraph(ast.get_docstring(node) or "")


def _first_paragraph(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())


def _source(thing: ModuleType | type) -> ast.Module:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except OSError:  # an empty file, or a class that was defined at a prompt
        return ast.Module([], [])
