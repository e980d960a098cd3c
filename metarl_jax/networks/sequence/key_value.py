"""A differentiable key–value memory, written and read at every step of a trial."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.trees import where_leading
from metarl_jax.core.types import Array
from metarl_jax.networks.layers import orthogonal
from metarl_jax.networks.sequence.gated import GRU


class Slots(struct.PyTreeNode):
    """A memory of M slots beside its controller.

    Attributes:
      keys, values: `[E, M, D]`, the keys of length 1.
      usage: `[E, M]`, how much a slot was read and written lately; 0 where nothing was ever written.
      hidden: the carry of the controller, `[E, H]`.
      recalled: what was read last, `[E, R·D]`.
    """

    keys: Array
    values: Array
    usage: Array
    hidden: Array
    recalled: Array


class KeyValueCore(nn.Module):
    """A GRU that writes a key and a value at every step, and reads by content with R heads.

    A head reads Σ_i w_i v_i with w = softmax(β cos(q, k_i)) over the slots that were written; β is learned for each
    head. Usage decays by `usage_decay`, grows by the weights with which a slot is read and is 1 after a write; a step
    writes to the slot of the least usage. The gradient runs through keys, values and weights, not through the choice of
    a slot. The features are the GRU's state and the values that were read, `[E, H + R·D]`.

    References:
      Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", ICML 2016.
      Graves et al., "Hybrid Computing Using a Neural Network with Dynamic External Memory", Nature 2016.
    """

    is_parallel: ClassVar[bool] = False

    size: int
    num_slots: int
    slot_size: int
    num_heads: int
    usage_decay: float
    init_timescale: float | None = None

    def setup(self):
        self.controller = GRU(self.size, self.init_timescale)
        self.recall_projection = nn.Dense(
            3 * self.size, use_bias=False, kernel_init=orthogonal(1.0)
        )
        self.queries = nn.Dense(self.num_heads * self.slot_size, kernel_init=orthogonal(1.0))
        self.sharpness = self.param("sharpness", nn.initializers.constant(1.0), (self.num_heads,))
        self.key_value = nn.Dense(2 * self.slot_size, kernel_init=orthogonal(1.0))

    def init_carry(self, num_episodes: int) -> Slots:
        slots = jnp.zeros((num_episodes, self.num_slots, self.slot_size), jnp.float32)
        return Slots(
            keys=slots,
            values=slots,
            usage=slots[..., 0],
            hidden=jnp.zeros((num_episodes, self.size), jnp.float32),
            recalled=jnp.zeros((num_episodes, self.num_heads * self.slot_size), jnp.float32),
        )

    def project(self, inputs: Array) -> Array:
        return self.controller.project(inputs)

    def __call__(self, carry: Slots, projected: Array, valid: Array) -> tuple[Slots, Array]:
        projected = projected + self.recall_projection(carry.recalled)
        hidden, _ = self.controller(carry.hidden, projected, valid)
        weights = self._weights(hidden, carry)
        recalled = jnp.einsum("erm,emd->erd", weights, carry.values).reshape(carry.recalled.shape)

        slot = jnp.arange(len(valid)), jnp.argmin(carry.usage, axis=-1)
        key, value = jnp.split(self.key_value(hidden), 2, axis=-1)
        usage = self.usage_decay * carry.usage + jax.lax.stop_gradient(weights.sum(1))
        written: Any = carry.replace(
            keys=carry.keys.at[slot].set(_unit(key)),
            values=carry.values.at[slot].set(value),
            usage=usage.at[slot].set(1.0),
            hidden=hidden,
            recalled=recalled,
        )
        features = jnp.concatenate([hidden, recalled], axis=-1)
        return where_leading(valid, written, carry), features

    def describe(self, carry: Slots) -> dict[str, Array]:
        return {"usage of slots": carry.usage, "recurrent state": carry.hidden}

    def _weights(self, hidden: Array, carry: Slots) -> Array:
        """Returns the weight with which each head reads each slot, `[E, R, M]`; all zero while the memory is empty."""
        query = self.queries(hidden).reshape(*hidden.shape[:-1], self.num_heads, self.slot_size)
        similarity = jnp.einsum("erd,emd->erm", _unit(query), carry.keys)
        scores = nn.softplus(5.0 * self.sharpness)[:, None] * similarity
        written = carry.usage[:, None] > 0
        weights = nn.softmax(jnp.where(written, scores, -1e9))
        return jnp.where(written, weights, 0.0)


def _unit(x: Array) -> Array:
    """Normalises vectors `[..., D]` to length 1; zero vectors stay zero."""
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-6)
