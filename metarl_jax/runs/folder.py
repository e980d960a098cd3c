"""The folder of a run: its layout, creation, opening and atomic writes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax.config import Config, from_dict, stamped
from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import unwritable
from metarl_jax.core.writing import MEMBERS, SWEEP, append
from metarl_jax.runs import user_files
from metarl_jax.runs.json_files import read_json, truncate_jsonl, whole_lines, write_json
from metarl_jax.runs.new_folder import new_folder
from metarl_jax.runs.pretrained import PREFIX, located


class RunFolder(NamedTuple):
    """Paths of a run.

    | path | what it holds |
    |---|---|
    | `code/` | copies of the user's files that define the environment, the learner or the outer method |
    | `config.json` | the configuration, written first, and the version of metarl_jax |
    | `member.json` | of a member of a sweep: which slice of the sweep's arrays it is |
    | `machines.jsonl` | one object a start: the machine, the configuration, and the meta-step that it goes on from |
    | `time.jsonl` | one object a chunk: the seconds of training, compiling, evaluating and saving, never removed |
    | `stuck.txt` | the stacks of all threads, where a chunk took far longer than usual |
    | `metrics.jsonl` | one object a chunk, and one an evaluation |
    | `events.out.tfevents.*` | the same for TensorBoard |
    | `checkpoints/` | `<step>/` by Orbax; `<step>.damaged/` for what could not be read |
    | `eval.json` | held-out returns of the trained learner, and of the controls |
    | `README.md` | the model card: the configuration as a command, the table of `eval.json`, versions, the machine |
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
    def member(self) -> Path:
        return self.path / "member.json"

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
        """Returns the last line of `metrics.jsonl`, if there is one."""
        lines = self.metrics.read_text().splitlines() if self.metrics.is_file() else []
        return json.loads(lines[-1]) if lines else None

    def note_start(self, step: int, machine: dict[str, Any]) -> None:
        """Records that training starts at this meta-step, with the machine (`metarl_jax.core.machine`) and
        `config.json`. Earlier records of starts at this step or later are dropped, because their results are discarded.
        """
        truncate_jsonl(self.machines, step)
        config = json.loads(self.config.read_text())
        append(self.machines, json.dumps({"step": step} | machine | {"config": config}) + "\n")

    def starts(self) -> list[dict[str, Any]]:
        """Returns the complete objects of `machines.jsonl`; none if there is no such file."""
        return whole_lines(self.machines)


def create(path: Path, config: Config, *, numbered: bool = False) -> RunFolder:
    """Makes the folder of a new run, with its configuration.

    Args:
      path: a folder that does not exist yet, or that is empty.
      config: written first.
      numbered: use `path-2`, `path-3`, … if `path` is taken.

    Raises:
      UserError: if `path` already exists (it is left unchanged), if it cannot be written, or if the configuration could
        not be read back.
    """
    values = serializable(config)
    with new_folder(path, numbered=numbered) as made:
        folder = RunFolder(made)
        write_first(folder.config, values)
        user_files.keep(made, values)
    return folder


def write_first(path: Path, values: Any) -> None:
    """Writes the first file of a folder as JSON; raises `UserError` if it cannot be written."""
    try:
        write_json(path, values)
    except OSError as error:
        raise unwritable(path.parent, error.__cause__ or error) from error


def is_begun(path: Path) -> bool:
    """Whether there is a run or a sweep at `path`, or the name of a pretrained run."""
    is_named = str(path).startswith(PREFIX)
    return is_named or RunFolder(path).config.is_file() or (path / SWEEP).is_file()


def open_existing(path: Path) -> tuple[RunFolder, Config]:
    """Returns the folder of an existing run, and its configuration.

    Raises:
      UserError: if there is no run at `path`, or its configuration cannot be read.
    """
    path = located(path)
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

    def from_values(values: dict[str, Any]) -> Config:
        user_files.recall(path, values)
        return from_dict(values)

    return folder, read_json(folder.config, from_values)


def serializable(config: Config) -> dict[str, Any]:
    """Returns the content of `config.json`, after checking that it restores `config`."""
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
