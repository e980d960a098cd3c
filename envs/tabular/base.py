"""Task distributions of finite MDPs given as tables: simulated like any other, and solved exactly."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.types import Array, Key
from metarl_jax.envs import drawings
from metarl_jax.envs.base import EnvState, Regret, Task, TaskDistribution
from metarl_jax.envs.tabular.planning import TabularMDP, optimal_action_values


class TabularState(NamedTuple):
    """The simulator of a tabular task: the state, the steps done, γᵗ, and the random numbers of all steps, drawn at the
    start.

    `chances` `[T]` are uniform in (0, 1] and choose the next states; `noise` `[T]` is standard normal, or None where
    rewards have none.
    """

    state: Array
    time: Array
    weight: Array
    chances: Array
    noise: Array | None


@dataclasses.dataclass(frozen=True)
class TabularTasks(TaskDistribution):
    """Finite MDPs with states `{0, …, S−1}`, observed one-hot unless `observations` says otherwise, and `A` actions.

    A subclass defines `sizes`, `episode_length`, `sample`, and the tables of a task in `mdp`; the dynamics of episodes
    follow from these. Time is not observed. The reward of step t is γᵗ r(s, a), so that undiscounted returns, and
    undiscounted returns to go, belong to the discounted problem that the tables state.
    """

    reward_std: ClassVar[float] = 0.0
    """Standard deviation of the normal noise of an observed reward."""

    @property
    def sizes(self) -> tuple[int, int]:
        """(S, A)."""
        raise TypeError(f"{type(self).__name__} must define sizes")

    def mdp(self, task: Task) -> TabularMDP:
        """Returns the tables of a task."""
        raise TypeError(f"{type(self).__name__} must define mdp")

    @property
    def observations(self) -> np.ndarray:
        """Returns the observation of each state, `[S, O]`."""
        return np.eye(self.sizes[0], dtype=np.float32)

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.sizes[1])

    def reset(self, task: Task, key: Key) -> EnvState:
        chance_key, noise_key = jax.random.split(key)
        # In (0, 1], so that a state of probability zero is never drawn.
        chances = 1.0 - jax.random.uniform(chance_key, (self.episode_length + 1,))
        noise = jax.random.normal(noise_key, chances[1:].shape) if self.reward_std else None
        state = _choose(self.mdp(task).start, chances[0])
        time, weight = jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32)
        episode = TabularState(state, time, weight, chances[1:], noise)
        return self._observe(episode, jnp.zeros((), jnp.float32))

    def step(self, task: Task, state: EnvState, action: Array) -> EnvState:
        mdp, episode = self.mdp(task), state.simulator
        reward = mdp.reward[episode.state, action]
        if episode.noise is not None:
            reward = reward + self.reward_std * episode.noise[episode.time]
        chance = episode.chances[episode.time]
        following = episode._replace(
            state=_choose(mdp.transition[episode.state, action], chance),
            time=episode.time + 1,
            weight=episode.weight * mdp.discount,
        )
        return self._observe(following, episode.weight * reward)

    def render_trial(
        self, task: Task, states: EnvState, actions: np.ndarray, rewards: np.ndarray
    ) -> Scene:
        del task
        num_states, num_actions = self.sizes
        episode: TabularState = states.simulator
        visited = (np.asarray(episode.state), num_states) if num_states > 1 else None
        return drawings.choices(
            actions, rewards, np.zeros(num_actions), visited=visited, length=self.episode_length
        )

    def oracle_action(self, task: Task, observation: Array) -> Array:
        """Returns the action that is optimal with all steps of the episode to go, at every time. This is close to the
        optimal policy, which depends on the time."""
        action_values = optimal_action_values(self.mdp(task), self.episode_length)[0]
        state = jnp.argmax(jnp.asarray(self.observations) @ observation)
        return jnp.argmax(action_values[state]).astype(jnp.int32)

    def regret(self, task: Task) -> Regret:
        action_values = optimal_action_values(self.mdp(task), self.episode_length)
        of_actions = action_values.max(axis=-1, keepdims=True) - action_values

        def regret(state: EnvState, action: Array) -> Array:
            episode: TabularState = state.simulator
            return episode.weight * of_actions[episode.time, episode.state, action]

        return regret

    def _observe(self, episode: TabularState, reward: Array) -> EnvState:
        observation = jnp.asarray(self.observations)[episode.state]
        return EnvState(observation, reward, jnp.zeros((), bool), episode)


def _choose(probabilities: Array, chance: Array) -> Array:
    """Returns an index drawn with probabilities `[S]` from a uniform number in (0, 1], by the inverse distribution
    function."""
    cumulative = jnp.cumsum(probabilities)
    return jnp.sum(cumulative < chance * cumulative[-1]).astype(jnp.int32)
