"""The user's files that a run was made with: copies in its folder, and what has changed since."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metarl_jax.config import REGISTRIES
from metarl_jax.core.user_code import file_of, import_file, source_of
from metarl_jax.core.writing import sweep_around, write_text

FOLDER = "code"
"""Where the copies lie in the folder of a run or a sweep: `env.py`, `learner.py`, `outer.py`."""


def keep(run_dir: Path, config: dict[str, Any]) -> None:
    """Copies the files of the user that a configuration names.

    Args:
      run_dir: the folder of a run or a sweep.
      config: as in `config.json`.
    """
    for path, copy in _files(run_dir, config):
        copy.parent.mkdir(exist_ok=True)
        write_text(copy, source_of(path).read_text())


def recall(run_dir: Path, config: dict[str, Any]) -> None:
    """Imports the copies of files that are gone, so that their classes are found by the names in a configuration.

    Raises:
      UserError: if a copy cannot be imported.
    """
    for path, copy in _files(run_dir, config):
        if not path.is_file() and copy.is_file():
            import_file(path, copy)


def changed(run_dir: Path, config: dict[str, Any]) -> list[str]:
    """What a user must know of the files that a run was made with: those that are gone or have changed."""
    remarks = []
    for path, copy in _files(run_dir, config):
        if not copy.is_file():
            continue
        if not path.is_file():
            remarks.append(f"{path} is gone: the copy in {copy} is used")
        elif path.read_bytes() != copy.read_bytes():
            remarks.append(
                f"{path} has changed since the run began (then: {copy}): it is used as it is now"
            )
    return remarks


def _files(run_dir: Path, config: dict[str, Any]) -> Iterator[tuple[Path, Path]]:
    """Each file of the user that a configuration names, and its copy; a member of a sweep has those of the sweep."""
    folder = run_dir / FOLDER
    if not folder.is_dir():
        folder = (sweep_around(run_dir) or run_dir) / FOLDER
    for field in REGISTRIES:
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # told where it is read
            path = file_of(config[field]["name"])
            if path is not None:
                yield path, folder / f"{field}.py"
