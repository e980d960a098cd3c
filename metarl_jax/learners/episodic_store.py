"""A key–value store that persists across trials, for what a learner has found out about earlier tasks.

All sizes are fixed. Reading never changes the store; writing returns a new one.
"""

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.types import Array


class Store(struct.PyTreeNode):
    """C slots of a key and a value.

    Attributes:
      keys: `[C, D]`.
      values: `[C, V]`.
      used_at: `[C]` int32, index of the last write to a slot or near its key; −1 if none.
      written_at: `[C]` int32, index of the last write to a slot; −1 if none.
      num_writes: `[]` int32, number of writes so far; renumbered after 2³⁰.
    """

    keys: Array
    values: Array
    used_at: Array
    written_at: Array
    num_writes: Array


def empty(capacity: int, key_size: int, value_size: int) -> Store:
    """Returns an empty store."""
    return Store(
        keys=jnp.zeros((capacity, key_size), jnp.float32),
        values=jnp.zeros((capacity, value_size), jnp.float32),
        used_at=jnp.full(capacity, -1, jnp.int32),
        written_at=jnp.full(capacity, -1, jnp.int32),
        num_writes=jnp.zeros((), jnp.int32),
    )


def recall(
    store: Store, query: Array, num_neighbors: int, bandwidth: float | Array
) -> tuple[Array, Array, Array]:
    """Returns the values of the nearest keys, weighted by their similarity to the query.

    With κ_i = exp(−‖q − k_i‖² / 2h²) over the slots that were written, the value is Σ κ_i v_i / max(Σ κ_i, 1) over the
    n largest κ: a mean of near values, and almost zero if no key is near.

    Args:
      query: `[..., D]`.
      num_neighbors: n.
      bandwidth: h, in the units of the keys.

    Returns:
      The value `[..., V]`; the slot of the nearest key, int32 `[...]`; and its κ `[...]`, the familiarity of the query.

    References:
      Pritzel et al., "Neural Episodic Control", ICML 2017.
    """
    distance = _squared_distance(query, store.keys)
    similarity = jnp.where(store.used_at >= 0, jnp.exp(-0.5 * distance / bandwidth**2), 0.0)
    weights, nearest = _largest(similarity, min(num_neighbors, len(store.keys)))
    weights_of_values = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1.0)
    value = jnp.einsum("...n,...nv->...v", weights_of_values, store.values[nearest])
    return value, nearest[..., 0].astype(jnp.int32), weights[..., 0]


def age(store: Store, slot: Array) -> Array:
    """Returns how many writes happened after the last one to a slot, int32 of the shape of `slot`; −1 for an empty
    slot."""
    written_at = store.written_at[slot]
    return jnp.where(written_at >= 0, store.num_writes - 1 - written_at, -1)


def write(
    store: Store,
    keys: Array,
    values: Array,
    merge_distance: float | Array,
    use_distance: float | Array = 0.0,
) -> Store:
    """Returns the store after W writes, one after another.

    A key within `merge_distance` of one that is stored takes its slot: the newer value of the same task replaces the
    older. Any other key goes to an empty slot or, if there is none, to the least recently used one. A slot is used by a
    write to it, or by a write of a key within `use_distance` of its own, whose trial has read it.

    Args:
      keys: `[W, D]`.
      values: `[W, V]`.
      merge_distance, use_distance: in the units of the keys.
    """

    def write_one(store: Store, entry):
        key, value = entry
        distance = jnp.where(store.used_at >= 0, _squared_distance(key, store.keys), jnp.inf)
        nearest = jnp.argmin(distance)
        is_known = distance[nearest] <= merge_distance**2
        slot = jnp.where(is_known, nearest, jnp.argmin(store.used_at))
        used_at = jnp.where(distance <= use_distance**2, store.num_writes, store.used_at)
        store = Store(
            keys=store.keys.at[slot].set(key),
            values=store.values.at[slot].set(value),
            used_at=used_at.at[slot].set(store.num_writes),
            written_at=store.written_at.at[slot].set(store.num_writes),
            num_writes=store.num_writes + 1,
        )
        return store, None

    return jax.lax.scan(write_one, _renumbered(store), (keys, values))[0]


def _largest(x: Array, count: int) -> tuple[Array, Array]:
    """Returns the largest entries of `[..., C]` and their indices, both `[..., count]`."""
    if count > 1:
        return jax.lax.top_k(x, count)
    # A CPU would sort for a top-k, even for one.
    index = jnp.argmax(x, axis=-1, keepdims=True)
    return jnp.take_along_axis(x, index, axis=-1), index


def _squared_distance(query: Array, keys: Array) -> Array:
    """‖q − k‖² of queries `[..., D]` to keys `[C, D]`, `[..., C]`.

    As a sum over differences. With ‖q‖² − 2 q·k + ‖k‖² equal keys far from 0 would be apart by rounding.
    """
    return jnp.sum((query[..., None, :] - keys) ** 2, axis=-1)


def _renumbered(store: Store) -> Store:
    """Renumbers the writes of a store in the same order, before their number overflows an int32.

    Slots that were not used in the last 2²⁹ writes become equally old.
    """
    surplus = jnp.where(store.num_writes >= 2**30, store.num_writes - 2**29, 0)

    def earlier(number: Array) -> Array:
        return jnp.where(number >= 0, jnp.maximum(number - surplus, 0), -1)

    return store.replace(
        used_at=earlier(store.used_at),
        written_at=earlier(store.written_at),
        num_writes=store.num_writes - surplus,
    )
