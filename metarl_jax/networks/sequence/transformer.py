"""A causal transformer over the steps of a trial, with a cache for acting."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl_jax.core.types import Array
from metarl_jax.networks.layers import Dense, orthogonal


class Cache(struct.PyTreeNode):
    """Keys and values of the last C valid steps, in a ring.

    Attributes:
      keys, values: of each layer, `[E, R, C, D]` for R heads of D = H/R entries; the step with position p lies in slot
        p mod C. The axes are in the order in which attention multiplies them: a CPU would otherwise turn the whole ring
        around at every step.
      count: `[E]` int32, the valid steps up to now, which is the position of the next. A numpy array, as that of a
        trial that begins, is known while tracing.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    count: Array

    def is_surely_empty(self) -> bool:
        """Whether the cache is known to be empty while tracing."""
        return isinstance(self.count, np.ndarray) and not self.count.any()


class TransformerLayer(nn.Module):
    """Attention and an MLP, each behind a layer norm and beside a residual."""

    size: int
    num_heads: int

    def setup(self):
        self.norm = nn.LayerNorm()
        self.query_key_value = nn.Dense(3 * self.size, kernel_init=orthogonal(1.0))
        self.out = nn.Dense(self.size, kernel_init=orthogonal(0.5))
        self.mlp_norm = nn.LayerNorm()
        self.widen = nn.Dense(2 * self.size, kernel_init=orthogonal())
        self.narrow = nn.Dense(self.size, kernel_init=orthogonal(0.5))

    def look(self, features: Array, position: Array) -> tuple[Array, Array, Array]:
        """Returns query, key and value `[E, R, Q, D]` of steps `[E, Q, H]` at positions `[E, Q]`."""
        heads = (*position.shape, self.num_heads, -1)
        projected = jnp.split(self.query_key_value(self.norm(features)), 3, axis=-1)
        query, key, value = (x.reshape(heads).swapaxes(1, 2) for x in projected)
        return rotate(query, position), rotate(key, position), value

    def answer(self, features: Array, query: Array, *seen: tuple[Array, Array, Array]) -> Array:
        """Features `[E, Q, H]` after attention.

        Args:
          features: `[E, Q, H]`.
          query: `[E, R, Q, D]`.
          seen: blocks to attend to, which are never concatenated: keys and values `[E, R, C, D]`, and which of them
            each step attends to, `[E, Q, C]`.
        """
        scale = query.shape[-1] ** -0.5
        scores = [
            jnp.where(mask[:, None], scale * jnp.einsum("erqd,ercd->erqc", query, keys), -1e9)
            for keys, _, mask in seen
        ]
        ends = np.cumsum([x.shape[-1] for x in scores])[:-1].tolist()
        weights = jnp.split(nn.softmax(jnp.concatenate(scores, axis=-1)), ends, axis=-1)
        read = sum(
            jnp.einsum("erqc,ercd->erqd", weight, values)
            for weight, (_, values, _) in zip(weights, seen, strict=True)
        )
        features = features + self.out(jnp.asarray(read).swapaxes(1, 2).reshape(features.shape))
        return features + self.narrow(nn.gelu(self.widen(self.mlp_norm(features))))


def rotate(x: Array, position: Array) -> Array:
    """Turns pairs of the entries of `[E, R, Q, D]` by angles that grow with the position `[E, Q]` (RoPE)."""
    first, second = jnp.split(x, 2, axis=-1)
    rate = 1000.0 ** (-jnp.arange(first.shape[-1]) / first.shape[-1])
    angle = position[:, None, :, None] * rate
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class Transformer(nn.Module):
    """A transformer that attends to the last `context_length` valid steps, this one included.

    A step that is not valid is read by no other, and positions count valid steps only. Keys are rotated by their
    position, so that scores depend on distances alone and the ring never has to be written again.

    References:
      Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Su et al., "RoFormer", 2021, for the rotation.
      Melo, "Transformers are Meta-Reinforcement Learners", ICML 2022.
    """

    is_parallel: ClassVar[bool] = True

    size: int
    num_layers: int = 1
    num_heads: int = 4
    context_length: int = 128

    def setup(self):
        self.input_projection = Dense(self.size, 1.0)
        self.layers = [TransformerLayer(self.size, self.num_heads) for _ in range(self.num_layers)]
        self.norm = nn.LayerNorm()

    def init_carry(self, num_episodes: int) -> Cache:
        size = self.size // self.num_heads
        shape = (num_episodes, self.num_heads, self.context_length, size)
        rings = (jnp.zeros(shape, jnp.float32),) * self.num_layers
        count: Any = np.zeros(num_episodes, np.int32)
        return Cache(rings, rings, count)

    def project(self, inputs: Array) -> Array:
        return self.input_projection(inputs)

    def __call__(self, carry: Cache, projected: Array, valid: Array) -> tuple[Cache, Array]:
        carry, features = self.sequence(carry, projected[None], valid[None])
        return carry, features[0]

    def describe(self, carry: Cache) -> dict[str, Array]:
        """Returns nothing: the carry is the keys and values of all steps in the context."""
        del carry
        return {}

    def sequence(self, carry: Cache, projected: Array, valid: Array) -> tuple[Cache, Array]:
        valid = valid.T  # [E, S]: attention wants the episodes first
        position = carry.count[:, None] + jnp.cumsum(valid, axis=1) - 1
        ring_position = self._ring_position((carry.count - 1)[:, None])
        is_new = self._is_seen(position, position, valid)
        is_past = self._is_seen(position, ring_position, ring_position >= 0)
        end = carry.count + valid.sum(1)
        # Of the new steps the last C stay; a slot beyond the ring is written by none.
        stays = valid & (position >= (end - self.context_length)[:, None])
        slots = jnp.where(stays, position % self.context_length, self.context_length)
        rows = jnp.arange(len(slots))[:, None]

        features, rings = projected.swapaxes(0, 1), []
        for layer, *ring in zip(self.layers, carry.keys, carry.values, strict=True):
            query, key, value = layer.look(features, position)
            # A whole trial is read from an empty ring, which would double the keys that are looked at.
            past = [] if carry.is_surely_empty() else [(ring[0], ring[1], is_past)]
            features = layer.answer(features, query, *past, (key, value, is_new))
            rings.append(
                x.at[rows, :, slots].set(new.swapaxes(1, 2), mode="drop")
                for x, new in zip(ring, (key, value), strict=True)
            )
        keys, values = zip(*rings, strict=True)
        return Cache(keys, values, end), self.norm(features).swapaxes(0, 1)

    def _is_seen(self, position: Array, key_position: Array, exists: Array) -> Array:
        """Returns which steps at positions `[E, S]` attend to which keys at positions `[E, C]`, if these exist: `[E, S,
        C]`."""
        distance = position[:, :, None] - key_position[:, None]
        return exists[:, None] & (distance >= 0) & (distance < self.context_length)

    def _ring_position(self, last: Array) -> Array:
        """Returns the position in each slot when the last step had position `last` `[E, 1]`, negative if none: `[E,
        C]`."""
        return last - (last - jnp.arange(self.context_length)) % self.context_length
