"""Gated recurrent cores, read step after step: GRU and LSTM.

The cells of flax are not used: they project the input within the scan over steps. Here `project` does so for all steps
in one matrix product before it, gates have biases for memories of a given length, and invalid steps leave the carry.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.trees import where_leading
from metarl_jax.core.types import Array
from metarl_jax.networks.layers import orthogonal


def spread_memory(size: int, longest: float) -> Array:
    """Returns logits `[H]` of gates that keep 1 − 1/τ_i of entry i per step, and so forget it within about τ_i steps.

    σ(log(τ − 1)) = 1 − 1/τ, with τ spaced geometrically from 2 to `longest`.

    References:
      Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
    """
    return jnp.log(jnp.geomspace(2.0, longest, size) - 1.0)


def bias_of_gates(gates: dict[int, float], num_gates: int, longest: float | None):
    """Returns an initialiser of the biases of gates side by side: `sign · spread_memory`, or zeros for other gates.

    Args:
      gates: signs by the index of the gate.
      num_gates: how many gates there are.
      longest: steps; None for zeros in all gates.
    """

    def init(key, shape, dtype=jnp.float32):
        del key
        size = math.prod(shape) // num_gates
        memory = jnp.zeros(size) if longest is None else spread_memory(size, longest)
        parts = [gates.get(index, 0.0) * memory for index in range(num_gates)]
        return jnp.concatenate(parts).astype(dtype).reshape(shape)

    return init


class GRU(nn.Module):
    """A gated recurrent unit; the carry is the features `[E, H]`.

    r = σ(xW_r + hU_r), z = σ(xW_z + hU_z), n = tanh(xW_n + r ∘ (hU_n + b)), h' = (1 − z) ∘ n + z ∘ h. With
    `init_timescale`, the biases of z are `spread_memory`, and zeros otherwise.

    References:
      Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder", EMNLP 2014.
    """

    is_parallel: ClassVar[bool] = False

    size: int
    init_timescale: float | None = None

    def setup(self):
        self.input_projection = nn.Dense(
            3 * self.size,
            kernel_init=orthogonal(1.0),
            bias_init=bias_of_gates({1: 1.0}, 3, self.init_timescale),
        )
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

    def describe(self, carry: Array) -> dict[str, Array]:
        return {"recurrent state": carry}

    def state_of(self, carry: Array) -> Array:
        """Returns the part of a carry that remembers, h `[E, H]`."""
        return carry

    def with_state(self, carry: Array, state: Array) -> Array:
        """Returns the carry with that part replaced."""
        del carry
        return state


class LSTM(nn.Module):
    """A long short-term memory; the carry is h and c, both `[E, H]`, and h the features.

    i, f, o = σ(xW + hU), g = tanh(xW_g + hU_g), c' = f ∘ c + i ∘ g, h' = o ∘ tanh c'. With `init_timescale`, the biases
    of f are `spread_memory` and those of i its negative; otherwise f has a bias of 1.

    References:
      Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; Gers et al. 2000 for f.
    """

    is_parallel: ClassVar[bool] = False

    size: int
    init_timescale: float | None = None

    def setup(self):
        self.input_projection = nn.Dense(
            4 * self.size,
            kernel_init=orthogonal(1.0),
            bias_init=bias_of_gates({0: -1.0, 1: 1.0}, 4, self.init_timescale),
        )
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
        always = 1.0 if self.init_timescale is None else 0.0
        next_cell = jax.nn.sigmoid(forget + always) * cell
        next_cell += jax.nn.sigmoid(write) * jnp.tanh(candidate)
        next_hidden = jax.nn.sigmoid(out) * jnp.tanh(next_cell)
        carry = where_leading(valid, (next_hidden, next_cell), carry)
        return carry, carry[0]

    def describe(self, carry: tuple[Array, Array]) -> dict[str, Array]:
        return {"recurrent state": jnp.tanh(carry[1])}

    def state_of(self, carry: tuple[Array, Array]) -> Array:
        """Returns the part of a carry that remembers, c `[E, H]`."""
        return carry[1]

    def with_state(self, carry: tuple[Array, Array], state: Array) -> tuple[Array, Array]:
        """Returns the carry with that part replaced."""
        return carry[0], state
