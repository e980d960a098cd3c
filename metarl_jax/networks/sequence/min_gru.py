"""Minimal gated recurrent units; their gates do not depend on the state, so that a trial is read in parallel."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array
from metarl_jax.networks.layers import orthogonal
from metarl_jax.networks.sequence.gated import bias_of_gates

LONGEST_MEMORY = 256.0
"""Default initial time scale of the slowest entries, in steps."""


class MinGRULayer(nn.Module):
    """h' = (1 − z) ∘ h + z ∘ n with z = σ(xW_z + b_z), n = xW_n + b_n; the features are tanh((o ∘ h')W + b).

    o = σ(xW_o + b_o) selects what the current step recalls; without it, a step could write to the state, but not query
    it. The biases of z are `spread_memory`, so that entries differ in how long they remember.
    """

    size: int
    init_timescale: float

    def setup(self):
        self.update = nn.Dense(
            self.size,
            kernel_init=orthogonal(1.0),
            bias_init=bias_of_gates({0: -1.0}, 1, self.init_timescale),
        )
        self.candidate = nn.Dense(self.size, kernel_init=orthogonal(1.0))
        self.gate = nn.Dense(self.size, kernel_init=orthogonal(1.0))
        self.out = nn.Dense(self.size, kernel_init=orthogonal(2.0))

    def look(self, inputs: Array) -> tuple[Array, Array, Array]:
        """Returns logits of z, n, and logits of o: all that a step needs from its inputs."""
        return self.update(inputs), self.candidate(inputs), self.gate(inputs)

    def answer(self, hidden: Array, gate_logits: Array) -> Array:
        return jnp.tanh(self.out(jax.nn.sigmoid(gate_logits) * hidden))


class MinGRU(nn.Module):
    """Layers of minimal gated recurrent units; the carry is the state of each, `[E, L, H]`.

    The gates of a step do not look at the state, so that h is a linear recurrence with known coefficients, and every
    product of a whole trial is done at once. From the second layer on, forgetting may nevertheless depend on the past.

    References:
      Feng et al., "Were RNNs All We Needed?", 2024, for the unit.
    """

    is_parallel: ClassVar[bool] = True

    size: int
    num_layers: int = 1
    init_timescale: float | None = None

    def setup(self):
        longest = LONGEST_MEMORY if self.init_timescale is None else self.init_timescale
        self.layers = [MinGRULayer(self.size, longest) for _ in range(self.num_layers)]

    def init_carry(self, num_episodes: int) -> Array:
        return jnp.zeros((num_episodes, self.num_layers, self.size), jnp.float32)

    def project(self, inputs: Array) -> tuple[Array, Array, Array]:
        return self.layers[0].look(inputs)

    def describe(self, carry: Array) -> dict[str, Array]:
        return {"state of the last layer": carry[:, -1]}

    def __call__(self, carry: Array, projected: Any, valid: Array) -> tuple[Array, Array]:
        carry, features = self.sequence(carry, *jax.tree.map(lambda x: x[None], (projected, valid)))
        return carry, features[0]

    def sequence(self, carry: Array, projected: Any, valid: Array) -> tuple[Array, Array]:
        states, features = [], projected
        for index, layer in enumerate(self.layers):
            logits, candidate, gate_logits = layer.look(features) if index else projected
            update = jnp.where(valid[..., None], jax.nn.sigmoid(logits), 0.0)
            hidden = linear_recurrence(1.0 - update, update * candidate, carry[:, index])
            states.append(hidden[-1])
            features = layer.answer(hidden, gate_logits)
        return jnp.stack(states, axis=1), features


@jax.custom_vjp
def linear_recurrence(decay: Array, increment: Array, start: Array) -> Array:
    """h_t = a_t ∘ h_{t−1} + b_t over the leading axis of `[S, ...]`, from h_0 = `start` `[...]`: all h_t `[S, ...]`.

    The cotangents of b are a linear recurrence too, in reverse: β_t = v_t + a_{t+1} ∘ β_{t+1}, those of a are
    α_t = β_t ∘ h_{t−1}. An accelerator reads the sequence in an associative scan of depth log₂ S; a CPU, which has
    no width to spare for the twofold work, step after step.
    """
    increment = increment.at[0].add(decay[0] * start)
    return jax.lax.platform_dependent(
        decay, increment, cpu=sequential_recurrence, default=associative_recurrence
    )


def _linear_recurrence_fwd(decay, increment, start):
    hidden = linear_recurrence(decay, increment, start)
    return hidden, (decay, hidden, start)


def _linear_recurrence_bwd(residuals, cotangent):
    decay, hidden, start = residuals
    following = jnp.concatenate([decay[1:], jnp.zeros_like(decay[:1])])
    no_end = jnp.zeros_like(start)
    of_increment = linear_recurrence(following[::-1], cotangent[::-1], no_end)[::-1]
    before = jnp.concatenate([start[None], hidden[:-1]])
    return of_increment * before, of_increment, decay[0] * of_increment[0]


linear_recurrence.defvjp(_linear_recurrence_fwd, _linear_recurrence_bwd)


def sequential_recurrence(decay: Array, increment: Array) -> Array:
    """Computes the recurrence from zero, step by step."""

    def step(hidden, coefficients):
        hidden = coefficients[0] * hidden + coefficients[1]
        return hidden, hidden

    return jax.lax.scan(step, jnp.zeros_like(increment[0]), (decay, increment))[1]


def associative_recurrence(decay: Array, increment: Array) -> Array:
    """Computes the recurrence from zero as an associative scan, with (a₂, b₂)∘(a₁, b₁) = (a₂a₁, a₂b₁ + b₂).

    References:
      Blelloch, "Prefix Sums and Their Applications", 1990.
    """

    def compose(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(compose, (decay, increment))[1]
