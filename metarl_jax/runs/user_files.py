"""The user's files that a run depends on: copies in its folder, and changes since then."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax.config import REGISTRIES
from metarl_jax.core.user_code import (
    file_of,
    file_of_module,
    import_as,
    import_file,
    module_of,
    source_of,
)
from metarl_jax.core.writing import sweep_around, write_text

FOLDER = "code"
"""Name of the folder of the copies in a run or a sweep: `env.py`, `learner.py`, `outer.py`."""


class _File(NamedTuple):
    """A file of the user.

    Attributes:
      name: its name in messages, a path or a module.
      path: its location; None if the module no longer exists.
      copy: the copy in the folder of the run.
      module: its module, if the configuration names it by module.
    """

    name: str
    path: Path | None
    copy: Path
    module: str | None

    @property
    def is_gone(self) -> bool:
        return self.path is None or not self.path.is_file()


def keep(run_dir: Path, config: dict[str, Any]) -> None:
    """Copies the files of the user that a configuration names, by path or as a module.

    Args:
      run_dir: the folder of a run or a sweep.
      config: as in `config.json`.
    """
    for file in _files(run_dir, config):
        if file.path is not None:
            file.copy.parent.mkdir(exist_ok=True)
            write_text(file.copy, source_of(file.path).read_text())


def recall(run_dir: Path, config: dict[str, Any]) -> None:
    """Imports the copies of files that no longer exist, so that names in a configuration find their classes.

    Raises:
      UserError: if a copy cannot be imported.
    """
    for file in _files(run_dir, config):
        if not file.is_gone or not file.copy.is_file():
            continue
        if file.module is not None:
            import_as(file.module, file.copy)
        elif file.path is not None:
            import_file(file.path, file.copy)


def changed(run_dir: Path, config: dict[str, Any]) -> list[str]:
    """Returns remarks on the user's files that have changed or been removed since the run began."""
    remarks = []
    for name, path, copy, _ in _files(run_dir, config):
        if not copy.is_file():
            continue
        if path is None or not path.is_file():
            remarks.append(f"{name} is gone: the copy in {copy} is used")
        elif path.read_bytes() != copy.read_bytes():
            remarks.append(
                f"{name} has changed since the run began (then: {copy}): it is used as it is now"
            )
    return remarks


def _files(run_dir: Path, config: dict[str, Any]) -> Iterator[_File]:
    """Returns each user's file that a configuration names; members of a sweep share the copies of the sweep."""
    folder = run_dir / FOLDER
    if not folder.is_dir():
        folder = (sweep_around(run_dir) or run_dir) / FOLDER
    for field in REGISTRIES:
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # told where it is read
            reference, copy = config[field]["name"], folder / f"{field}.py"
            if (path := file_of(reference)) is not None:
                yield _File(str(path), path, copy, None)
            elif (module := module_of(reference)) is not None:
                path = file_of_module(module)
                found = None if path == copy.absolute() else path  # the copy, imported in its place
                yield _File(f"module {module}", found, copy, module)
