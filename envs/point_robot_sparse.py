"""A point that is rewarded only near a hidden goal on a half circle: the sparse 2D navigation of PEARL and VariBAD."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Box
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split
from metarl_jax.envs.drawings import walk

STEP_SIZE = 0.1
GOAL_RADIUS = 0.2


@dataclasses.dataclass(frozen=True)
class PointRobotSparse(TaskDistribution):
    """Search a half circle for a goal that is not observed and is rewarded only when near.

    The task is the goal `[2]`, (cos φ, sin φ) with φ ~ U[0, π] rad. The state is the position, from (0, 0), and it is
    the observation; s' = s + 0.1·clip(a, ±1). With d = ‖s' − goal‖₂ the reward is 1 − d where d ≤ 0.2, else 0. There
    is no termination. The `ood` split draws goals from the other half of the circle.

    Known returns per episode: the straight line to a known goal 13.23 in 20 steps and 93.23 in 100 (mean over goals:
    a diagonal step reaches further); uniform random actions 0.001 and 0.55.

    References:
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019
        (20 steps).
      Zintgraf et al., "VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning", ICLR 2020 (100
        steps).
    """

    name: ClassVar[str] = "point_robot_sparse"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")

    horizon: int = bounded(20, at_least=1)
    """Steps per episode: 20 in PEARL, 100 in VariBAD."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def action_space(self) -> Box:
        return Box(2, -1.0, 1.0)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        angle = jax.random.uniform(key, (), maxval=jnp.pi)
        side = -1.0 if split == "ood" else 1.0
        return jnp.stack([jnp.cos(angle), side * jnp.sin(angle)])

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del task, key
        position = jnp.zeros(2, jnp.float32)
        return EnvState(position, jnp.zeros((), jnp.float32), jnp.zeros((), bool), ())

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        position = state.observation + STEP_SIZE * jnp.clip(action, -1.0, 1.0)
        distance = jnp.sqrt(jnp.sum((position - task) ** 2))
        reward = jnp.where(distance <= GOAL_RADIUS, 1.0 - distance, 0.0)
        return EnvState(position, reward, jnp.zeros((), bool), ())

    def render(self, task: jax.Array, states: EnvState) -> Scene:
        """Draws the walk in the plane, and the rewarded region around the hidden goal."""
        return walk(states.observation, task, (-1.4, -1.4, 1.4, 1.4), GOAL_RADIUS)

    def oracle_action(self, task: jax.Array, observation: jax.Array) -> jax.Array:
        """Moves along the straight line to the goal, as far as one step allows."""
        offset = (task - observation) / STEP_SIZE
        return offset / jnp.maximum(jnp.max(jnp.abs(offset)), 1.0)
