"""The order of the folders: each imports from those below it, and no modules import each other in a circle."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {
    "metarl_jax": "metarl_jax",
    "envs": "metarl_jax.envs",
    "experiments": "metarl_jax.experiments",
}
"""Folder of the tree to the package that it is imported as."""

ORDER = (
    "metarl_jax.core",
    "metarl_jax.console",
    "metarl_jax.networks",
    "metarl_jax.envs",
    "metarl_jax.learners",
    "metarl_jax.outer",
    "metarl_jax.config",
    "metarl_jax.defaults",
    "metarl_jax.program",
    "metarl_jax.testing",
    "metarl_jax.baselines",
    "metarl_jax.analysis",
    "metarl_jax.viewer",
    "metarl_jax.runs",
    "metarl_jax.sweeps",
    "metarl_jax.searches",
    "metarl_jax.experiments",
    "metarl_jax.cli",
    "metarl_jax.experiments.tables",
    "metarl_jax.__main__",
    "metarl_jax",
)
"""Folders and modules, lowest first. A module belongs to the longest name that it begins with."""
APART = {("metarl_jax.envs", "metarl_jax.networks")}
"""(higher, lower) between which there is no import either."""


def modules() -> dict[str, Path]:
    """All modules of the library, by the name that they are imported as."""
    found = {}
    for folder, package in SOURCES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            found[name] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """The modules that a file imports, with the lines: in functions and for type checkers too.

    What runs only if the file is the main program does not count.
    """
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: relative import"
                names = [
                    full if (full := f"{node.module}.{alias.name}") in known else node.module or ""
                    for alias in node.names
                ]
            else:
                continue
            yield from ((name, node.lineno) for name in names if name in known)


@cache
def imports() -> dict[str, list[tuple[str, int]]]:
    """What each module imports, with the lines."""
    known = modules()
    return {module: list(imported(path, known)) for module, path in known.items()}


def place(module: str) -> str:
    """The entry of `ORDER` that a module belongs to; the module itself where there is none."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return next((name for name in names if name in ORDER), module)


def test_modules_import_from_lower_folders_only():
    wrong = []
    assert {"metarl_jax.envs.bandit", "metarl_jax.experiments", "metarl_jax"} <= set(imports())
    unplaced = [module for module in imports() if place(module) not in ORDER]
    assert not unplaced, f"say where these belong in ORDER: {unplaced}"
    for module, targets in imports().items():
        for target, line in targets:
            mine, theirs = place(module), place(target)
            higher = ORDER.index(theirs) > ORDER.index(mine)
            if higher or (mine, theirs) in APART:
                wrong.append(f"{module}, line {line}, imports {target}")
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other():
    graph = {
        module: {target for target, _ in targets} - {module}
        for module, targets in imports().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
