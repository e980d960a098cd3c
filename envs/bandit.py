"""Bandits: the smallest problem in which exploration can be learned, and the smallest with a meta-gradient."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.validation import bounded
from metarl_jax.envs import drawings
from metarl_jax.envs.base import EnvState, Regret, TaskDistribution, check_split
from metarl_jax.envs.bayes_optimal import bandit_ceiling


@dataclasses.dataclass(frozen=True)
class Bandit(TaskDistribution):
    """Pull one of `num_arms` arms; the observation is empty.

    The task is the success probabilities `[k]` ~ U[0, 1]; an episode is one pull (T = 1), so that a trial of n pulls
    has K = n rounds, and what the learner knows is its last action and reward. The reward is Bernoulli(p[a]).

    Known totals of the Bayes-optimal policy over n = 10 pulls: 6.660 (k = 5), 6.714 (k = 10 and 50).

    References:
      Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016.
    """

    name: ClassVar[str] = "bandit"

    num_arms: int = bounded(5, at_least=2)
    """Number of arms k."""

    @property
    def episode_length(self) -> int:
        return 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.num_arms)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return jax.random.uniform(key, (self.num_arms,))

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del task
        return before_pull(jnp.zeros(0, jnp.float32), key)

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        return pull(task, state, action)

    def render_trial(
        self, task: np.ndarray, states: EnvState, actions: np.ndarray, rewards: np.ndarray
    ) -> Scene:
        return drawings.choices(actions, rewards, task)

    def oracle_action(self, task: jax.Array, observation: jax.Array) -> jax.Array:
        """Returns the best arm."""
        del observation
        return jnp.argmax(task).astype(jnp.int32)

    def regret(self, task: jax.Array) -> Regret:
        return regret_of_arms(task)

    def bayes_optimal_value(self, num_rounds: int) -> np.ndarray | None:
        return bandit_ceiling(self.num_arms, num_rounds)


def before_pull(observation: jax.Array, key: jax.Array) -> EnvState:
    """Returns the start of an episode of one pull, and draws the uniform number in [0, 1) that decides the reward."""
    chance = jax.random.uniform(key)
    return EnvState(observation, jnp.zeros((), jnp.float32), jnp.zeros((), bool), chance)


def pull(probabilities: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
    """Pulls an arm; arms pay with these probabilities `[k]`."""
    return state.replace(reward=(state.simulator < probabilities[action]).astype(jnp.float32))


def regret_of_arms(probabilities: jax.Array) -> Regret:
    """Returns the expected loss of a pull, max p − p[a], where arms pay with probabilities p `[k]`."""
    of_arms = probabilities.max() - probabilities
    return lambda state, action: of_arms[action]
