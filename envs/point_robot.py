"""A point that walks to a hidden goal in the plane: "2D navigation" of MAML (Finn et al. 2017)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Box
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split
from metarl_jax.envs.drawings import walk
from metarl_jax.envs.goals import sample_square


@dataclasses.dataclass(frozen=True)
class PointRobot(TaskDistribution):
    """Walk to a goal that is not observed.

    The task is the goal `[2]` ~ U[−½, ½]². The state is the position, from (0, 0); `s' = s + clip(a, ±0.1)`; the
    reward is −‖s' − goal‖₂, and the episode terminates when both coordinates are within 0.01 of the goal. The `ood`
    split draws goals from the frame between [−½, ½]² and [−1, 1]².

    Known returns per episode of 100 steps: optimum −0.506, standing still −38.3, uniform random actions −61.6.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
    """

    name: ClassVar[str] = "point_robot"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")

    horizon: int = bounded(100, at_least=1)
    """Steps per episode."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def action_space(self) -> Box:
        return Box(2, -0.1, 0.1)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return sample_square(key, 0.5, reach=2.0 if split == "ood" else None)

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del task, key
        position = jnp.zeros(2, jnp.float32)
        return EnvState(position, jnp.zeros((), jnp.float32), jnp.zeros((), bool), ())

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        position = state.observation + jnp.clip(action, -0.1, 0.1)
        offset = position - task
        reward = -jnp.sqrt(jnp.sum(offset**2))
        return EnvState(position, reward, jnp.all(jnp.abs(offset) < 0.01), ())

    def render(self, task: jax.Array, states: EnvState) -> Scene:
        """Draws the walk in the plane, and the hidden goal."""
        reach = float(max(0.7, np.abs(states.observation).max() + 0.1, np.abs(task).max() + 0.1))
        return walk(states.observation, task, (-reach, -reach, reach, reach), 0.03)

    def oracle_action(self, task: jax.Array, observation: jax.Array) -> jax.Array:
        """Moves straight to the goal, as far as one step allows."""
        return jnp.clip(task - observation, -0.1, 0.1)
