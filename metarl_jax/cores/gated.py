"""Gated recurrent cores, read step after step: GRU and LSTM."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.networks import orthogonal
from metarl_jax.trees import where_leading
from metarl_jax.types import Array


class GRU(nn.Module):
    """A gated recurrent unit; the carry is the features `[E, H]`.

    r = σ(xW_r + hU_r), z = σ(xW_z + hU_z), n = tanh(xW_n + r ∘ (hU_n + b)), h' = (1 − z) ∘ n + z ∘ h.

    References:
      Cho et al., «Learning Phrase Representations using RNN Encoder–Decoder», EMNLP 2014.
    """

    is_parallel: ClassVar[bool] = False

    size: int

    def setup(self):
        self.input_projection = nn.Dense(3 * self.size, kernel_init=orthogonal(1.0))
        self.gates = nn.Dense(2 * self.size, use_bias=False, kernel_init=orthogonal(1.0))
        self.candidate = nn.Dense(self.size, kernel_init=orthogonal(1.0))

    def init_carry(self, num_episodes: int) -> Array:
        return jnp.zeros((num_episodes, self.size), jnp.float32)

    def project(self, inputs: Array) -> Array:
        return self.input_projection(inputs)

    def __call__(self, carry: Array, projected: Array, valid: Array) -> tuple[Array, Array]:
        size = self.size
        gates = jax.nn.sigmoid(projected[..., : 2 * size] + self.gates(carry))
        reset, update = gates[..., :size], gates[..., size:]
        candidate = jnp.tanh(projected[..., 2 * size :] + reset * self.candidate(carry))
        carry = where_leading(valid, (1.0 - update) * candidate + update * carry, carry)
        return carry, carry


class LSTM(nn.Module):
    """A long short-term memory; the carry is h and c, both `[E, H]`, and h the features.

    i, f, o = σ(xW + hU), g = tanh(xW_g + hU_g), c' = f ∘ c + i ∘ g, h' = o ∘ tanh c', with a bias of 1 for f.

    References:
      Hochreiter & Schmidhuber, «Long Short-Term Memory», Neural Computation 1997; Gers et al. 2000 for f.
    """

    is_parallel: ClassVar[bool] = False

    size: int

    def setup(self):
        self.input_projection = nn.Dense(4 * self.size, kernel_init=orthogonal(1.0))
        self.recurrence = nn.Dense(4 * self.size, use_bias=False, kernel_init=orthogonal(1.0))

    def init_carry(self, num_episodes: int) -> tuple[Array, Array]:
        zeros = jnp.zeros((num_episodes, self.size), jnp.float32)
        return zeros, zeros

    def project(self, inputs: Array) -> Array:
        return self.input_projection(inputs)

    def __call__(self, carry, projected: Array, valid: Array):
        hidden, cell = carry
        total = projected + self.recurrence(hidden)
        write, forget, out, candidate = jnp.split(total, 4, axis=-1)
        next_cell = jax.nn.sigmoid(forget + 1.0) * cell
        next_cell += jax.nn.sigmoid(write) * jnp.tanh(candidate)
        next_hidden = jax.nn.sigmoid(out) * jnp.tanh(next_cell)
        carry = where_leading(valid, (next_hidden, next_cell), carry)
        return carry, carry[0]
