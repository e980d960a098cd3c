"""Output files of commands: checked before the work, and reported after it."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metarl_jax.core.errors import UserError

PICTURES = (".png", ".svg", ".pdf")
"""Endings of figure formats."""


def check_ending(field: str, path: Path, endings: Sequence[str]) -> None:
    """Raises `UserError` if the path ends with none of these."""
    if path.suffix.lower() not in endings:
        raise UserError(f"{field}={str(path)!r} must end with one of {', '.join(endings)}")


def check_output(field: str, path: Path | None) -> None:
    """Raises `UserError` if a file could not be written at `path`; nothing is written."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{field}={str(path)!r} is a folder: name a file")
    if not path.parent.is_dir():
        raise UserError(f"{field}={str(path)!r}: there is no folder {str(path.parent)!r}: make it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(
            f"{field}={str(path)!r} cannot be written: choose a file that you may write to"
        )


def check_picture(field: str, path: Path | None) -> None:
    """Calls `check_output`, and raises `UserError` if the ending is not that of a figure format."""
    if path is not None:
        check_ending(field, path, PICTURES)
    check_output(field, path)


def check_folder(field: str, path: Path) -> None:
    """Creates a folder for later output; raises `UserError` if it is not a folder or cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{field}={str(path)!r} cannot be made ({reason}): choose another"
        ) from error
    if not os.access(path, os.W_OK):
        raise UserError(f"{field}={str(path)!r} cannot be written to: choose another folder")


def say_written(*paths: Path) -> None:
    """Prints the paths of written files to stderr, so that stdout contains only results."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"Written: {', '.join(map(str, paths))}", markup=False, highlight=False)
