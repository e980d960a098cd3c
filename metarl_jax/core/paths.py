"""Checks of paths that a user gives: local, with `~` expanded."""

import dataclasses
import glob
import os
import re
from pathlib import Path
from typing import Any, TypeVar

from metarl_jax.core.errors import UserError

Options = TypeVar("Options")

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""`gs://bucket`, which `pathlib` shortens to `gs:/bucket`; one letter is a drive of Windows."""


def local_path(path: str | os.PathLike[str], name: str = "run_dir") -> Path:
    """Returns the path with `~` expanded.

    Args:
      path: as the user gave it.
      name: the option, for the message.

    Raises:
      UserError: if it names a place on another machine, as `gs://bucket/run` does, or an unknown home.
    """
    text = os.fspath(path)
    if _REMOTE.match(text):
        raise UserError(
            f"{name}={text!r} is a remote address: name a local path, for example one where the "
            "remote storage is mounted"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{name}={text!r} names a home folder that is unknown: write out the path"
        ) from error


def with_local_paths(options: Options) -> Options:
    """Applies `local_path` to every field of the dataclass `options` that is a path or a tuple of paths.

    Raises:
      UserError: as in `local_path`.
    """
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if isinstance(value, Path):
            changed[field.name] = local_path(value, field.name)
        elif isinstance(value, tuple) and value and all(isinstance(x, Path) for x in value):
            changed[field.name] = tuple(local_path(x, field.name) for x in value)
    return dataclasses.replace(options, **changed) if changed else options  # type: ignore[type-var]


def check_plain(path: Path) -> None:
    """Checks that the absolute path contains no wildcard, which Orbax would expand.

    Raises:
      UserError: if there is one of `*`, `?` and `[` in it.
    """
    absolute = str(path.absolute())
    if glob.escape(absolute) != absolute:
        raise UserError(
            f"run_dir={str(path)!r} is {absolute!r}, and checkpoints cannot be written to a path "
            "with *, ? or [ in it: choose or rename a folder"
        )


def unwritable(path: Path, error: BaseException) -> UserError:
    """Returns the error for a run folder that cannot be written, with the reason given by the operating system."""
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(
        f"run_dir={str(path)!r} cannot be written ({reason}): choose a folder that you may write to"
    )
