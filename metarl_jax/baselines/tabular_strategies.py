"""Known strategies for `tabular_mdp`, in the form of learners without meta-parameters.

A strategy keeps, for each of the E trials that run side by side, the posterior of transitions, Dirichlet with prior 1,
and of mean rewards, N(1, 1) observed with unit variance: the distribution from which the tasks are drawn. When an
episode begins it plans all T steps of it, by value iteration in a model that it draws or derives from the posterior. S,
A are the numbers of states and actions. Of the last step of an episode it observes the reward, but not the next state.

Constants are tuned, as those of RL² are: by the return over 10 and 50 episodes, once for both.

References:
  Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016 (the comparison).
  Osband & Van Roy, "Why is Posterior Sampling Better than Optimism for Reinforcement Learning?", ICML 2017, and
    github.com/iosband/TabulaRL (finite-horizon versions of the strategies).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.baselines.base import Strategy
from metarl_jax.baselines.sampling import sample_dirichlet
from metarl_jax.core.distributions import Categorical
from metarl_jax.core.types import Array, Key, PolicyOut, TimeStep
from metarl_jax.core.validation import bounded
from metarl_jax.envs.tabular.planning import extended_value_iteration, value_iteration
from metarl_jax.envs.tabular.random_mdps import TabularMDPs
from metarl_jax.learners.base import MetaLearner


class Posterior(struct.PyTreeNode):
    """A belief over an MDP.

    Attributes:
      transitions: `[S, A, S]`, parameters of the Dirichlet distributions.
      rewards: `[S, A]`, the sum of the rewards seen, the prior's one included.
      visits: `[S, A]`, the number of rewards in it, the precision of the mean.
    """

    transitions: Array
    rewards: Array
    visits: Array

    @property
    def transition(self) -> Array:
        """The mean of P(s' | s, a), `[S, A, S]`."""
        return self.transitions / self.transitions.sum(axis=-1, keepdims=True)

    @property
    def reward(self) -> Array:
        """The mean of r(s, a), `[S, A]`."""
        return self.rewards / self.visits

    def sample(self, key: Key) -> tuple[Array, Array]:
        """Returns a draw of P and of r."""
        transition_key, reward_key = jax.random.split(key)
        noise = jax.random.normal(reward_key, self.visits.shape)
        reward = self.reward + noise / jnp.sqrt(self.visits)
        return sample_dirichlet(transition_key, self.transitions), reward


def prior(num_states: int, num_actions: int, mean: float) -> Posterior:
    """Returns the prior: transitions ~ Dirichlet(1), mean rewards ~ N(mean, 1)."""
    one = jnp.ones((num_states, num_actions), jnp.float32)
    transitions = jnp.ones((num_states, num_actions, num_states), jnp.float32)
    return Posterior(transitions, mean * one, one)


class Inner(struct.PyTreeNode):
    """The inner state of a strategy, for E trials side by side.

    Attributes:
      posterior: arrays `[E, ...]`.
      plan: `[E, T, S, A]`, the action values of each step of the episode.
      state: `[E]` int32, where the last action was taken.
      time: `[E]` int32, steps done in the episode.
      key: of the draws to come.
    """

    posterior: Posterior
    plan: Array
    state: Array
    time: Array
    key: Key


@dataclasses.dataclass(frozen=True)
class TabularStrategy(Strategy):
    """A rule that acts greedily on action values that it plans at the start of each episode."""

    prior_mean: float = bounded(1.0)
    """Mean of the prior of mean rewards, by default that of the tasks. The published comparison uses 0."""
    epsilon: float = bounded(0.0, at_least=0, at_most=1)
    """Probability of a uniformly random action."""

    def action_values(self, posterior: Posterior, key: Key, horizon: int) -> Array:
        """Returns action values `[T, S, A]`, in one trial."""
        raise TypeError(f"{type(self).__name__} must define action_values")

    def make(self, env: TabularMDPs, num_rounds: int) -> MetaLearner:
        """Returns the strategy for trials of any number of rounds."""
        del num_rounds
        (num_states, num_actions), horizon = env.sizes, env.horizon

        def begin(meta_params, memory, key: Key, num_episodes: int) -> Inner:
            del meta_params, memory
            known = prior(num_states, num_actions, self.prior_mean)
            posterior = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_episodes, *x.shape)), known)
            nothing = jnp.zeros(num_episodes, jnp.int32)
            plan = jnp.zeros((num_episodes, horizon, num_states, num_actions), jnp.float32)
            return Inner(posterior, plan, nothing, nothing, key)

        def make_plan(inner: Inner) -> Array:
            keys = jax.random.split(inner.key, len(inner.state))
            plan = jax.vmap(lambda posterior, key: self.action_values(posterior, key, horizon))
            return plan(inner.posterior, keys)

        def act(meta_params, inner: Inner, timestep: TimeStep):
            del meta_params
            inner = observe(inner, timestep)
            begins = timestep.is_first & timestep.valid
            # All episodes of a round begin together, so that what is planned at other steps is spared.
            plan = jax.lax.cond(begins.any(), make_plan, lambda inner: inner.plan, inner)
            plan = jnp.where(begins[:, None, None, None], plan, inner.plan)
            values = plan[jnp.arange(len(plan)), inner.time, inner.state]
            # Of equal actions any: what was never tried is equal, and one plan would try only the first all episode.
            best = values == values.max(axis=-1, keepdims=True)
            best = best / best.sum(axis=-1, keepdims=True)
            policy = self.epsilon / num_actions + (1.0 - self.epsilon) * best
            logits = jnp.log(jnp.maximum(policy, 1e-30))
            out = PolicyOut(Categorical(logits), jnp.zeros_like(timestep.previous_reward))
            _, key = jax.random.split(inner.key)
            return out, inner.replace(plan=plan, key=key)

        return MetaLearner(init=lambda key: (), begin=begin, act=act)


def observe(inner: Inner, timestep: TimeStep) -> Inner:
    """Returns the posterior after the last step, and the state and time of the next one.

    At the first step of a trial there was no action, and the previous action is all zeros. The reset between two
    episodes is not counted as a transition.
    """
    posterior = inner.posterior
    num_states = posterior.transitions.shape[-1]
    state = jnp.argmax(timestep.observation, axis=-1).astype(jnp.int32)
    before = jax.nn.one_hot(inner.state, num_states)
    taken = jnp.where(timestep.valid[:, None], timestep.previous_action, 0.0)
    visited = before[:, :, None] * taken[:, None, :]
    led_to = jax.nn.one_hot(state, num_states) * ~timestep.is_first[:, None]
    posterior = Posterior(
        transitions=posterior.transitions + visited[..., None] * led_to[:, None, None, :],
        rewards=posterior.rewards + visited * timestep.previous_reward[:, None, None],
        visits=posterior.visits + visited,
    )
    time = jnp.where(timestep.is_first, 0, jnp.where(timestep.valid, inner.time + 1, inner.time))
    state = jnp.where(timestep.valid, state, inner.state)
    return inner.replace(posterior=posterior, state=state, time=time)


@dataclasses.dataclass(frozen=True)
class PSRL(TabularStrategy):
    """The best plan in an MDP drawn from the posterior.

    References:
      Osband, Russo & Van Roy, "(More) Efficient Reinforcement Learning via Posterior Sampling", 2013.
    """

    name: ClassVar[str] = "psrl"

    def action_values(self, posterior: Posterior, key: Key, horizon: int) -> Array:
        return value_iteration(*posterior.sample(key), horizon)


@dataclasses.dataclass(frozen=True)
class OPSRL(TabularStrategy):
    """The greatest of the action values of several MDPs drawn from the posterior.

    References:
      Osband & Van Roy, "Why is Posterior Sampling Better than Optimism for Reinforcement Learning?", ICML 2017.
    """

    name: ClassVar[str] = "opsrl"

    num_samples: int = bounded(10, at_least=1)
    """Number of MDPs drawn per episode."""

    def action_values(self, posterior: Posterior, key: Key, horizon: int) -> Array:
        keys = jax.random.split(key, self.num_samples)
        transition, reward = jax.vmap(posterior.sample)(keys)
        values = jax.vmap(value_iteration, (0, 0, None))(transition, reward, horizon)
        return values.max(axis=0)


@dataclasses.dataclass(frozen=True)
class UCRL2(TabularStrategy):
    """The best plan in the best MDP of a confidence set: extended value iteration, in its version for finite horizons.

    With m visits of (s, a), t steps in all and ℓ = ln(2 S A (t + 1) / δ), rewards may be c √(4 ℓ / m) greater than
    their mean, and transitions c √(4 S ℓ / m) away in ‖·‖₁.

    References:
      Jaksch, Ortner & Auer, "Near-optimal Regret Bounds for Reinforcement Learning", JMLR 2010.
    """

    name: ClassVar[str] = "ucrl2"

    scaling: float = bounded(0.05, at_least=0)
    """c; 1 as analysed."""
    delta: float = bounded(0.05, above=0, at_most=1)
    """δ, the probability that the set misses the MDP."""

    def action_values(self, posterior: Posterior, key: Key, horizon: int) -> Array:
        del key
        num_states, num_actions = posterior.visits.shape
        visits = posterior.visits - 1.0
        steps = visits.sum()
        log = jnp.log(2.0 * num_states * num_actions * (steps + 1.0) / self.delta)
        width = self.scaling * jnp.sqrt(4.0 * log / jnp.maximum(visits, 1.0))
        radius = jnp.sqrt(num_states) * width
        return extended_value_iteration(
            posterior.transition, radius, posterior.reward + width, horizon
        )


@dataclasses.dataclass(frozen=True)
class BEB(TabularStrategy):
    """The best plan in the mean MDP, where rewards are greater by β / (1 + m) with m visits, the prior's one included.

    References:
      Kolter & Ng, "Near-Bayesian Exploration in Polynomial Time", ICML 2009.
    """

    name: ClassVar[str] = "beb"

    bonus: float = bounded(1.5, at_least=0)
    """β; 2 T² as analysed."""

    def action_values(self, posterior: Posterior, key: Key, horizon: int) -> Array:
        del key
        reward = posterior.reward + self.bonus / (1.0 + posterior.visits)
        return value_iteration(posterior.transition, reward, horizon)


@dataclasses.dataclass(frozen=True)
class Greedy(TabularStrategy):
    """The best plan in the mean MDP."""

    name: ClassVar[str] = "greedy"

    def action_values(self, posterior: Posterior, key: Key, horizon: int) -> Array:
        del key
        return value_iteration(posterior.transition, posterior.reward, horizon)


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy(Greedy):
    """The best plan in the mean MDP, but with probability ε any action."""

    name: ClassVar[str] = "epsilon_greedy"

    epsilon: float = bounded(0.05, at_least=0, at_most=1)
    """Probability of a uniformly random action."""
