"""`metarl list`: lists everything that has a name, without importing JAX."""

import json
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from metarl_jax import envs, experiments, learners, outer
from metarl_jax.console.text import reflow
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Entry, Registry, suggestion
from metarl_jax.core.user_code import is_reference
from metarl_jax.runs import pretrained

HELP = """usage: metarl list [NAME] [--json]

Print what there is to train: learners, outer methods, and environments with their presets.

  metarl train PRESET
  metarl train LEARNER --env ENVIRONMENT [--outer OUTER_METHOD]

With the NAME of a preset, a learner, an environment or an outer method, or with path/to/file.py:CLASS,
print what it is and its fields with their defaults; for a preset, what differs from the defaults.

options:
  --json      print names and descriptions as JSON"""

REGISTRIES: dict[str, Registry] = {
    "presets": experiments.registry,
    "learners": learners.registry,
    "environments": envs.registry,
    "outer_methods": outer.registry,
}

Line = tuple[int, str, str]
"""A line of the listing: its depth, a name, and its summary. Headings have no name."""


def main(args: list[str]) -> int:
    """`metarl list [NAME] [--json]`."""
    if {"-h", "--help"} & set(args):
        print(reflow(HELP))
        return 0
    wrong = [word for word in args if word.startswith("-") and word != "--json"]
    names = [word for word in args if not word.startswith("-")]
    if wrong:
        hint = suggestion(wrong[0], ["--json", "--help"])
        raise UserError(f"unknown option {wrong[0]}{hint or '; see --help'}")
    if len(names) > 1:
        raise UserError(f"unexpected argument {names[1]!r}; see --help")
    if names:
        return _show_one(names[0], "--json" in args)
    if "--json" in args:
        print(json.dumps(as_json(), indent=2))
        return 0
    console = Console()
    lines = list(listing())
    width = max(2 * depth + len(name) for depth, name, _ in lines)
    for line in lines:
        _print_line(console, *line, width)
    return 0


def as_json() -> dict[str, dict[str, dict[str, str]]]:
    """Returns all entries by kind and name."""
    return {
        kind: {name: _entry_as_json(registry.entry(name)) for name in registry}
        for kind, registry in REGISTRIES.items()
    }


def _entry_as_json(entry: Entry) -> dict[str, str]:
    return {"summary": entry.summary, "group": entry.group, "fits": entry.fits}


def listing() -> Iterator[Line]:
    """Returns the lines of the listing: learners, outer methods, and environments with the presets of each."""
    yield 0, "", "learners: metarl train LEARNER --env ENVIRONMENT"
    for group, entries in _grouped(learners.registry):
        yield 1, "", group
        for name, entry in entries.items():
            yield 2, name, f"{entry.summary} [{entry.fits}]"
    yield 0, "", ""
    yield 0, "", "outer methods: metarl train LEARNER --env ENVIRONMENT --outer METHOD"
    for name in outer.registry.in_order():
        yield 2, name, outer.registry.entry(name).summary
    for group, entries in _grouped(envs.registry):
        yield 0, "", ""
        yield 0, "", f"{group}: environments, and presets for them (metarl train PRESET)"
        for name, entry in entries.items():
            yield 1, name, f"{entry.summary} [{entry.fits}]"
            for preset in experiments.names():
                found = experiments.registry.entry(preset)
                if found.group == name:
                    yield 2, preset, found.summary
    yield 0, "", ""
    yield 0, "", "trained runs that come with the library: metarl eval NAME, metarl render NAME"
    for name in pretrained.names():
        yield 2, pretrained.PREFIX + name, experiments.registry.entry(name).summary


def _grouped(registry: Registry) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Returns entries by group, groups in the order of their first name in the registry."""
    entries = {name: registry.entry(name) for name in registry.in_order()}
    for group in dict.fromkeys(entry.group for entry in entries.values()):
        yield group, {name: entry for name, entry in entries.items() if entry.group == group}


def _print_line(console: Console, depth: int, name: str, text: str, width: int) -> None:
    """Prints a name and its summary: side by side on a wide terminal, below each other on a narrow one, and elsewhere
    on one unbroken line."""
    indent = "  " * depth
    if not name:
        console.print(Text(indent + text, style="italic"), soft_wrap=not console.is_terminal)
        return
    if not console.is_terminal:
        sys.stdout.write(f"{indent}{name:{width - len(indent)}}  {text}\n")
        return
    if console.width < 2 * (width + 2):
        console.print(Text(indent + name, style="bold"), soft_wrap=True)
        console.print(Padding(Text(text), (0, 0, 0, len(indent) + 4)))
        return
    head = Text(f"{indent}{name:{width - len(indent)}}  ", style="bold")
    for line in Text(text).wrap(console, console.width - width - 2) or [Text("")]:
        console.print(head + line)
        head = Text(" " * (width + 2))


def _show_one(name: str, as_json: bool) -> int:
    registries = [registry for registry in REGISTRIES.values() if name in registry.names()]
    if not registries and not is_reference(name):
        hint = suggestion(name, [known for registry in REGISTRIES.values() for known in registry])
        raise UserError(f"unknown name {name!r}{hint or '; `metarl list` shows all'}")
    from metarl_jax.cli.description import describe, to_text

    found = describe(registries[0] if registries else None, name)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(to_text(found))
    return 0
