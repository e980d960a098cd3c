"""Members of a sweep: until the sweep ends, its checkpoints hold their states."""

import dataclasses
from typing import Any

import jax

from metarl_jax.core.errors import UserError
from metarl_jax.core.types import PyTree
from metarl_jax.core.writing import sweep_around
from metarl_jax.runs import checkpoint as checkpointing
from metarl_jax.runs.checkpoint import Checkpoint, OnDamage, saved_steps
from metarl_jax.runs.folder import RunFolder, write_first
from metarl_jax.runs.json_files import read_json


@dataclasses.dataclass(frozen=True)
class Place:
    """The index of a run in the arrays `[M, ...]` of its sweep."""

    index: int
    num_members: int


def write_place(folder: RunFolder, place: Place) -> None:
    """Writes `member.json`, the first file in the folder of a member."""
    write_first(folder.member, dataclasses.asdict(place))


def check_ended(folder: RunFolder) -> None:
    """Raises `UserError` if the run is a member of a sweep that has not ended, and so has no checkpoint of its own."""
    sweep = sweep_around(folder.path)
    if sweep is not None and not saved_steps(folder.checkpoints):
        raise UserError(
            f"run_dir={str(folder.path)!r} is a member of a sweep that has not ended: continue "
            f"all of its members with `metarl resume {sweep}`"
        )


def load_member(
    folder: RunFolder, abstract_state: PyTree, which: str | int, *, on_damage: OnDamage
) -> Checkpoint | None:
    """Returns this run's part of a checkpoint of its sweep.

    Args:
      folder: of the run.
      abstract_state: shapes, types and shardings of the run alone.
      which: the checkpoint that is "best" by the held-out return of this run, a meta-step, or else the latest.
      on_damage: called for each damaged checkpoint.

    Returns:
      The checkpoint, or None if the run is not a member of a sweep, or if nothing is saved.
    """
    path = sweep_around(folder.path)
    if path is None or not folder.member.is_file():
        return None
    place = read_json(folder.member, _place)
    together = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((place.num_members, *x.shape), x.dtype, sharding=x.sharding),
        abstract_state,
    )
    saved = RunFolder(path).checkpoints
    if isinstance(which, int):
        is_saved = which in saved_steps(saved)
        found = checkpointing.load(saved, which, together) if is_saved else None
    elif which == "best":
        found = checkpointing.load_best(saved, together, on_damage=on_damage, member=place.index)
    else:
        found = checkpointing.load_latest(saved, together, on_damage=on_damage)
    if found is None:
        return None
    state = jax.tree.map(
        lambda x, mine: jax.device_put(x[place.index], mine.sharding), found.state, abstract_state
    )
    return Checkpoint(found.step, state, [found.progress[place.index]])


def _place(values: dict[str, Any]) -> Place:
    return Place(**values)
