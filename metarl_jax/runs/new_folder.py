"""Creates the folder of a run or a sweep, for exactly one process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import check_plain, local_path, unwritable
from metarl_jax.core.writing import SWEEP

CLAIM = ".claim"
"""Name of the file by which a process claims a new folder."""


class TakenError(UserError):
    """The path of a new folder is already taken."""


@contextlib.contextmanager
def new_folder(path: Path, *, numbered: bool = False) -> Iterator[Path]:
    """Creates a folder for this process alone, and removes it if the block fails.

    Args:
      path: a folder that does not exist yet, or that is empty.
      numbered: take `path-2`, `path-3`, … where `path` is taken.

    Yields:
      The folder, empty but for the file that claims it.

    Raises:
      TakenError: if `path` already exists, or if a parent is a file or a broken link.
      UserError: if it cannot be made, or if checkpoints cannot be written there.
    """
    first, number = local_path(path), 1
    check_plain(first)
    path = first
    while True:
        try:
            is_new = _claim(path)
            break
        except TakenError:
            if not numbered or not os.path.lexists(path):  # What is above it is in the way of all.
                raise
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    try:
        yield path
    except BaseException:
        (path / CLAIM).unlink(missing_ok=True)
        if is_new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    (path / CLAIM).unlink(missing_ok=True)


def _claim(path: Path) -> bool:
    """Creates the folder, or claims it if it is empty; returns whether it is new. The file `CLAIM` stays until the
    first other file is written, so that only one of two processes succeeds.

    Raises:
      TakenError, UserError: as in `new_folder`.
    """
    is_new = False
    try:
        try:
            path.lstat()
        except FileNotFoundError:
            _check_names(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            is_new = True
        if any(path.iterdir()):
            raise _taken(path)
        (path / CLAIM).touch(exist_ok=False)
        if len(list(path.iterdir())) > 1:  # Another process was done between the two looks.
            (path / CLAIM).unlink()
            raise _taken(path)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise _taken(path) from error
    except OSError as error:
        if is_new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise unwritable(path, error) from error
    return is_new


def _check_names(path: Path) -> None:
    """Raises `OSError` if a name in a path is too long, before anything of the path is created."""
    above = next(parent for parent in path.parents if os.path.lexists(parent))
    for name in path.relative_to(above).parts:
        with contextlib.suppress(FileNotFoundError):
            (above / name).lstat()


def _taken(path: Path) -> TakenError:
    """Returns the error for a folder whose path is taken."""
    if (path / "config.json").is_file() or (path / SWEEP).is_file():
        what = f"already exists, and was left as it is: go on with it (`metarl resume {path}`), or"
    elif path.is_dir():
        what = "already exists and is not empty, and was left as it is:"
    elif path.is_symlink():
        what = f"is a link to {os.readlink(path)!r}, where nothing is:"
    elif path.is_file():
        what = "is a file, and no folder:"
    else:
        what = "cannot be written (something above it is a file, or a link to nothing):"
    return TakenError(f"run_dir={str(path)!r} {what} choose another run_dir")
