"""A causal transformer over the steps of a trial, with a cache for acting."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl_jax.networks import Dense, orthogonal
from metarl_jax.types import Array


class Cache(struct.PyTreeNode):
    """Keys and values of the last C valid steps, in a ring.

    Attributes:
      keys, values: `[E, L, C, H]`; the step with position p lies in slot p mod C.
      count: `[E]` int32, the valid steps up to now, which is the position of the next. A numpy array, as that of a
        trial that begins, is known while tracing.
    """

    keys: Array
    values: Array
    count: Array

    def is_surely_empty(self) -> bool:
        """Whether nothing was read yet, as far as is known while tracing."""
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
        """Query, key and value `[..., H]` of steps at a position `[...]`."""
        query, key, value = jnp.split(self.query_key_value(self.norm(features)), 3, axis=-1)
        return self._rotate(query, position), self._rotate(key, position), value

    def answer(self, features: Array, query: Array, keys: Array, values: Array, mask: Array):
        """Features `[E, Q, H]` of steps that attend to keys `[E, C, H]` where `mask` `[E, Q, C]` lets them."""
        query, keys, values = (self._split(x) for x in (query, keys, values))
        scores = jnp.einsum("eqhd,echd->ehqc", query, keys) * query.shape[-1] ** -0.5
        scores = jnp.where(mask[:, None], scores, -1e9)
        read = jnp.einsum("ehqc,echd->eqhd", nn.softmax(scores), values)
        features = features + self.out(read.reshape(features.shape))
        return features + self.narrow(nn.gelu(self.widen(self.mlp_norm(features))))

    def _split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)

    def _rotate(self, x: Array, position: Array) -> Array:
        """Turns pairs of entries by angles that grow with the position (RoPE)."""
        first, second = jnp.split(self._split(x), 2, axis=-1)
        rate = 1000.0 ** (-jnp.arange(first.shape[-1]) / first.shape[-1])
        angle = position[..., None, None] * rate
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        turned = [first * cos - second * sin, second * cos + first * sin]
        return jnp.concatenate(turned, axis=-1).reshape(x.shape)


class Transformer(nn.Module):
    """A transformer that attends to the last `context_length` valid steps, this one included.

    A step that is not valid is read by no other, and positions count valid steps only. Keys are rotated by their
    position, so that scores depend on distances alone and the ring never has to be written again.

    References:
      Vaswani et al., «Attention Is All You Need», NeurIPS 2017; Su et al., «RoFormer», 2021, for the rotation.
      Melo, «Transformers are Meta-Reinforcement Learners», ICML 2022.
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
        shape = (num_episodes, self.num_layers, self.context_length, self.size)
        count: Any = np.zeros(num_episodes, np.int32)
        return Cache(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32), count)

    def project(self, inputs: Array) -> Array:
        return self.input_projection(inputs)

    def __call__(self, carry: Cache, projected: Array, valid: Array) -> tuple[Cache, Array]:
        # The slot of the new step held the one that its context no longer reaches: the ring is all it has to read.
        position = (carry.count + valid - 1)[:, None]
        mask = self._ring_position(position) >= 0
        slot = jnp.where(valid, carry.count % self.context_length, self.context_length)
        rows = jnp.arange(len(slot))

        features, keys, values = projected[:, None], carry.keys, carry.values
        for index, layer in enumerate(self.layers):
            query, key, value = layer.look(features, position)
            keys = keys.at[rows, index, slot].set(key[:, 0], mode="drop")
            values = values.at[rows, index, slot].set(value[:, 0], mode="drop")
            features = layer.answer(
                features, query, keys[:, index], values[:, index], mask[:, None]
            )
        return Cache(keys, values, carry.count + valid), self.norm(features[:, 0])

    def sequence(self, carry: Cache, projected: Array, valid: Array) -> tuple[Cache, Array]:
        valid = valid.T  # [E, S]: attention wants the episodes first
        num_new = valid.sum(1)
        position = carry.count[:, None] + jnp.cumsum(valid, axis=1) - 1
        # A whole trial is read from an empty ring, which would double the keys that are looked at.
        has_past = not carry.is_surely_empty()
        mask = self._mask(carry.count, position, valid, has_past)
        end = carry.count + num_new
        # Of the new steps the last C stay; a slot beyond the ring is written by none.
        stays = valid & (position >= (end - self.context_length)[:, None])
        slots = jnp.where(stays, position % self.context_length, self.context_length)
        rows = jnp.arange(len(slots))[:, None]

        features, keys, values = projected.swapaxes(0, 1), carry.keys, carry.values
        for index, layer in enumerate(self.layers):
            query, key, value = layer.look(features, position)
            seen = key, value
            if has_past:
                past = carry.keys[:, index], carry.values[:, index]
                seen = (jnp.concatenate(pair, axis=1) for pair in zip(past, seen, strict=True))
            features = layer.answer(features, query, *seen, mask)
            keys = keys.at[rows, index, slots].set(key, mode="drop")
            values = values.at[rows, index, slots].set(value, mode="drop")
        return Cache(keys, values, end), self.norm(features).swapaxes(0, 1)

    def _mask(self, count: Array, position: Array, valid: Array, has_past: bool) -> Array:
        """Which step may look at which slot of the ring, if it has any, and at which new step: `[E, S, C + S]`."""
        key_position, exists = position, valid
        if has_past:
            ring_position = self._ring_position((count - 1)[:, None])
            key_position = jnp.concatenate([ring_position, position], axis=1)
            exists = jnp.concatenate([ring_position >= 0, valid], axis=1)
        distance = position[:, :, None] - key_position[:, None]
        return exists[:, None] & (distance >= 0) & (distance < self.context_length)

    def _ring_position(self, last: Array) -> Array:
        """The position in each slot when the last step had position `last` `[E, 1]`, negative if none: `[E, C]`."""
        return last - (last - jnp.arange(self.context_length)) % self.context_length
