"""Bandits: the smallest problem in which exploration can be learned, and the smallest with a meta-gradient."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.env import Discrete, EnvState, Regret, TaskDistribution, check_split
from metarl_jax.envs.bandit_strategies import STRATEGIES
from metarl_jax.envs.ceilings import bandit_ceiling
from metarl_jax.exact import TabularMDP
from metarl_jax.learner import MetaLearner
from metarl_jax.strategies import build_strategy
from metarl_jax.tabular import TabularTasks
from metarl_jax.validation import bounded


@dataclasses.dataclass(frozen=True)
class Bandit(TaskDistribution):
    """Pull one of `num_arms` arms; the observation is empty.

    The task is the success probabilities `[k]` ~ U[0, 1]; an episode is one pull (T = 1), so that a trial of n pulls
    has K = n rounds, and what the learner knows is its last action and reward. The reward is Bernoulli(p[a]).

    Known totals of the Bayes-optimal policy over n = 10 pulls: 6.660 (k = 5), 6.714 (k = 10 and 50).

    References:
      Duan et al., «RL²: Fast Reinforcement Learning via Slow Reinforcement Learning», 2016.
    """

    name: ClassVar[str] = "bandit"
    strategies: ClassVar[tuple[str, ...]] = tuple(STRATEGIES)

    num_arms: int = bounded(5, at_least=2)
    """Number of arms k."""

    @property
    def episode_length(self) -> int:
        return 1

    @property
    def observation_size(self) -> int:
        return 0

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

    def oracle_action(self, task: jax.Array, observation: jax.Array) -> jax.Array:
        """Always the best arm."""
        del observation
        return jnp.argmax(task).astype(jnp.int32)

    def regret(self, task: jax.Array) -> Regret:
        return regret_of_arms(task)

    def make_strategy(self, name: str, num_rounds: int, **options) -> MetaLearner:
        strategy = build_strategy(STRATEGIES, self.name, name, options)
        return strategy.make(self.num_arms, num_rounds)

    def bayes_optimal_value(self, num_rounds: int) -> np.ndarray | None:
        return bandit_ceiling(self.num_arms, num_rounds)


def before_pull(observation: jax.Array, key: jax.Array) -> EnvState:
    """An episode of one pull, whose chance, uniform in [0, 1), is drawn when it begins."""
    chance = jax.random.uniform(key)
    return EnvState(observation, jnp.zeros((), jnp.float32), jnp.zeros((), bool), chance)


def pull(probabilities: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
    """The pull of one of the arms, which pay with these probabilities `[k]`."""
    return state.replace(reward=(state.simulator < probabilities[action]).astype(jnp.float32))


def regret_of_arms(probabilities: jax.Array) -> Regret:
    """What a pull loses in expectation, max p − p[a], where the arms pay with probabilities p `[k]`."""
    of_arms = probabilities.max() - probabilities
    return lambda state, action: of_arms[action]


@dataclasses.dataclass(frozen=True)
class SoftmaxBandit(TabularTasks):
    """One bandit with fixed rewards, always the same task: its meta-gradients are known in closed form.

    The task is the rewards `[k]` of the arms. An episode is one pull (T = 1) and the observation is empty, so that the
    logits of a policy without hidden layers are its biases. With θ = (.2, −.1, .3), the default rewards and an inner
    step of size .5 the return goes from 0.481523 to 0.515616, with the exact meta-gradient
    (.192139, −.012932, −.179207).
    """

    name: ClassVar[str] = "softmax_bandit"
    note: ClassVar[str] = "there is one task in all"

    rewards: tuple[float, ...] = (1.0, 0.5, 0.0)
    """Rewards of the arms."""

    @property
    def sizes(self) -> tuple[int, int]:
        return 1, len(self.rewards)

    @property
    def episode_length(self) -> int:
        return 1

    @property
    def observations(self) -> np.ndarray:
        return np.zeros((1, 0), np.float32)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        del key
        check_split(self, split)
        return jnp.asarray(self.rewards, jnp.float32)

    def mdp(self, task: jax.Array) -> TabularMDP:
        one = jnp.ones(1, task.dtype)
        return TabularMDP(jnp.ones((1, len(task), 1), task.dtype), task[None], one)

    def validate(self) -> None:
        if len(self.rewards) < 2:
            raise ValueError(
                f"env.rewards={self.rewards} has nothing to choose from: give two or more"
            )
