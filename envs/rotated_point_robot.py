"""A point robot whose actions are rotated by a hidden angle: tasks that need one of a few skills."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Box
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split
from metarl_jax.envs.drawings import walk
from metarl_jax.envs.goals import sample_square


class RotatedTask(NamedTuple):
    """Attributes: `skill`, the number of quarter turns `[]` (int32), and the goal `[2]`."""

    skill: jax.Array
    goal: jax.Array


@dataclasses.dataclass(frozen=True)
class RotatedPointRobot(TaskDistribution):
    """Walk to a visible goal, with actions that are rotated by 0, 90, 180 or 270 degrees.

    Each task draws the goal ~ U[−½, ½]² and the rotation R, uniformly among four. The state is the position, from (0,
    0): s' = s + clip(R a, ±0.1); the reward is −‖s' − goal‖₂. The observation `[4]` is the position and the way from it
    to the goal. There is no termination. The `ood` split draws goals from the frame between [−½, ½]² and [−1, 1]².

    Only the rotation is hidden, so that a policy needs exactly four skills, and one step reveals which.
    """

    name: ClassVar[str] = "rotated_point_robot"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    num_skills: ClassVar[int] = 4

    horizon: int = bounded(20, at_least=1)
    """Steps per episode."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def action_space(self) -> Box:
        return Box(2, -0.1, 0.1)

    def sample(self, key: jax.Array, split: str = "train") -> RotatedTask:
        check_split(self, split)
        skill_key, goal_key = jax.random.split(key)
        if split == "ood":
            goal = sample_square(goal_key, 0.5, reach=2.0)
        else:
            goal = jax.random.uniform(goal_key, (2,), minval=-0.5, maxval=0.5)
        return RotatedTask(jax.random.randint(skill_key, (), 0, self.num_skills), goal)

    def skill(self, task: RotatedTask) -> jax.Array:
        return task.skill

    def reset(self, task: RotatedTask, key: jax.Array) -> EnvState:
        del key
        no_reward = jnp.zeros((), jnp.float32)
        return EnvState(_observe(jnp.zeros(2), task), no_reward, jnp.zeros((), bool), ())

    def step(self, task: RotatedTask, state: EnvState, action: jax.Array) -> EnvState:
        moved = jnp.clip(_turn(task.skill, action), -0.1, 0.1)
        position = state.observation[:2] + moved
        reward = -jnp.sqrt(jnp.sum((position - task.goal) ** 2))
        return EnvState(_observe(position, task), reward, jnp.zeros((), bool), ())

    def render(self, task: RotatedTask, states: EnvState) -> Scene:
        """Draws the walk in the plane, and the goal."""
        return walk(states.observation[:, :2], task.goal, (-1.1, -1.1, 1.1, 1.1), 0.03)

    def oracle_action(self, task: RotatedTask, observation: jax.Array) -> jax.Array:
        """Moves straight to the goal, as far as one step allows."""
        return _turn(-task.skill, jnp.clip(observation[2:], -0.1, 0.1))


def _observe(position: jax.Array, task: RotatedTask) -> jax.Array:
    return jnp.concatenate([position, task.goal - position])


def _turn(quarters: jax.Array, vector: jax.Array) -> jax.Array:
    """Rotates a vector `[2]` by quarter turns."""
    x, y = vector
    turned = jnp.array([[x, y], [-y, x], [-x, -y], [y, -x]])
    return turned[quarters % 4]
