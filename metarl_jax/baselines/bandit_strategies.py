"""Known strategies for Bernoulli bandits, in the form of learners without meta-parameters.

A strategy keeps, for each of the E trials that run side by side, how often each arm won and lost, and scores the arms.
All take the prior of the tasks, p ~ U[0, 1]: the posterior of an arm is Beta(s + 1, f + 1), also where the method as
published has no prior. Constants are tuned, as those of RL² are: once for the nine bandits of its table.

References:
  Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016 (the comparison).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.baselines.base import Strategy, always
from metarl_jax.baselines.gittins import gittins_index
from metarl_jax.baselines.sampling import sample_beta
from metarl_jax.core.distributions import Categorical
from metarl_jax.core.types import Array, Key, PolicyOut, TimeStep
from metarl_jax.core.validation import bounded
from metarl_jax.envs.bandit import Bandit
from metarl_jax.learners.base import MetaLearner


class Belief(struct.PyTreeNode):
    """Wins and losses of each arm, `[E, k]` float32 each, and the key of later draws."""

    successes: Array
    failures: Array
    key: Key

    @property
    def pulls(self) -> Array:
        """How often each arm was pulled, `[E, k]`."""
        return self.successes + self.failures

    @property
    def mean(self) -> Array:
        """The posterior mean of each arm, `[E, k]`."""
        return (self.successes + 1.0) / (self.pulls + 2.0)

    def sample(self, key: Key, *leading: int) -> Array:
        """Draws from the posterior, `[*leading, E, k]`."""
        shape = (*leading, *self.successes.shape)
        won, lost = (jnp.broadcast_to(x, shape) for x in (self.successes, self.failures))
        return sample_beta(key, won + 1.0, lost + 1.0)


@dataclasses.dataclass(frozen=True)
class BanditStrategy(Strategy):
    """A rule that pulls the arm with the greatest score; subclasses define `scores`."""

    def scores(self, belief: Belief, key: Key, num_pulls: int) -> Array:
        """Returns the score of each arm `[E, k]`, in a trial of `num_pulls` pulls."""
        raise TypeError(f"{type(self).__name__} must define scores")

    def logits(self, scores: Array) -> Array:
        """Log-probabilities `[E, k]`: all on the best arm, and of equal ones on the first."""
        return always(jnp.argmax(scores, axis=-1), scores.shape[-1]).logits

    def make(self, env: Bandit, num_rounds: int) -> MetaLearner:
        """Returns the strategy for trials of n = `num_rounds` pulls."""
        num_arms = env.num_arms

        def begin(meta_params, memory, key: Key, num_episodes: int) -> Belief:
            del meta_params, memory
            nothing = jnp.zeros((num_episodes, num_arms), jnp.float32)
            return Belief(nothing, nothing, key)

        def act(meta_params, belief: Belief, timestep: TimeStep):
            del meta_params
            belief = observe(belief, timestep)
            key, next_key = jax.random.split(belief.key)
            logits = self.logits(self.scores(belief, key, num_rounds))
            out = PolicyOut(Categorical(logits), jnp.zeros_like(timestep.previous_reward))
            return out, belief.replace(key=next_key)

        return MetaLearner(init=lambda key: (), begin=begin, act=act)


def observe(belief: Belief, timestep: TimeStep) -> Belief:
    """Returns the belief after the last pull. At the first step there was no pull, and the previous action is all
    zeros."""
    pulled = jnp.where(timestep.valid[:, None], timestep.previous_action, 0.0)
    won = pulled * timestep.previous_reward[:, None]
    return belief.replace(successes=belief.successes + won, failures=belief.failures + pulled - won)


@dataclasses.dataclass(frozen=True)
class Greedy(BanditStrategy):
    """The greatest posterior mean."""

    name: ClassVar[str] = "greedy"

    def scores(self, belief: Belief, key: Key, num_pulls: int) -> Array:
        del key, num_pulls
        return belief.mean


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy(Greedy):
    """The greatest posterior mean, or with probability ε any arm."""

    name: ClassVar[str] = "epsilon_greedy"

    epsilon: float = bounded(0.03, above=0, at_most=1)
    """ε."""

    def logits(self, scores: Array) -> Array:
        num_arms = scores.shape[-1]
        greedy = super().logits(scores) == 0.0
        return jnp.log(self.epsilon / num_arms + (1.0 - self.epsilon) * greedy)


@dataclasses.dataclass(frozen=True)
class UCB1(BanditStrategy):
    """The greatest upper bound: mean + c √(2 ln t / m), with t pulls before and m of the arm, the prior's two included.

    With the prior, no arm has an infinite bound: fifty need not be tried in ten pulls.

    References:
      Auer, Cesa-Bianchi & Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", 2002.
    """

    name: ClassVar[str] = "ucb1"

    confidence: float = bounded(0.2, at_least=0)
    """c; 1 as published."""

    def scores(self, belief: Belief, key: Key, num_pulls: int) -> Array:
        del key, num_pulls
        total = belief.pulls.sum(axis=-1, keepdims=True)
        bonus = jnp.sqrt(2.0 * jnp.log1p(total) / (belief.pulls + 2.0))
        return belief.mean + self.confidence * bonus


@dataclasses.dataclass(frozen=True)
class Thompson(BanditStrategy):
    """The greatest draw from the posterior.

    References:
      Thompson, "On the Likelihood that One Unknown Probability Exceeds Another", 1933.
    """

    name: ClassVar[str] = "thompson"

    def scores(self, belief: Belief, key: Key, num_pulls: int) -> Array:
        del num_pulls
        return belief.sample(key)


@dataclasses.dataclass(frozen=True)
class OptimisticThompson(BanditStrategy):
    """The greatest of several draws from the posterior, or the posterior mean where that is greater.

    References:
      May, Korda, Lee & Leslie, "Optimistic Bayesian Sampling in Contextual-Bandit Problems", 2012.
    """

    name: ClassVar[str] = "optimistic_thompson"

    num_samples: int = bounded(1, at_least=1)
    """Number of draws per arm."""

    def scores(self, belief: Belief, key: Key, num_pulls: int) -> Array:
        del num_pulls
        return jnp.maximum(belief.mean, belief.sample(key, self.num_samples).max(axis=0))


@dataclasses.dataclass(frozen=True)
class Gittins(BanditStrategy):
    """The greatest Gittins index, discounted: it is optimal where rewards are discounted and pulls never end.

    References:
      Gittins, "Bandit Processes and Dynamic Allocation Indices", 1979.
    """

    name: ClassVar[str] = "gittins"

    discount: float | None = bounded(None, above=0, at_most=0.9999)
    """γ; 1 − 1/n for trials of n pulls when not given."""

    def scores(self, belief: Belief, key: Key, num_pulls: int) -> Array:
        del key
        discount = 1.0 - 1.0 / max(num_pulls, 2) if self.discount is None else self.discount
        table = jnp.asarray(gittins_index(num_pulls, discount))
        return table[belief.successes.astype(jnp.int32), belief.failures.astype(jnp.int32)]
