"""Files that a command writes for its user: examined before the work, and named after it."""

import os
from pathlib import Path

from rich.console import Console

from metarl_jax.core.errors import UserError


def check_output(field: str, path: Path | None) -> None:
    """Raises `UserError` where a file could not be written at `path`; nothing is written."""
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
    """`check_output`, and raises `UserError` where no picture can have a name that ends so."""
    check_output(field, path)
    if path is not None and path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UserError(f"{field}={str(path)!r} must end in .png, .pdf or .svg")


def check_folder(field: str, path: Path) -> None:
    """Makes a folder for files that come later; raises `UserError` where it is none or cannot be written to."""
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
    """Says where files lie, on stderr, so that stdout holds the results alone."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"Written: {', '.join(map(str, paths))}", markup=False, highlight=False)
