"""States of a member, as the sweep that it belongs to has saved them: while it trains, and where it was stopped."""

import jax

from metarl_jax.core.types import PyTree
from metarl_jax.core.writing import sweep_around
from metarl_jax.runs import checkpoint as checkpointing
from metarl_jax.runs.checkpoint import Checkpoint, OnDamage
from metarl_jax.runs.folder import RunFolder
from metarl_jax.sweeps import folder as sweep_folder


def load_member(
    folder: RunFolder, abstract_state: PyTree, which: str | int, *, on_damage: OnDamage
) -> Checkpoint | None:
    """A checkpoint of the sweep around a run, cut to this run.

    Args:
      folder: of the run.
      abstract_state: shapes, types and shardings of the run alone.
      which: the checkpoint that is "best" by the held-out return of this run, a meta-step, or else the latest.
      on_damage: gets each checkpoint that is damaged.

    Returns:
      The checkpoint, or None if the run is not a member of a sweep, or if nothing is saved.
    """
    path = sweep_around(folder.path)
    if path is None:
        return None
    _, sweep = sweep_folder.open_existing(path)
    names = [member.name for member in sweep.members()]
    if folder.path.absolute().name not in names:
        return None
    index = names.index(folder.path.absolute().name)
    together = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(names), *x.shape), x.dtype, sharding=x.sharding),
        abstract_state,
    )
    saved = RunFolder(path).checkpoints
    if isinstance(which, int):
        is_saved = which in checkpointing.saved_steps(saved)
        found = checkpointing.load(saved, which, together) if is_saved else None
    elif which == "best":
        found = checkpointing.load_best(saved, together, on_damage=on_damage, member=index)
    else:
        found = checkpointing.load_latest(saved, together, on_damage=on_damage)
    if found is None:
        return None
    state = jax.tree.map(
        lambda x, mine: jax.device_put(x[index], mine.sharding), found.state, abstract_state
    )
    return Checkpoint(found.step, state, [found.progress[index]])
