"""Random finite MDPs: those of RL², and those in which meta-gradient estimators are compared."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import check_split
from metarl_jax.envs.tabular.base import TabularTasks
from metarl_jax.envs.tabular.planning import TabularMDP


class Tables(NamedTuple):
    """The task: P(s' | s, a) `[S, A, S]` and the mean reward r(s, a) `[S, A]`."""

    transition: jax.Array
    reward: jax.Array


@dataclasses.dataclass(frozen=True)
class TabularMDPs(TabularTasks):
    """Random MDPs with 10 states and 5 actions, whose rewards are noisy.

    The task is P(·|s, a) ~ Dirichlet(1) and mean rewards r(s, a) ~ N(1, 1). An episode starts in state 0 and lasts 10
    steps; the observed reward is N(r(s, a), 1). The observation is the state, one-hot.

    Known returns per episode: random 10.0; optimum with the MDP known 21.83, of which `oracle_action` misses 0.02.

    References:
      Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016.
    """

    name: ClassVar[str] = "tabular_mdp"
    reward_std: ClassVar[float] = 1.0

    num_states: int = bounded(10, at_least=1)
    """Number of states S."""
    num_actions: int = bounded(5, at_least=2)
    """Number of actions A."""
    horizon: int = bounded(10, at_least=1)
    """Steps per episode."""

    @property
    def sizes(self) -> tuple[int, int]:
        return self.num_states, self.num_actions

    @property
    def episode_length(self) -> int:
        return self.horizon

    def sample(self, key: jax.Array, split: str = "train") -> Tables:
        check_split(self, split)
        transition_key, reward_key = jax.random.split(key)
        # Dirichlet(1) is exponentials divided by their sum.
        weight = jax.random.exponential(transition_key, (*self.sizes, self.num_states))
        transition = weight / weight.sum(axis=-1, keepdims=True)
        return Tables(transition, 1.0 + jax.random.normal(reward_key, self.sizes))

    def mdp(self, task: Tables) -> TabularMDP:
        return TabularMDP(task.transition, task.reward, jnp.eye(self.num_states)[0])


@dataclasses.dataclass(frozen=True)
class RandomMDPs(TabularTasks):
    """Random discounted MDPs, for the comparison of estimators with exact derivatives.

    The task is P(·|s, a) ~ Dirichlet(`concentration`) and r(s, a) ~ U[0, 1]. The reward of step t is γᵗ r(s, a), so
    that the undiscounted return is that of the discounted problem. The defaults are those of Tang et al., whose small
    concentration makes transitions nearly deterministic; Loaded DiCE has `num_states=5, num_actions=4, discount=0.95,
    horizon=50, uniform_start=True`, with rewards of another scale that depend on the state alone.

    References:
      Tang et al., "Unifying Gradient Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation", NeurIPS
        2021 (github.com/robintyh1/neurips2021-meta-gradient-offpolicy-evaluation).
      Farquhar, Whiteson & Foerster, "Loaded DiCE", NeurIPS 2019 (github.com/oxwhirl/loaded-dice).
    """

    name: ClassVar[str] = "random_mdp"

    num_states: int = bounded(20, at_least=1)
    """Number of states S."""
    num_actions: int = bounded(5, at_least=2)
    """Number of actions A."""
    horizon: int = bounded(20, at_least=1)
    """Steps per episode."""
    discount: float = bounded(0.8, at_least=0, at_most=1)
    """Discount γ; the reward of step t is multiplied by γᵗ."""
    concentration: float = bounded(0.001, above=0)
    """Parameter of the Dirichlet distribution of transitions: deterministic near 0, all states alike for large ones."""
    uniform_start: bool = False
    """Start in a uniformly drawn state instead of state 0."""

    @property
    def sizes(self) -> tuple[int, int]:
        return self.num_states, self.num_actions

    @property
    def episode_length(self) -> int:
        return self.horizon

    def sample(self, key: jax.Array, split: str = "train") -> Tables:
        check_split(self, split)
        transition_key, reward_key = jax.random.split(key)
        concentration = jnp.full(self.num_states, self.concentration)
        transition = jax.random.dirichlet(transition_key, concentration, self.sizes)
        return Tables(transition, jax.random.uniform(reward_key, self.sizes))

    def mdp(self, task: Tables) -> TabularMDP:
        anywhere = jnp.full(self.num_states, 1.0 / self.num_states)
        start = anywhere if self.uniform_start else jnp.eye(self.num_states)[0]
        return TabularMDP(task.transition, task.reward, start, self.discount)
