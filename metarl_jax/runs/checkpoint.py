"""Checkpoints: the complete state of a run on disk, with a checksum that proves what is read back.

A checkpoint is `<directory>/<step>/` with two items: `state`, the `TrainState`, and `progress`,
what the host keeps beside it. Orbax writes it to a temporary folder first, in the background, so
that a process killed at any moment leaves a whole checkpoint or none. Damage done later is found
when reading: by an error, or by the checksum.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import check_plain
from metarl_jax.core.types import PyTree, TrainState
from metarl_jax.core.writing import WriteError, write_text
from metarl_jax.runs import orbax_logs
from metarl_jax.runs.progress import Progress


class Checkpoint(NamedTuple):
    """What was read back, with the progress of each member of a sweep, or of the one run."""

    step: int
    state: TrainState
    progress: list[Progress]


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be read, or that is not what was written."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"the checkpoint {path} is damaged ({reason})")
        self.path = path


OnDamage = Callable[[DamagedCheckpointError], None]


@jax.jit
def copy(state: PyTree) -> PyTree:
    """The same arrays at other places: `state` may be donated."""
    return jax.tree.map(jnp.copy, state)


class CheckpointWriter:
    """Saves states in the background, and keeps the latest few and the best by held-out return.

    The first checkpoint is read back, so that a place where nothing can be kept is found at once.
    Usable as a context manager, which waits for the last save. Whatever Orbax cannot do becomes a
    `WriteError`; the pages that it logs about the same are dropped.
    """

    def __init__(self, directory: Path, *, keep: int):
        """Writes to `directory`.

        Raises:
          UserError: if nothing can be saved at such a path.
          WriteError: if it cannot be written.
        """
        check_plain(directory)
        self._directory = directory
        self._policy = _LatestAndBest(keep)
        self._last_save: int | None = None
        self._proven = False
        with self._failing():
            self._manager = ocp.CheckpointManager(
                directory.absolute(),
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=self._policy, cleanup_tmp_directories=True
                ),
            )

    def save(
        self, state: TrainState, progress: Sequence[Progress], *, is_last: bool = False
    ) -> None:
        """Begins to save `state` under its step.

        Where these very arrays are saved already, only the progress is renewed; where others are, they are replaced.

        The caller may donate `state` afterwards, unless `is_last`: what is written is a copy.

        Args:
          state: of a run, or of all members of a sweep, `[M, ...]`.
          progress: of the run alone, or of each member.
          is_last: whether nothing is computed with `state` any more. The devices, which may be busy, are then left
            alone: it is only read.

        Raises:
          WriteError: if this or an earlier save has failed.
        """
        step = step_of(state)
        if not is_last:
            state = copy(state)
        values = _to_values(progress) | {"structure": structure(state)}
        values["sha256"] = checksum(state, values)
        self._policy.best_steps = {member.best_step for member in progress}
        if step in self._manager.all_steps():
            self._save_again(step, state, values)
            return
        items = _items(state, values)
        with self._failing():
            if not self._manager.save(step, args=items, force=True):
                raise RuntimeError(f"Orbax did not save step {step}")
        self._last_save = step
        if not self._proven:
            self.wait()
            self._read_back(step, state)

    def _save_again(self, step: int, state: PyTree, values: dict[str, Any]) -> None:
        """Replaces what is saved beside the state of a step, in one go; or all of it, where the state is another."""
        self.wait()
        path = self._directory / str(step) / "progress" / "metadata"
        saved = _saved_values(path)
        if saved == values:
            return
        if checksum(state, {n: x for n, x in saved.items() if n != "sha256"}) == saved.get(
            "sha256"
        ):
            write_text(path, json.dumps(values))
        else:
            self._replace(step, _items(state, values))

    def _replace(self, step: int, items: ocp.args.Composite) -> None:
        """Saves another state of a step; the one before is deleted when the new one is whole."""
        path = self._directory.absolute() / str(step)
        new, old = path.with_name(f"{step}.new"), path.with_name(f"{step}.old")
        with self._failing():
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                checkpointer.save(new, args=items, force=True)
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
            new.rename(path)
            shutil.rmtree(old)

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
          WriteError: if a save has failed in the background.
        """
        with self._failing():
            self._manager.wait_until_finished()
            if self._last_save is not None and self._last_save not in saved_steps(self._directory):
                raise RuntimeError(f"step {self._last_save} was not saved")

    def _read_back(self, step: int, state: PyTree) -> None:
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        try:
            load(self._directory, step, like)
        except DamagedCheckpointError as error:
            raise WriteError(
                self._directory, f"what was saved is not what is read: {error}"
            ) from error
        self._proven = True

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Turns whatever Orbax raises in its block, errors of its threads among them, into a `WriteError`."""
        try:
            yield
        except Exception as error:  # Of any type: TensorStore's are ValueErrors.
            raise WriteError(self._directory, error) from error

    def latest_step(self) -> int | None:
        """The last step saved or being saved."""
        return self._manager.latest_step()

    def __enter__(self) -> "CheckpointWriter":
        self._unmute = orbax_logs.mute()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        failures = []
        for end in (self.wait, self._close):
            try:
                end()
            except WriteError as error:
                failures.append(error)
        is_told = kind is not None and issubclass(kind, WriteError)
        if failures and not is_told:
            raise failures[0]
        if not failures and not is_told:
            self._unmute()

    def _close(self) -> None:
        with self._failing():
            self._manager.close()


@dataclasses.dataclass
class _LatestAndBest:
    """Orbax's preservation policy. Which step is the best is told, not read from the files."""

    keep: int
    best_steps: Set[int | None] = frozenset()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        latest = {checkpoint.step for checkpoint in checkpoints[-self.keep :]}
        return [c.step in latest or c.step in self.best_steps for c in checkpoints]


def saved_steps(directory: Path) -> list[int]:
    """The steps with a finished checkpoint, ascending."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal())


def load(directory: Path, step: int, abstract_state: PyTree) -> Checkpoint:
    """Reads the checkpoint of this step into the shapes, types and shardings of `abstract_state`.

    Raises:
      DamagedCheckpointError: if it cannot be read, or its checksum is wrong.
      UserError: if it is whole, but of a run with another configuration.
    """
    path = directory.absolute() / str(step)
    values = _read(path, progress=ocp.args.JsonRestore())["progress"]
    digest = values.pop("sha256", None) if isinstance(values, dict) else None
    if digest is None or "structure" not in values:
        raise DamagedCheckpointError(path, "its progress has no checksum")
    _check_structure(path, values["structure"], structure(abstract_state))
    arrays = _read(path, state=ocp.args.StandardRestore(_without_empty(abstract_state)))["state"]
    state = _with_empty(abstract_state, arrays)
    if checksum(state, values) != digest:
        raise DamagedCheckpointError(
            path, "its content does not have the checksum of what was saved"
        )
    del values["structure"]
    return Checkpoint(step, state, _from_values(values))


def load_latest(
    directory: Path, abstract_state: PyTree, *, on_damage: OnDamage
) -> Checkpoint | None:
    """The last checkpoint that is whole, or None; `on_damage` gets each damaged one after it."""
    return _load_first(directory, reversed(saved_steps(directory)), abstract_state, on_damage)


def load_best(
    directory: Path, abstract_state: PyTree, *, on_damage: OnDamage, member: int = 0
) -> Checkpoint | None:
    """The checkpoint with the best held-out return of this member, or else the last one that is whole."""
    ranked = []
    for step in saved_steps(directory):
        path = directory.absolute() / str(step)
        try:
            values = _read(path, progress=ocp.args.JsonRestore())["progress"]
            held_out_return = values.get("members", [values])[member]["held_out_return"]
        except DamagedCheckpointError as error:
            on_damage(error)
            continue
        except (AttributeError, TypeError, KeyError, IndexError):
            on_damage(DamagedCheckpointError(path, "its progress has no held-out return"))
            continue
        if held_out_return is not None:
            ranked.append((held_out_return, step))
    steps = [step for _, step in sorted(ranked, reverse=True)]
    best = _load_first(directory, steps, abstract_state, on_damage)
    return best or load_latest(directory, abstract_state, on_damage=on_damage)


def quarantine(error: DamagedCheckpointError) -> Path:
    """Renames a damaged checkpoint, so that its step can be saved again; answers its new path."""
    path = error.path.with_name(f"{error.path.name}.damaged")
    number = 1
    while path.exists():
        number += 1
        path = error.path.with_name(f"{error.path.name}.damaged-{number}")
    error.path.rename(path)
    return path


def step_of(state: TrainState) -> int:
    """How many meta-steps were done; the members of a sweep go in step."""
    return int(np.ravel(state.step)[0])


def structure(state: PyTree) -> dict[str, str]:
    """Type and shape of every array by its path: `{".step": "int32[]"}`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")
        for path, leaf in leaves
    }


class Difference(NamedTuple):
    """An array that two structures do not have in common, and what it is in each; `missing` where it is not there."""

    name: str
    found: str
    wanted: str


def first_difference(found: dict[str, str], wanted: dict[str, str]) -> Difference | None:
    """The first array by name that differs between two structures, or None where they are the same."""
    for name in sorted(found.keys() | wanted.keys()):
        pair = (found.get(name, "missing"), wanted.get(name, "missing"))
        if pair[0] != pair[1]:
            return Difference(name, *pair)
    return None


def checksum(state: PyTree, progress: dict[str, Any]) -> str:
    """SHA-256 of the bytes of every array and of what is saved beside them."""
    digest = hashlib.sha256(json.dumps(progress, sort_keys=True).encode())
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _to_values(progress: Sequence[Progress]) -> dict[str, Any]:
    values = [dataclasses.asdict(member) for member in progress]
    return values[0] if len(values) == 1 else {"members": values}


def _from_values(values: dict[str, Any]) -> list[Progress]:
    """The inverse of `_to_values`."""
    return [Progress(**member) for member in values.get("members", [values])]


def _items(state: PyTree, values: dict[str, Any]) -> ocp.args.Composite:
    """What Orbax is given of a state and of what is saved beside it."""
    return ocp.args.Composite(
        state=ocp.args.StandardSave(_without_empty(state)), progress=ocp.args.JsonSave(values)
    )


def _saved_values(path: Path) -> dict[str, Any]:
    """What lies beside a saved state; empty where it cannot be read."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _without_empty(state: PyTree) -> PyTree:
    """None in the place of arrays without entries, which Orbax does not write."""
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, state)


def _with_empty(abstract_state: PyTree, arrays: PyTree) -> PyTree:
    """The inverse of `_without_empty`."""

    def leaf(abstract, array):
        if abstract.size:
            return array
        return jnp.zeros(abstract.shape, abstract.dtype, device=abstract.sharding)

    return jax.tree.map(leaf, abstract_state, arrays)


def _load_first(directory, steps, abstract_state, on_damage: OnDamage) -> Checkpoint | None:
    for step in steps:
        try:
            return load(directory, step, abstract_state)
        except DamagedCheckpointError as error:
            on_damage(error)
    return None


def _read(path: Path, **items: ocp.args.CheckpointArgs) -> Any:
    unmute = orbax_logs.mute()
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            found = checkpointer.restore(path, args=ocp.args.Composite(**items))
    except (PermissionError, MemoryError, jax.errors.JaxRuntimeError):
        raise  # Not the checkpoint's fault.
    except Exception as error:  # Whatever a decoder makes of damaged bytes, of any type.
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    else:
        unmute()
        return found
    orbax_logs.collect_abandoned()
    raise DamagedCheckpointError(path, reason)


def _check_structure(path: Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    differs = first_difference(saved, wanted)
    if differs is not None:
        raise UserError(
            f"the checkpoint {path} is of another configuration: state{differs.name} is "
            f"{differs.found} in it, and {differs.wanted} by "
            "config.json: restore the config.json that it was trained with"
        )
