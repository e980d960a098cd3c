"""The folder of a run: what lies where, and how it is made, opened and written whole."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import filelock
import numpy as np

from metarl_jax.config import Config, from_dict, stamped
from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import check_plain, local_path
from metarl_jax.core.writing import MEMBERS, SWEEP, append, sweep_around, write_text

Result = TypeVar("Result")

CLAIM, LOCK = ".claim", ".lock"
"""Files of a process that makes a folder, and of one that trains in it."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems that have no locks."""


class RunFolder(NamedTuple):
    """Paths of a run.

    | path | what it holds |
    |---|---|
    | `config.json` | the configuration, written first, and the version of metarl_jax |
    | `machines.jsonl` | one object a start: the machine, the configuration, and the meta-step that it goes on from |
    | `metrics.jsonl` | one object a chunk, and one an evaluation |
    | `events.out.tfevents.*` | the same for TensorBoard |
    | `checkpoints/` | `<step>/` by Orbax; `<step>.damaged/` for what could not be read |
    | `eval.json` | held-out returns of the trained learner, and of the controls |
    | `adaptation_curve.png` | `eval.json` drawn |
    """

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def machines(self) -> Path:
        return self.path / "machines.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "eval.json"

    @property
    def curve(self) -> Path:
        return self.path / "adaptation_curve.png"

    def last_metrics(self) -> dict[str, Any] | None:
        """The last line of `metrics.jsonl`, if there is one."""
        lines = self.metrics.read_text().splitlines() if self.metrics.is_file() else []
        return json.loads(lines[-1]) if lines else None

    def note_start(self, step: int, machine: dict[str, Any]) -> None:
        """Notes that training goes on from this meta-step on a machine (`metarl_jax.core.machine`), by `config.json`.

        Starts from this step or a later one are forgotten: what came of them is not gone on with.
        """
        truncate_jsonl(self.machines, step)
        config = json.loads(self.config.read_text())
        append(self.machines, json.dumps({"step": step} | machine | {"config": config}) + "\n")

    def starts(self) -> list[dict[str, Any]]:
        """The whole objects of `machines.jsonl`; none where there is no such file."""
        text = self.machines.read_text(errors="replace") if self.machines.is_file() else ""
        return [json.loads(line) for line in text.splitlines() if _step_of(line) < math.inf]


def truncate_jsonl(path: Path, step: int) -> None:
    """Drops lines of a file of objects: those of this `step` or a later one, and those that were cut off in writing."""
    if not path.exists():
        return
    lines = path.read_text(errors="replace").splitlines()
    kept = [line for line in lines if _step_of(line) < step]
    if len(kept) < len(lines):
        write_text(path, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    """The step of a line; infinity for one that was cut off while it was written."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def create(path: Path, config: Config, *, numbered: bool = False) -> RunFolder:
    """Makes the folder of a new run, with its configuration.

    Args:
      path: a folder that does not exist yet, or that is empty.
      config: what is written first.
      numbered: take `path-2`, `path-3`, … where `path` is taken.

    Raises:
      UserError: if something lies at `path` already (it is left as it is), if `path` cannot be
        written, or if the configuration could not be read back.
    """
    values = serializable(config)
    with new_folder(path, numbered=numbered) as made:
        folder = RunFolder(made)
        write_first(folder.config, values)
    return folder


class TakenError(UserError):
    """Something lies where a new folder was to be made."""


@contextlib.contextmanager
def new_folder(path: Path, *, numbered: bool = False) -> Iterator[Path]:
    """Makes a folder that no other process takes, and gives it back if the block fails.

    Args:
      path: a folder that does not exist yet, or that is empty.
      numbered: take `path-2`, `path-3`, … where `path` is taken.

    Yields:
      The folder, empty but for the file that claims it.

    Raises:
      TakenError: if something lies at `path` already, or if what is above it is a file or a link to nothing.
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
    """Makes the folder, or takes it where it is empty; answers whether it is new.

    The file `CLAIM` is in it until it has its first other file, so that of two processes one gets it.

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
        raise _unwritable(path, error) from error
    return is_new


def _check_names(path: Path) -> None:
    """Raises `OSError` if a name in a path that is to be made is too long, while nothing of it is made yet."""
    above = next(parent for parent in path.parents if os.path.lexists(parent))
    for name in path.relative_to(above).parts:
        with contextlib.suppress(FileNotFoundError):
            (above / name).lstat()


def _taken(path: Path) -> TakenError:
    """The error where a folder cannot be made because something is in the way."""
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


def write_first(path: Path, values: Any) -> None:
    """`write_json` of the first file of a folder; raises `UserError` if it cannot be written."""
    try:
        write_json(path, values)
    except OSError as error:
        raise _unwritable(path.parent, error.__cause__ or error) from error


def is_begun(path: Path) -> bool:
    """Whether there is a run or a sweep at `path`."""
    return RunFolder(path).config.is_file() or (path / SWEEP).is_file()


def open_existing(path: Path) -> tuple[RunFolder, Config]:
    """The folder of a run that was begun, and its configuration.

    Raises:
      UserError: if there is no run at `path`, or its configuration cannot be read.
    """
    path = local_path(path)
    folder = RunFolder(path)
    if (path / SWEEP).is_file():
        raise UserError(
            f"run_dir={str(path)!r} is the folder of a sweep: name that of a run in {path / MEMBERS}"
        )
    if not folder.config.is_file():
        reason = "has no config.json" if path.is_dir() else "is not a folder"
        raise UserError(
            f"run_dir={str(path)!r} is not the folder of a run (it {reason}): name a folder that "
            "`metarl train` made"
        )
    return folder, read(folder.config, from_dict)


def read(path: Path, from_values: Callable[[Any], Result]) -> Result:
    """What `from_values` makes of a JSON file; raises `UserError` where it cannot be read so."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it") from error
    try:
        return from_values(values)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} does not describe a run ({error}): restore it, or register what is missing "
            "first"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes from training in this folder of a run or a sweep. The lock ends with the process.

    A member of a sweep is not trained while the sweep is. Each of the two takes its own lock first and looks at that
    of the other then, so that at least one of them sees the other.

    Raises:
      UserError: if a process trains in it now, or if the folder cannot be written.
    """
    with _lock(path):
        sweep = sweep_around(path)
        if sweep is not None:
            check_unlocked(sweep)
        yield


def check_unlocked(path: Path) -> None:
    """Raises `UserError` if a process trains in this folder now, or if it cannot be written."""
    with _lock(path):
        pass


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path / LOCK, timeout=1.0)  # Others hold it for a moment to look.
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"run_dir={str(path)!r} is in use by a process that trains in it: wait for "
            "it, or stop it"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise _unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, values: Any) -> None:
    """Writes JSON so that `path` holds either what it held before or all of `values`."""
    write_text(path, json.dumps(finite(values), indent=2) + "\n")


def finite(values: Any) -> Any:
    """`values` with None, JSON's null, in the place of floats that JSON lacks (nan, ±inf)."""
    if isinstance(values, dict):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values


def serializable(config: Config) -> dict[str, Any]:
    """The content of `config.json`, checked to give `config` again when the run is resumed."""
    values = stamped(config)
    try:
        same = from_dict(json.loads(json.dumps(values))) == config
    except (TypeError, ValueError) as error:
        raise UserError(
            f"config cannot be written to config.json and read again ({error}): use plain numbers, "
            "and register your own env, learner or outer method by name"
        ) from error
    if not same:
        raise UserError(
            "config is not the same after it was written to config.json and read again: let every "
            "field be plain data that compares by value, and register your own classes by name"
        )
    return values


def _unwritable(path: Path, error: BaseException) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(
        f"run_dir={str(path)!r} cannot be written ({reason}): choose a folder that you may write to"
    )
