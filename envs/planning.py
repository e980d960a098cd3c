"""Planning with a finite horizon in tabular models that were learned: value iteration, plain and optimistic."""

import jax.numpy as jnp

from metarl_jax.exact import plan_backward
from metarl_jax.types import Array


def value_iteration(transition: Array, reward: Array, horizon: int) -> Array:
    """Q(t, s, a) = r(s, a) + Σ P(s' | s, a) max_a' Q(t + 1, s', a'), `[T, S, A]`."""
    return plan_backward(lambda value: reward + transition @ value, len(reward), horizon)


def extended_value_iteration(
    transition: Array, radius: Array, reward: Array, horizon: int
) -> Array:
    """Value iteration with, at each step, the best transitions within ‖P′(·|s, a) − P(·|s, a)‖₁ ≤ `radius` `[S, A]`.

    They have as much more of the best next state as half the radius allows, taken from the worst ones.
    """

    def backup(value: Array) -> Array:
        order = jnp.argsort(value)
        probability = transition[..., order]
        best = jnp.minimum(1.0, probability[..., -1] + 0.5 * radius)
        moved = (best - probability[..., -1])[..., None]
        others = probability[..., :-1]
        worse = jnp.cumsum(others, axis=-1) - others
        kept = others - jnp.clip(moved - worse, 0.0, others)
        return reward + kept @ value[order[:-1]] + best * value[order[-1]]

    return plan_backward(backup, len(reward), horizon)
