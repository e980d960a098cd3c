"""Trained runs that come with the library: `metarl eval pretrained:rl2-grid-navi`."""

import os
from pathlib import Path

from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import local_path
from metarl_jax.core.registry import suggestion

PREFIX = "pretrained:"
"""What stands before the name of a pretrained run, in the place of a run folder."""

FOLDER = Path(__file__).parents[1] / "pretrained"
"""The folder of the pretrained runs."""


def names() -> list[str]:
    """Returns the names of all pretrained runs."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def is_pretrained(run_dir: str | os.PathLike[str]) -> bool:
    """Whether this names a pretrained run, or is the folder of one."""
    return os.fspath(run_dir).startswith(PREFIX) or FOLDER in Path(run_dir).absolute().parents


def located(run_dir: str | os.PathLike[str], name: str = "run_dir") -> Path:
    """Returns the folder of a run: that of a pretrained one after `pretrained:`, or else the path with `~` expanded.

    Args:
      run_dir: as the user gave it.
      name: the option, for the message.

    Raises:
      UserError: for an unknown pretrained run, or as in `local_path`.
    """
    text = os.fspath(run_dir)
    if not text.startswith(PREFIX):
        return local_path(text, name)
    wanted, known = text.removeprefix(PREFIX), names()
    if wanted not in known:
        hint = suggestion(wanted, known) or f": choose one of {', '.join(known)}"
        raise UserError(f"{name}={text!r} does not come with the library{hint}")
    return FOLDER / wanted
