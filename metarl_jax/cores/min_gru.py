"""A linear recurrence with gates that see the input alone, so that a trial is computed in parallel."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.networks import Dense, orthogonal
from metarl_jax.types import Array


class MinGRULayer(nn.Module):
    """h_t = (1 − z_t) ∘ h_{t−1} + z_t ∘ n_t with z = σ(xW_z), n = xW_n; then a residual MLP."""

    size: int

    def setup(self):
        self.norm = nn.LayerNorm()
        self.gates = nn.Dense(2 * self.size, kernel_init=orthogonal(1.0))
        self.out = nn.Dense(self.size, kernel_init=orthogonal(1.0))
        self.mlp_norm = nn.LayerNorm()
        self.widen = nn.Dense(2 * self.size, kernel_init=orthogonal())
        self.narrow = nn.Dense(self.size, kernel_init=orthogonal(0.5))

    def coefficients(self, inputs: Array, valid: Array) -> tuple[Array, Array]:
        """Decay a and increment b of h' = a ∘ h + b; a = 1 and b = 0 where the step is not valid."""
        update, candidate = jnp.split(self.gates(self.norm(inputs)), 2, axis=-1)
        update = jnp.where(valid[..., None], jax.nn.sigmoid(update), 0.0)
        return 1.0 - update, update * candidate

    def answer(self, inputs: Array, hidden: Array) -> Array:
        features = inputs + self.out(hidden)
        return features + self.narrow(nn.gelu(self.widen(self.mlp_norm(features))))


class MinGRU(nn.Module):
    """Layers of minimal gated recurrent units; the carry is the state of each, `[E, L, H]`.

    The gates of a step do not look at the state, so that h is a linear recurrence with known coefficients, and a whole
    sequence is an associative scan over (a, b) with (a₂, b₂)∘(a₁, b₁) = (a₂a₁, a₂b₁ + b₂). What is forgotten may depend
    on the past all the same from the second layer on.

    References:
      Feng et al., «Were RNNs All We Needed?», 2024, for the unit.
      Blelloch, «Prefix Sums and Their Applications», 1990, for the scan.
    """

    is_parallel: ClassVar[bool] = True

    size: int
    num_layers: int = 2

    def setup(self):
        self.input_projection = Dense(self.size, 1.0)
        self.layers = [MinGRULayer(self.size) for _ in range(self.num_layers)]
        self.norm = nn.LayerNorm()

    def init_carry(self, num_episodes: int) -> Array:
        return jnp.zeros((num_episodes, self.num_layers, self.size), jnp.float32)

    def project(self, inputs: Array) -> Array:
        return self.input_projection(inputs)

    def __call__(self, carry: Array, projected: Array, valid: Array) -> tuple[Array, Array]:
        features, states = projected, []
        for index, layer in enumerate(self.layers):
            decay, increment = layer.coefficients(features, valid)
            states.append(decay * carry[:, index] + increment)
            features = layer.answer(features, states[-1])
        return jnp.stack(states, axis=1), self.norm(features)

    def sequence(self, carry: Array, projected: Array, valid: Array) -> tuple[Array, Array]:
        features, states = projected, []
        for index, layer in enumerate(self.layers):
            decay, increment = layer.coefficients(features, valid)
            hidden = linear_recurrence(decay, increment, carry[:, index])
            states.append(hidden[-1])
            features = layer.answer(features, hidden)
        return jnp.stack(states, axis=1), self.norm(features)


@jax.custom_vjp
def linear_recurrence(decay: Array, increment: Array, start: Array) -> Array:
    """h_t = a_t ∘ h_{t−1} + b_t over the leading axis of `[S, ...]`, from h_0 = `start` `[...]`: all h_t `[S, ...]`.

    The cotangents of b are a linear recurrence too, in reverse: β_t = v_t + a_{t+1} ∘ β_{t+1}, those of a are
    α_t = β_t ∘ h_{t−1}.
    """
    return _scan(decay, increment.at[0].add(decay[0] * start))


def _linear_recurrence_fwd(decay, increment, start):
    hidden = linear_recurrence(decay, increment, start)
    return hidden, (decay, hidden, start)


def _linear_recurrence_bwd(residuals, cotangent):
    decay, hidden, start = residuals
    following = jnp.concatenate([decay[1:], jnp.zeros_like(decay[:1])])
    of_increment = _scan(following[::-1], cotangent[::-1])[::-1]
    before = jnp.concatenate([start[None], hidden[:-1]])
    return of_increment * before, of_increment, decay[0] * of_increment[0]


linear_recurrence.defvjp(_linear_recurrence_fwd, _linear_recurrence_bwd)


def _scan(decay: Array, increment: Array) -> Array:
    """The recurrence from zero."""

    def compose(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(compose, (decay, increment))[1]
