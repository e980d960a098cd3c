"""The identifier by which another system knows a run, kept in its folder, so that `resume` goes on with the same."""

import uuid
from collections.abc import Callable
from pathlib import Path

from metarl_jax.core.writing import write_text


def kept_id(path: Path, create: Callable[[], str]) -> str:
    """Returns the identifier in a file; if there is none, creates one and writes it."""
    if path.is_file():
        return path.read_text().strip()
    found = create()
    write_text(path, found + "\n")
    return found


def new_id() -> str:
    """Returns a new identifier of eight characters."""
    return uuid.uuid4().hex[:8]
