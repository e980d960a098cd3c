"""Saves checkpoints in the background, and keeps the latest few and the best."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from metarl_jax.core.paths import check_plain
from metarl_jax.core.types import PyTree, TrainState
from metarl_jax.core.writing import WriteError, write_text
from metarl_jax.runs import orbax_logs, processes
from metarl_jax.runs.checkpoint import (
    DamagedCheckpointError,
    load,
    saved_steps,
    step_of,
    to_values,
    without_empty,
)
from metarl_jax.runs.checkpoint_structure import checksum, structure
from metarl_jax.runs.progress import Progress


@jax.jit
def copy(state: PyTree) -> PyTree:
    """Copies the arrays, so that `state` may be donated."""
    return jax.tree.map(jnp.copy, state)


class CheckpointWriter:
    """Saves states in the background, and keeps the latest few and the best by held-out return.

    The first checkpoint of a folder is read back, so that an unsuitable file system is detected at once. As a context
    manager, it waits for the last save. Failures of Orbax become `WriteError`; its own log output about them is
    suppressed.
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
        self._proven = bool(saved_steps(directory))  # What a run goes on from was read.
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
        """Begins to save `state` under its step. If the same arrays are saved already, only the progress is updated;
        different ones are replaced.

        The caller may donate `state` afterwards, unless `is_last`: what is written is a copy.

        Args:
          state: of a run, or of all members of a sweep, `[M, ...]`.
          progress: of the run alone, or of each member.
          is_last: whether `state` is not used in later computations. It is then read without a copy on the devices,
            which may be busy.

        Raises:
          WriteError: if this or an earlier save has failed.
        """
        step = step_of(state)
        if not is_last:
            state = copy(state)
        values = to_values(progress) | {"structure": structure(state)}
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
        """Replaces the values saved with the state of a step atomically; if the state differs, replaces the whole
        checkpoint."""
        self.wait()
        path = self._directory / str(step) / "progress" / "metadata"
        saved = _saved_values(path)
        if saved == values:
            return
        if checksum(state, {n: x for n, x in saved.items() if n != "sha256"}) == saved.get(
            "sha256"
        ):
            processes.first_does(lambda: write_text(path, json.dumps(values)))
        else:
            self._replace(step, _items(state, values))

    def _replace(self, step: int, items: ocp.args.Composite) -> None:
        """Saves another state of a step; deletes the old one once the new one is complete."""
        path = self._directory.absolute() / str(step)
        new, old = path.with_name(f"{step}.new"), path.with_name(f"{step}.old")
        with self._failing():
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                checkpointer.save(new, args=items, force=True)

            def swap() -> None:
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
                new.rename(path)
                shutil.rmtree(old)

            processes.first_does(swap)

    def wait(self) -> None:
        """Waits until everything is on disk.

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
        """Converts exceptions of Orbax in its block, including those of its threads, to `WriteError`."""
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if processes.are_several():  # Orbax lets processes wait for each other.
                raise processes.LostProcessError(error) from error
            raise WriteError(self._directory, error) from error
        except Exception as error:  # Of any type: TensorStore's are ValueErrors.
            raise WriteError(self._directory, error) from error

    def latest_step(self) -> int | None:
        """Returns the last step saved or being saved."""
        return self._manager.latest_step()

    def __enter__(self) -> "CheckpointWriter":
        self._unmute = orbax_logs.mute()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        if kind is not None and issubclass(kind, processes.LostProcessError):
            return  # Orbax would wait for the process.
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
    """Orbax's preservation policy. The caller sets the best step; it is not read from the files."""

    keep: int
    best_steps: Set[int | None] = frozenset()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        latest = {checkpoint.step for checkpoint in checkpoints[-self.keep :]}
        return [c.step in latest or c.step in self.best_steps for c in checkpoints]


def _items(state: PyTree, values: dict[str, Any]) -> ocp.args.Composite:
    """Returns the arguments of Orbax for a state and the values saved with it."""
    return ocp.args.Composite(
        state=ocp.args.StandardSave(without_empty(state)), progress=ocp.args.JsonSave(values)
    )


def _saved_values(path: Path) -> dict[str, Any]:
    """Returns the data saved with a state; empty if it cannot be read."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
