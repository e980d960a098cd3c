"""What tasks on a square grid share: moves, observations of a cell, shortest ways, and regrets."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.envs.base import EnvState, Regret

MOVES = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]], np.int32)
"""Stay, up, right, down, left, as steps in (x, y)."""


def move(cell: jax.Array, action: jax.Array, size: int) -> jax.Array:
    """Returns the cell `[2]` after a move; walking off the grid means staying."""
    return jnp.clip(cell + jnp.asarray(MOVES)[action], 0, size - 1)


def observe_cell(cell: jax.Array, size: int) -> jax.Array:
    """Returns the cell one-hot, `[size²]` float32."""
    x, y = cell
    return jax.nn.one_hot(x * size + y, size**2, dtype=jnp.float32)


def next_move(goal: jax.Array, observation: jax.Array, size: int) -> jax.Array:
    """Returns the next action of a shortest way to the goal `[2]`: along x, then along y, then stay."""
    index, goal = jnp.argmax(observation), goal.astype(jnp.int32)
    x, y = goal[0] - index // size, goal[1] - index % size
    along_y = jnp.where(y > 0, 1, jnp.where(y < 0, 3, 0))
    return jnp.where(x > 0, 2, jnp.where(x < 0, 4, along_y)).astype(jnp.int32)


def regret_of(
    step: Callable[[EnvState, jax.Array], EnvState], best: Callable[[Any], jax.Array]
) -> Regret:
    """Returns the regret V*(s) − (r + V*(s')) of actions in deterministic tasks.

    Args:
      step: (state, action) to the next state.
      best: V*, of the simulator's part of a state.
    """

    def regret(state: EnvState, action: jax.Array) -> jax.Array:
        after = step(state, action)
        return best(state.simulator) - (after.reward + best(after.simulator))

    return regret
