"""Reads the first argument of `resume`, `eval`, `render` and others: the folder of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from metarl_jax.cli.options import parse, split_positional
from metarl_jax.config import Config
from metarl_jax.console.text import reflow
from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import check_fields
from metarl_jax.runs.folder import is_begun, open_existing
from metarl_jax.runs.pretrained import is_pretrained, located

Options = TypeVar("Options")


def config_of(run_dir: Path) -> Config:
    """Returns the configuration of a run; raises `UserError` if there is none."""
    return open_existing(run_dir)[1]


def read_run_dir(
    command: str,
    args: Sequence[str],
    what: str,
    default: Callable[[Config], Options],
    read_config: Callable[[Path], Config] = config_of,
) -> tuple[Path, Options]:
    """Returns the folder of a run from the arguments of a command, and the command's options.

    Args:
      command: its name.
      args: its arguments.
      what: its help.
      default: maps the configuration of the run to the default options.
      read_config: reads that configuration.

    Raises:
      UserError: if no folder is named, or for an unknown flag or a bad value.
      SystemExit: after `--help`.
    """
    found, rest = split_positional(args, lambda word: is_begun(Path(word)))
    if found is None:
        if {"-h", "--help"} & set(rest):
            print(reflow(_usage(command, what)))
            raise SystemExit(0)
        raise UserError(f"metarl {command} needs RUN_DIR, the folder of a run; see --help")
    run_dir = located(found)
    before = default(read_config(run_dir))
    prog = f"metarl {command} {run_dir}"
    options = parse(type(before), rest, prog=prog, description=what, default=before)
    check_fields(options)
    return run_dir, options


def in_run_dir(run_dir: Path, name: str) -> Path:
    """Returns the default path of an output: in the folder of the run, or the working folder for a pretrained one."""
    return Path(name) if is_pretrained(run_dir) else run_dir / name


def _usage(command: str, what: str) -> str:
    """Returns the help text for a call without a folder."""
    return (
        f"usage: metarl {command} RUN_DIR [OPTIONS]\n\n{what}\n\n"
        f"`metarl {command} RUN_DIR --help` shows every option, with the values of the run."
    )
