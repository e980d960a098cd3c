"""The folder of a run: what lies where, and how it is made, opened and written whole."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from metarl_jax.config import Config, from_dict, to_dict

Result = TypeVar("Result")

SWEEP, MEMBERS = "sweep.json", "members"
"""What tells the folder of a sweep from that of a run, and where its runs lie."""


class RunFolder(NamedTuple):
    """Paths of a run.

    | path | what it holds |
    |---|---|
    | `config.json` | the configuration, written first |
    | `machines.jsonl` | one object a start: the machine, and the meta-step that it goes on from |
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
        """Notes that training goes on from this meta-step on a machine (see `metarl_jax.machine`).

        Starts from this step or a later one are forgotten: what came of them is not gone on with.
        """
        keep_before(self.machines, step)
        with self.machines.open("a") as file:
            file.write(json.dumps({"step": step} | machine) + "\n")

    def starts(self) -> list[dict[str, Any]]:
        """The objects of `machines.jsonl`; none where there is no such file."""
        text = self.machines.read_text() if self.machines.is_file() else ""
        return [json.loads(line) for line in text.splitlines()]


def keep_before(path: Path, step: int) -> None:
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
        return float("inf")


def create(path: Path, config: Config) -> RunFolder:
    """Makes the folder of a new run, with its configuration.

    Raises:
      ValueError: if something lies at `path` already (it is left as it is), if `path` cannot be
        written, or if the configuration could not be read back.
    """
    values = serializable(config)
    make_folder(path)
    folder = RunFolder(path)
    write_first(folder.config, values)
    return folder


def make_folder(path: Path) -> None:
    """Makes a new folder; raises `ValueError` if something lies there, or if it cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except FileExistsError as error:
        if not os.path.lexists(path):
            raise _unwritable(path, error) from error
        raise ValueError(
            f"run_dir={str(path)!r} already exists, and was left as it is: choose another run_dir, "
            f"or go on with `metarl resume {path}`"
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error


def write_first(path: Path, values: Any) -> None:
    """`write_json` of the first file of a folder; raises `ValueError` if it cannot be written."""
    try:
        write_json(path, values)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def open_existing(path: Path) -> tuple[RunFolder, Config]:
    """The folder of a run that was begun, and its configuration.

    Raises:
      ValueError: if there is no run at `path`, or its configuration cannot be read.
    """
    folder = RunFolder(path)
    if (path / SWEEP).is_file():
        raise ValueError(
            f"run_dir={str(path)!r} is the folder of a sweep: name that of a run in {path / MEMBERS}"
        )
    if not folder.config.is_file():
        reason = "has no config.json" if path.is_dir() else "is not a folder"
        raise ValueError(
            f"run_dir={str(path)!r} is not the folder of a run (it {reason}): name a folder that "
            "`metarl train` made"
        )
    return folder, read(folder.config, from_dict)


def read(path: Path, from_values: Callable[[Any], Result]) -> Result:
    """What `from_values` makes of a JSON file; raises `ValueError` where it cannot be read so."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): restore it") from error
    try:
        return from_values(values)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} does not describe a run ({error}): restore it, or register what is missing "
            "first"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes from training in this folder of a run or a sweep. The lock ends with the process.

    Raises:
      ValueError: if a process trains in it now, or if the folder cannot be written.
    """
    try:
        file = (path / ".lock").open("w")
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"run_dir={str(path)!r} is in use by a process that trains in it: wait for "
                "it, or stop it"
            ) from error
        except OSError:
            pass  # A network file system without locks: nothing to guard with.
        yield


def write_json(path: Path, values: Any) -> None:
    """Writes JSON so that `path` holds either what it held before or all of `values`."""
    write_text(path, json.dumps(finite(values), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file so that `path` holds either what it held before or all of `text`."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def finite(values: Any) -> Any:
    """`values` with None, JSON's null, in the place of floats that JSON lacks (nan, ±inf)."""
    if isinstance(values, dict):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values


def serializable(config: Config) -> dict[str, Any]:
    """The configuration as JSON's types, checked to give `config` again when the run is resumed."""
    values = to_dict(config)
    try:
        same = from_dict(json.loads(json.dumps(values))) == config
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"config cannot be written to config.json and read again ({error}): use plain numbers, "
            "and register your own env, learner or outer method by name"
        ) from error
    if not same:
        raise ValueError(
            "config is not the same after it was written to config.json and read again: let every "
            "field be plain data that compares by value, and register your own classes by name"
        )
    return values


def _unwritable(path: Path, error: OSError) -> ValueError:
    reason = error.strerror or str(error)
    return ValueError(
        f"run_dir={str(path)!r} cannot be written ({reason}): choose a folder that you may write to"
    )
