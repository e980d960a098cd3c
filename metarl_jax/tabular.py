"""Task distributions that are tables: collected from like any other, and solved exactly by `metarl_jax.exact`."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.env import Discrete, EnvState, Regret, Task, TaskDistribution
from metarl_jax.exact import TabularMDP, optimal_action_values
from metarl_jax.types import Array, Key


class Episode(NamedTuple):
    """The simulator of a tabular task: the state, the steps done, γᵗ, and the key of the noise to come."""

    state: Array
    time: Array
    weight: Array
    key: Key


@dataclasses.dataclass(frozen=True)
class TabularTasks(TaskDistribution):
    """Finite MDPs with states `{0, …, S−1}`, observed one-hot unless `observations` says otherwise, and `A` actions.

    A subclass says what its `sizes` and `episode_length` are, draws tasks, and gives their tables in `mdp`; how an
    episode goes follows from these. Time is not observed. The reward of step t is γᵗ r(s, a), so that undiscounted
    returns, and undiscounted returns to go, belong to the discounted problem that the tables state.
    """

    reward_std: ClassVar[float] = 0.0
    """Deviation of the normal noise of an observed reward."""

    @property
    def sizes(self) -> tuple[int, int]:
        """(S, A)."""
        raise TypeError(f"{type(self).__name__} must define sizes")

    def mdp(self, task: Task) -> TabularMDP:
        """The tables of a task."""
        raise TypeError(f"{type(self).__name__} must define mdp")

    @property
    def observations(self) -> np.ndarray:
        """What is seen in each state, `[S, O]`."""
        return np.eye(self.sizes[0], dtype=np.float32)

    @property
    def observation_size(self) -> int:
        return self.observations.shape[1]

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.sizes[1])

    def reset(self, task: Task, key: Key) -> EnvState:
        start_key, key = jax.random.split(key)
        state = _draw(start_key, self.mdp(task).start)
        episode = Episode(state, jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32), key)
        return self._observe(episode, jnp.zeros((), jnp.float32))

    def step(self, task: Task, state: EnvState, action: Array) -> EnvState:
        mdp, (cell, time, weight, key) = self.mdp(task), state.simulator
        state_key, noise_key, key = jax.random.split(key, 3)
        reward = mdp.reward[cell, action]
        if self.reward_std:
            reward = reward + self.reward_std * jax.random.normal(noise_key)
        next_cell = _draw(state_key, mdp.transition[cell, action])
        episode = Episode(next_cell, time + 1, weight * mdp.discount, key)
        return self._observe(episode, weight * reward)

    def oracle_action(self, task: Task, observation: Array) -> Array:
        """The best action where all steps of the episode are still to go: near the optimum, which knows the
        time, and of which it is the first step."""
        action_values = optimal_action_values(self.mdp(task), self.episode_length)[0]
        state = jnp.argmax(jnp.asarray(self.observations) @ observation)
        return jnp.argmax(action_values[state]).astype(jnp.int32)

    def regret(self, task: Task) -> Regret:
        action_values = optimal_action_values(self.mdp(task), self.episode_length)
        of_actions = action_values.max(axis=-1, keepdims=True) - action_values

        def regret(state: EnvState, action: Array) -> Array:
            episode: Episode = state.simulator
            return episode.weight * of_actions[episode.time, episode.state, action]

        return regret

    def _observe(self, episode: Episode, reward: Array) -> EnvState:
        observation = jnp.asarray(self.observations)[episode.state]
        return EnvState(observation, reward, jnp.zeros((), bool), episode)


def _draw(key: Key, probabilities: Array) -> Array:
    """An index with these probabilities `[S]`: the inverse of their distribution function."""
    cumulative = jnp.cumsum(probabilities)
    # In (0, 1], so that an index of probability zero is never drawn.
    uniform = 1.0 - jax.random.uniform(key)
    return jnp.sum(cumulative < uniform * cumulative[-1]).astype(jnp.int32)
