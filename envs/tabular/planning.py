"""Finite-horizon planning in learned tabular models: value iteration, plain and optimistic."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.types import Array


def value_iteration(transition: Array, reward: Array, horizon: int) -> Array:
    """Q(t, s, a) = r(s, a) + Σ P(s' | s, a) max_a' Q(t + 1, s', a'), `[T, S, A]`."""
    return plan_backward(lambda value: reward + transition @ value, len(reward), horizon)


def extended_value_iteration(
    transition: Array, radius: Array, reward: Array, horizon: int
) -> Array:
    """Value iteration with, at each step, the best transitions within ‖P′(·|s, a) − P(·|s, a)‖₁ ≤ `radius` `[S, A]`.

    Half the radius of probability moves to the best next state, from the worst ones.
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


class TabularMDP(struct.PyTreeNode):
    """A finite MDP as tables.

    Attributes:
      transition: `[S, A, S]`, P(s' | s, a).
      reward: `[S, A]`, the mean reward of an action.
      start: `[S]`, the distribution of the first state.
      discount: γ, `[]`.
    """

    transition: Array
    reward: Array
    start: Array
    discount: Array | float = 1.0


def optimal_action_values(mdp: TabularMDP, horizon: int) -> Array:
    """Q(t, s, a) `[T, S, A]` of an episode of `horizon` steps, under the best policy that knows the time.

    Q(t, s, a) = r(s, a) + γ Σ P(s' | s, a) max_a' Q(t + 1, s', a'). The optimal return is `start @ Q[0].max(axis=-1)`.
    """

    def backup(value: Array) -> Array:
        return mdp.reward + mdp.discount * mdp.transition @ value

    return plan_backward(backup, len(mdp.reward), horizon)


def plan_backward(backup: Callable[[Array], Array], num_states: int, horizon: int) -> Array:
    """Action values `[T, S, A]`, from `backup`: values of next states `[S]` to action values `[S, A]`."""

    def step(value: Array, _):
        action_values = backup(value)
        return action_values.max(axis=-1), action_values

    return jax.lax.scan(step, jnp.zeros(num_states), length=horizon, reverse=True)[1]
