"""Facts of the pages that are read from the code when the site is built: flags, presets, and tables of names.

A page asks for them by a comment on a line of its own:

| comment | what comes in its place |
|---|---|
| `<!-- facts -->` | of the learner or environment after which the file is named: sizes, presets and flags |
| `<!-- description -->` | its docstring |
| `<!-- flags of outer METHOD -->` | the flags of an outer method |
| `<!-- table of learners -->`, `tasks`, `presets` | a table of all names |
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from metarl_jax import envs, experiments, learners, outer
from metarl_jax.cli.description import describe
from metarl_jax.core.registry import Registry

FOLDERS = {"learners": ("learner", learners.registry), "tasks": ("env", envs.registry)}
"""The folders of pages, of which every file is named after an entry of the registry."""

REFERENCES = "References:\n"
"""Where the references of a docstring begin."""

COMMENT = re.compile(
    r"^<!-- (facts|description|flags of outer \w+|table of \w+) -->$", re.MULTILINE
)


def fill(markdown: str, page: str) -> str:
    """Returns the Markdown of a page with its comments replaced by what they ask for.

    Args:
      markdown: the text of the page.
      page: its path in `docs`, such as `learners/maml.md`.
    """
    return COMMENT.sub(lambda match: _answer(match.group(1), PurePosixPath(page)), markdown)


def _answer(question: str, page: PurePosixPath) -> str:
    kind, _, name = question.rpartition(" ")
    if kind == "table of":
        table = {"learners": _learners, "tasks": _tasks, "presets": _presets}[name]
        return "\n".join(table())
    if kind == "flags of outer":
        found = describe(outer.registry, name)
        return "\n".join(_flags("outer", found["fields"]))
    section, registry = FOLDERS[page.parts[0]]
    found = describe(registry, page.stem)
    return _description(found) if question == "description" else _facts(section, found)


def _facts(section: str, found: dict[str, Any]) -> str:
    name = found["name"]
    lines = ["## Facts", "", "| | |", "|---|---|"]
    if section == "env":
        fitting = _links(found["learners"], "../learners")
        lines += [
            f"| train | `metarl train rl2 --env {name}` |",
            f"| actions | {found['actions']} |",
            f"| steps of an episode | {found['episode_length']} |",
            f"| splits | {', '.join(f'`{split}`' for split in found['splits'])} |",
            f"| learners | {'all' if len(found['learners']) == len(learners.names()) else fitting} |",
        ]
    else:
        fits = found["environments"]
        environments = "all" if len(fits) == len(envs.names()) else _links(fits, "../tasks")
        lines += [
            f"| train | `metarl train {name} --env ENVIRONMENT` |",
            f"| fits | {found['fits']} |",
            f"| environments | {environments} |",
        ]
    presets = [f"| `{preset}` | {_summary(preset)} |" for preset in found["presets"]]
    if presets:
        lines += ["", "## Presets", "", "`metarl train PRESET`", "", "| preset | |", "|---|---|"]
        lines += presets
    lines += ["", "## Flags", "", *_flags(section, found["fields"]), *_references(found)]
    return "\n".join(lines)


def _flags(section: str, fields: list[dict[str, Any]]) -> list[str]:
    lines = []
    for field in fields:
        flag = f"--{section}.{field['name'].replace('_', '-')}"
        text = " ".join(field["help"].split())
        lines += [f"`{flag}`, default {_default(field['default'])}", f":   {text}", ""]
    return lines or ["It has no flags."]


def _default(value: Any) -> str:
    """Formats a default as on the command line."""
    if value is None:
        return "none"
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"`{words}`" if words else "none"


def _description(found: dict[str, Any]) -> str:
    """Returns the docstring but for its references, as Markdown: what it indents are equations and commands."""
    text, _, _ = found["description"].partition(REFERENCES)
    return "\n\n".join(
        "\n".join(f"    {line.strip()}" for line in part.splitlines())
        if part.startswith("  ")
        else part
        for part in text.strip().split("\n\n")
    )


def _references(found: dict[str, Any]) -> list[str]:
    _, _, references = found["description"].partition(REFERENCES)
    entries = re.sub(r"\n {3,}", " ", references).strip().splitlines()
    listed = [f"- {entry.strip()}" for entry in entries]
    return ["", "## References", "", *listed] if entries else []


def _learners() -> Iterator[str]:
    yield from ("| learner | what adapts, and how | fits |", "|---|---|---|")
    for group, entries in _grouped(learners.registry):
        yield f"| **{group}** | | |"
        for name, entry in entries:
            yield f"| [`{name}`]({name}.md) | {_cell(entry.summary)} | {entry.fits} |"


def _tasks() -> Iterator[str]:
    yield from ("| environment | what a task is | actions |", "|---|---|---|")
    for group, entries in _grouped(envs.registry):
        yield f"| **{group}** | | |"
        for name, entry in entries:
            actions = entry.fits.removesuffix(" actions")
            yield f"| [`{name}`]({name}.md) | {_cell(entry.summary)} | {actions} |"


def _presets() -> Iterator[str]:
    yield from ("| preset | environment | |", "|---|---|---|")
    for env in envs.registry.in_order():
        for preset in experiments.registry.in_order():
            entry = experiments.registry.entry(preset)
            if entry.group == env:
                yield f"| `{preset}` | [`{env}`](tasks/{env}.md) | {_cell(entry.summary)} |"


def _grouped(registry: Registry) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    entries = [(name, registry.entry(name)) for name in registry.in_order()]
    for group in dict.fromkeys(entry.group for _, entry in entries):
        yield group, [(name, entry) for name, entry in entries if entry.group == group]


def _summary(preset: str) -> str:
    return _cell(experiments.registry.entry(preset).summary)


def _links(names: Iterable[str], folder: str) -> str:
    return ", ".join(f"[`{name}`]({folder}/{name}.md)" for name in names)


def _cell(text: str) -> str:
    """Returns text that may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
