"""A small grid with a hidden goal, for which the Bayes-optimal return is known: GridNavi of VariBAD."""

import dataclasses
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import EnvState, Regret, TaskDistribution, check_split
from metarl_jax.envs.bayes_optimal import search_ceiling
from metarl_jax.envs.drawings import grid
from metarl_jax.envs.grid_cells import MOVES, move, next_move, observe_cell, regret_of


class GridState(NamedTuple):
    """The state of an episode: the cell `[2]` and the steps done `[]`, int32."""

    cell: jax.Array
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class GridNavi(TaskDistribution):
    """Find the hidden goal cell in a 5×5 grid, then return to it in the next episodes.

    The task is the goal cell `[2]` (int32), uniform over the 21 cells other than (0, 0), (0, 1), (1, 0), (1, 1). An
    episode starts in (0, 0) and lasts 15 steps; walking off the grid means staying. The reward is +1 for a step that
    ends on the goal and −0.1 for any other; there is no termination. The observation is the cell, one-hot `[25]`.

    Known returns: random −1.16 an episode; goal known 11.071; Bayes-optimal 4.000, 11.071, 11.071, 11.071 over four
    episodes (sum 37.214).

    References:
      Zintgraf et al., "VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning", ICLR 2020.
    """

    name: ClassVar[str] = "grid_navi"
    note: ClassVar[str] = "21 tasks in all: test tasks are drawn from the same cells as train tasks"

    size: int = bounded(5, at_least=3)
    """Cells along a side."""
    horizon: int = bounded(15, at_least=1)
    """Steps per episode."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    def goals(self) -> np.ndarray:
        """Returns all goal cells `[G, 2]`."""
        cells = np.array([(x, y) for x in range(self.size) for y in range(self.size)], np.int32)
        return cells[(cells > 1).any(axis=1)]

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return jax.random.choice(key, jnp.asarray(self.goals()))

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del task, key
        start = GridState(jnp.zeros(2, jnp.int32), jnp.zeros((), jnp.int32))
        return self._observe(start, jnp.zeros((), jnp.float32))

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        walk: GridState = state.simulator
        cell = move(walk.cell, action, self.size)
        reward = jnp.where(jnp.all(cell == task), 1.0, -0.1).astype(jnp.float32)
        return self._observe(GridState(cell, walk.time + 1), reward)

    def oracle_action(self, task: jax.Array, observation: jax.Array) -> jax.Array:
        """Returns the next move of a shortest way: along x, then along y, then stay."""
        return next_move(task, observation, self.size)

    def regret(self, task: jax.Array) -> Regret:
        """With h steps to go and d to the goal, V* = max(h − 1.1 max(d − 1, 0), −0.1 h): +1 from the d-th step on."""

        def best(walk: GridState) -> jax.Array:
            left, distance = self.horizon - walk.time, jnp.abs(walk.cell - task).sum()
            return jnp.maximum(left - 1.1 * jnp.maximum(distance - 1, 0), -0.1 * left)

        return regret_of(partial(self.step, task), best)

    def render(self, task: jax.Array, states: EnvState) -> Scene:
        """Draws the walk over the grid, and the hidden goal."""
        return grid(self.size, states.simulator.cell, [(task, "goal")])

    def bayes_optimal_value(self, num_rounds: int) -> np.ndarray | None:
        goals = tuple((x, y) for x, y in self.goals().tolist())
        return search_ceiling(self.size, goals, self.horizon, num_rounds)

    def _observe(self, walk: GridState, reward: jax.Array) -> EnvState:
        return EnvState(observe_cell(walk.cell, self.size), reward, jnp.zeros((), bool), walk)
