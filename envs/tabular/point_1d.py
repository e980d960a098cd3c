"""A point on a line with a goal to either side: the 1-D environment of ProMP, with its positions made discrete."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import check_split
from metarl_jax.envs.tabular.base import TabularTasks
from metarl_jax.envs.tabular.planning import TabularMDP


@dataclasses.dataclass(frozen=True)
class Point1D(TabularTasks):
    """Go to one of two goals on the line [−2, 2].

    The task is the goal, −1 or 1. The state is the position, at first uniform; an action names the next position, so
    that s' = a, and its reward is exp(−0.1 (a − goal)²). Positions and actions are `num_cells` points from −2 to 2,
    where the original has the whole interval; the observation is the position, one-hot. An episode lasts 5 steps.

    `gaussian_policy` is the policy of the original. By symmetry, its best meta-parameters are (0, 0).

    References:
      Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019 (github.com/jonasrothfuss/ProMP,
        experiments/env_1d).
    """

    name: ClassVar[str] = "point_1d"
    note: ClassVar[str] = "two tasks in all: test tasks are train tasks"

    num_cells: int = bounded(17, at_least=3)
    """Number of positions, which is also the number of actions."""
    horizon: int = bounded(5, at_least=1)
    """Steps per episode."""

    @property
    def sizes(self) -> tuple[int, int]:
        return self.num_cells, self.num_cells

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def positions(self) -> np.ndarray:
        """Returns the positions `[S]`, which are also the actions."""
        return np.linspace(-2.0, 2.0, self.num_cells, dtype=np.float32)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return jax.random.rademacher(key, (), jnp.float32)

    def mdp(self, task: jax.Array) -> TabularMDP:
        cells = self.num_cells
        reward = jnp.exp(-0.1 * (jnp.asarray(self.positions) - task) ** 2)
        return TabularMDP(
            transition=jnp.broadcast_to(jnp.eye(cells), (cells, cells, cells)),
            reward=jnp.broadcast_to(reward, (cells, cells)),
            start=jnp.full(cells, 1.0 / cells),
        )

    def gaussian_policy(self, params: Array) -> Array:
        """Returns the probabilities `[S, A]` of a ~ N(θ₀ s² + θ₁, 1), clipped to [−2, 2] and rounded, from θ `[2]`."""
        positions = jnp.asarray(self.positions, params.dtype)
        mean = params[0] * positions**2 + params[1]
        edges = 0.5 * (positions[1:] + positions[:-1])
        below = jax.scipy.stats.norm.cdf(edges[None, :] - mean[:, None])
        return jnp.diff(below, axis=1, prepend=0.0, append=1.0)
