"""The folder of a search: what is searched, and a sweep for each batch of trials."""

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import filelock

from metarl_jax.config import Config, changes, from_dict
from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import local_path, unwritable
from metarl_jax.core.validation import bounded, check_fields
from metarl_jax.core.writing import MEMBERS
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs import user_files
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import read_json, write_json
from metarl_jax.searches.space import dimensions

Sampler = Literal["tpe", "random"]
Pruner = Literal["none", "asha", "hyperband", "median"]

MAY_DIFFER = ("name", "runtime.", "checkpoint.")
"""Fields of the configuration, and beginnings, in which workers of one search may differ."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched, and how."""

    config: Config
    """The configuration of all trials."""
    space: Mapping[str, str]
    """Ranges by dotted name: `LOW..HIGH`, `LOW..HIGH:log`, or values with commas."""
    num_trials: int = bounded(20, at_least=1)
    """Number of trials, of all workers together."""
    batch_size: int = bounded(10, at_least=1)
    """Number of trials that a worker asks for at once, and trains side by side. TPE proposes the first 10 by chance."""
    num_seeds: int = bounded(1, at_least=1)
    """Number of seeds per trial, over which scores are averaged."""
    group_size: int | None = bounded(None, at_least=1)
    """Number of members that a device trains side by side; as in `Sweep`."""
    sampler: Sampler = "tpe"
    """What proposes values: the tree-structured Parzen estimator, or chance."""
    pruner: Pruner = "none"
    """What ends trials early by their held-out scores so far."""
    storage: str = ""
    """URL of the database that holds the trials; a journal in the folder when not given."""

    def validate(self) -> None:
        """Checks the space; raises `UserError` naming the field, the value and the remedy."""
        check_fields(dataclasses.replace(self, space={}))
        dimensions(self.config, self.space)
        every, end = self.config.evaluation.every, self.config.num_meta_steps
        if self.pruner != "none" and not 0 < every < end:
            raise UserError(
                f"evaluation.every={every} must be above 0 and below num_meta_steps={end} for pruner={self.pruner!r}"
            )


class SearchFolder(NamedTuple):
    """Paths of a search.

    | path | what it holds |
    |---|---|
    | `search.json` | what is searched, written first |
    | `journal.log` | the trials, unless they are in a database |
    | `batches/<name>/` | the sweep of a batch, named by its first trial, with a member for each trial and seed |
    | `workers/<id>.lock` | locked for as long as this worker lives |
    """

    path: Path

    @property
    def search(self) -> Path:
        return self.path / "search.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.log"

    @property
    def workers(self) -> Path:
        return self.path / "workers"

    def batch(self, name: str) -> Path:
        """Returns the folder of the sweep of a batch."""
        return self.path / "batches" / name

    def member(self, batch: str, trial: int, seed: int) -> RunFolder:
        """Returns the folder of the run of a trial with this seed."""
        return RunFolder(self.batch(batch) / MEMBERS / f"{trial_name(trial)},seed={seed}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A context for one worker at a time, in which trials are asked for and taken over."""
        with _lock(self.path / ".lock", timeout=-1):
            yield

    @contextlib.contextmanager
    def worker(self) -> Iterator[str]:
        """Yields the id of a new worker, which counts as alive within the context, in this process."""
        self.workers.mkdir(exist_ok=True)
        name = uuid.uuid4().hex[:12]
        try:
            with _lock(self._lock_of(name), timeout=0):
                yield name
        finally:
            self._lock_of(name).unlink(missing_ok=True)

    def is_alive(self, worker: str) -> bool:
        """Whether the process of this worker lives."""
        lock = self._lock_of(worker)
        if not lock.exists():
            return False
        try:
            with _lock(lock, timeout=0):
                return False
        except filelock.Timeout:
            return True

    def _lock_of(self, worker: str) -> Path:
        return self.workers / f"{worker}.lock"


def trial_name(number: int) -> str:
    """Returns the name of a trial in those of its members' folders."""
    return f"trial={number}"


@contextlib.contextmanager
def _lock(path: Path, timeout: float) -> Iterator[None]:
    """Holds a lock that ends with the process; raises `filelock.Timeout` after this many seconds, never if negative."""
    lock = filelock.FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def is_search(path: Path) -> bool:
    """Whether there is a search at `path`."""
    return SearchFolder(path).search.is_file()


def open_existing(path: Path) -> tuple[SearchFolder, Search]:
    """Returns the folder of an existing search, and the search; raises `UserError` if there is none."""
    path = local_path(path, "study")
    folder = SearchFolder(path)
    if not is_search(path):
        raise UserError(
            f"study={str(path)!r} is not the folder of a search (it has no search.json): name a folder that "
            "`metarl search` made"
        )

    def from_values(values: dict[str, Any]) -> Search:
        user_files.recall(path, values["config"])
        return Search(**{**values, "config": from_dict(values["config"])})

    return folder, read_json(folder.search, from_values)


def join(path: Path, search: Search) -> SearchFolder:
    """Makes the folder of a search, or returns an existing one of the same search; its number of trials is set anew.

    Raises:
      UserError: if the folder holds another search, or something else, or cannot be written.
    """
    path = local_path(path, "study")
    folder = SearchFolder(path)
    values = run_folder.serializable(search.config)
    if not is_search(path) and path.is_dir() and _is_foreign(path):
        raise UserError(
            f"study={str(path)!r} already exists and is no search: choose another folder"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    with folder.locked():
        if is_search(path):
            _check_same(folder, search)
        else:
            user_files.keep(path, values)
        write_json(folder.search, _to_dict(search, values))
    return folder


def _is_foreign(path: Path) -> bool:
    """Whether a folder without a search holds anything but what another worker makes first."""
    return any(
        entry.name not in (".lock", "code", "search.json.partial") for entry in path.iterdir()
    )


def _to_dict(search: Search, config: dict[str, Any]) -> dict[str, Any]:
    fields = {f.name: getattr(search, f.name) for f in dataclasses.fields(search)}
    return fields | {"config": config, "space": dict(search.space)}


def _check_same(folder: SearchFolder, search: Search) -> None:
    """Raises `UserError` unless the folder holds this search, but for the number of trials and how they are batched."""
    before = open_existing(folder.path)[1]
    pairs = {
        name: pair
        for name, pair in changes(before.config, search.config).items()
        if not name.startswith(MAY_DIFFER)
    }
    for name in ("space", "num_seeds", "storage"):
        old, new = getattr(before, name), getattr(search, name)
        if old != new:
            pairs[name] = old, new
    if pairs:
        changed = ", ".join(
            f"{name}={new!r} (before {old!r})" for name, (old, new) in pairs.items()
        )
        raise UserError(
            f"study={str(folder.path)!r} is another search: {changed}: give the same options, or choose another --study"
        )
