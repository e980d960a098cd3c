"""A stand-in for a task distribution: the same spaces, short episodes, and random numbers. Learners and outer methods
are checked on its trials, so that no simulator has to be compiled.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.spaces import (
    ActionSpace,
    Array,
    Discrete,
    Integers,
    Observation,
    ObservationSpace,
    is_space,
    space_leaves,
)
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.optional import has_action_mask

NUM_STEPS = 5
"""Steps of an episode; one in four ends at each of them."""


@dataclasses.dataclass(frozen=True)
class StandIn(TaskDistribution):
    """Observations and rewards drawn at random, in the spaces of `env`."""

    name: ClassVar[str] = "stand_in"

    env: TaskDistribution

    @property
    def episode_length(self) -> int:
        return NUM_STEPS

    @property
    def observation_space(self) -> ObservationSpace:
        return self.env.observation_space

    @property
    def action_space(self) -> ActionSpace:
        return self.env.action_space

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        del split
        return jax.random.normal(key)

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        return self._draw(task, key)

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        del action
        return self._draw(task, state.simulator)

    def action_mask(self, task: jax.Array, state: EnvState) -> jax.Array | None:
        space = self.env.action_space
        if not (has_action_mask(self.env) and isinstance(space, Discrete)):
            return None
        allowed = jax.random.bernoulli(state.simulator, 0.5, (space.num_actions,))
        return allowed.at[0].set(True)

    def action_features(self, observation: Observation) -> jax.Array | None:
        return self.env.action_features(observation)

    def _draw(self, task: jax.Array, key: jax.Array) -> EnvState:
        key, observation_key, reward_key, done_key = jax.random.split(key, 4)
        return EnvState(
            observation=random_observation(self.observation_space, observation_key),
            reward=task + jax.random.normal(reward_key),
            done=jax.random.bernoulli(done_key, 0.25),
            simulator=key,
        )

    def regret(self, task: Any) -> Any:
        del task
        return lambda state, action: jnp.abs(state.reward)


def random_observation(space: ObservationSpace, key: jax.Array) -> Observation:
    """Returns an observation of the space, drawn at random."""
    leaves = space_leaves(space)

    def draw(leaf: Array | Integers, key: jax.Array) -> jax.Array:
        if isinstance(leaf, Integers):
            return jax.random.randint(key, leaf.shape, 0, leaf.num_values).astype(leaf.dtype)
        return jax.random.normal(key, leaf.shape)

    drawn = [draw(*pair) for pair in zip(leaves, jax.random.split(key, len(leaves)), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(space, is_leaf=is_space), drawn)
