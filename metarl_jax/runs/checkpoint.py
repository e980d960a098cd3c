"""Checkpoints: the complete state of a run on disk, with a checksum that is verified when it is read.

A checkpoint is `<directory>/<step>/` with two items: `state`, the `TrainState`, and `progress`, the counters of the
host. Orbax writes it to a temporary folder first, in the background, so that a process killed at any moment leaves a
whole checkpoint or none. Damage done later is found when reading: by an error, or by the checksum.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from metarl_jax.core.errors import UserError
from metarl_jax.core.types import PyTree, TrainState
from metarl_jax.runs import orbax_logs
from metarl_jax.runs.checkpoint_structure import checksum, first_difference, structure
from metarl_jax.runs.progress import Progress


class Checkpoint(NamedTuple):
    """A checkpoint that was read back, with the progress of each member of a sweep, or of the one run."""

    step: int
    state: TrainState
    progress: list[Progress]


class DamagedCheckpointError(Exception):
    """A checkpoint cannot be read, or differs from what was written."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"the checkpoint {path} is damaged ({reason})")
        self.path = path


OnDamage = Callable[[DamagedCheckpointError], None]


def saved_steps(directory: Path) -> list[int]:
    """Returns the steps with a finished checkpoint, ascending."""
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
    arrays = _read(path, state=ocp.args.StandardRestore(without_empty(abstract_state)))["state"]
    state = _with_empty(abstract_state, abstract_state.replace(**arrays))
    if checksum(state, values) != digest:
        raise DamagedCheckpointError(
            path, "its content does not have the checksum of what was saved"
        )
    del values["structure"]
    return Checkpoint(step, state, _from_values(values))


def load_latest(
    directory: Path, abstract_state: PyTree, *, on_damage: OnDamage
) -> Checkpoint | None:
    """Returns the last undamaged checkpoint, or None; calls `on_damage` for each damaged one after it."""
    return _load_first(directory, reversed(saved_steps(directory)), abstract_state, on_damage)


def load_best(
    directory: Path, abstract_state: PyTree, *, on_damage: OnDamage, member: int = 0
) -> Checkpoint | None:
    """Returns the checkpoint with the best held-out return of this member, or else the last undamaged one."""
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
    """Renames a damaged checkpoint, so that its step can be saved again; returns the new path."""
    path = error.path.with_name(f"{error.path.name}.damaged")
    number = 1
    while path.exists():
        number += 1
        path = error.path.with_name(f"{error.path.name}.damaged-{number}")
    error.path.rename(path)
    return path


def step_of(state: TrainState) -> int:
    """Returns the number of meta-steps done, which is the same for all members of a sweep."""
    return int(np.ravel(state.step)[0])


def to_values(progress: Sequence[Progress]) -> dict[str, Any]:
    """Returns the part of the progress of a run, or of each member of a sweep, that is saved."""
    values = [dataclasses.asdict(member) for member in progress]
    return values[0] if len(values) == 1 else {"members": values}


def _from_values(values: dict[str, Any]) -> list[Progress]:
    """Restores progress; the inverse of `to_values`."""
    return [Progress(**member) for member in values.get("members", [values])]


def without_empty(state: TrainState) -> dict[str, PyTree]:
    """Returns the parts of a state that Orbax writes, by name. Parts that are None are left out, so that a checkpoint
    from before there was such a part can be read; arrays without entries, which Orbax does not write, become None.
    """
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    written = {name: part for name, part in parts.items() if part is not None}
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, written)


def _with_empty(abstract_state: PyTree, arrays: PyTree) -> PyTree:
    """Restores arrays without entries; the inverse of `without_empty`."""

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
