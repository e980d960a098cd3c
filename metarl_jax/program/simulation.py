"""The steps of a round of parallel episodes: a learner acts in a simulator, and every step is recorded.

All E episodes of a round begin together and take T steps; after an early termination the remaining steps are masked.
(`metarl_jax.program.segments` is the other mode, in which the next episode begins when one has ended.)
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core import normalize
from metarl_jax.core.spaces import encode_action, encoded_action_size
from metarl_jax.core.target import unrolled_steps
from metarl_jax.core.trees import where_leading
from metarl_jax.core.types import (
    Array,
    EpisodeMetrics,
    InnerState,
    Key,
    MetaState,
    Observation,
    PolicyOut,
    PyTree,
    TimeStep,
    Transition,
    sum_by_episode,
)
from metarl_jax.envs.base import EnvState, Regret, TaskDistribution
from metarl_jax.envs.contract import canonical, canonical_mask
from metarl_jax.learners.base import Described, MetaLearner

Act = Callable[[InnerState, TimeStep], tuple[PolicyOut, InnerState]]
"""A function of the inner state and a timestep with raw observation to the answer and the next inner state."""


class Carried(struct.PyTreeNode):
    """The state that a learner carries from one round to the next.

    Attributes:
      inner_state: of the learner.
      previous_action: `[E, A]`, encoded.
      previous_reward: `[E]`.
      outcome: `[E, *]`, the raw observation that the last action led to.
    """

    inner_state: InnerState
    previous_action: Array
    previous_reward: Array
    outcome: Observation


class Simulation(NamedTuple):
    """A task and a learner in it.

    Attributes:
      env, task: the simulator.
      act: the learner's.
      regret: the regret of actions in the task, if training uses it.
      reads_outcome: whether the learner wants `TimeStep.outcome`.
      keeps_states: whether the states of the simulator are recorded, and what the learner says of itself.
      describe: the learner's.
    """

    env: TaskDistribution
    task: Any
    act: Act
    regret: Regret | None
    reads_outcome: bool
    keeps_states: bool
    describe: Callable[[PolicyOut, InnerState], Described] | None = None

    def reset(self, key: Key) -> EnvState:
        """Returns the initial state of an episode, checked and converted while tracing."""
        return canonical(self.env, self.env.reset(self.task, key), "reset")

    def step(self, state: EnvState, action: Array) -> EnvState:
        """Returns the next state of an episode, checked and converted while tracing."""
        return canonical(self.env, self.env.step(self.task, state, action), "step")

    def mask(self, state: EnvState) -> Array | None:
        """Returns the action mask `[E, A]`, or None; checked while tracing."""
        env = self.env
        return jax.vmap(lambda state: canonical_mask(env, env.action_mask(self.task, state)))(state)

    def timestep(
        self, state: EnvState, carried: Carried, is_first: Array, valid: Array
    ) -> TimeStep:
        """Returns the timestep of a state of the simulator, with raw observations."""
        return TimeStep(
            observation=state.observation,
            previous_action=carried.previous_action,
            previous_reward=carried.previous_reward,
            is_first=is_first,
            valid=valid,
            outcome=carried.outcome if self.reads_outcome else None,
            action_mask=self.mask(state),
        )


class Recorded(struct.PyTreeNode):
    """The record of the steps `[T, E]` of one round.

    Attributes:
      rollout: the transitions, with raw observations.
      last: the timestep `[E]` after the last step.
      metrics: the metrics of the environment, by episode: trees of `[E]`, or `[K, E]` by steps.
      episode_index: `[T, E]`, by steps only.
      num_finished: `[E]`, by steps only.
      env_states: `[T, E, ...]`, if requested.
      described: `[T, E, Z]` by name, if requested.
    """

    rollout: Transition
    last: TimeStep
    metrics: EpisodeMetrics
    episode_index: Array | None = None
    num_finished: Array | None = None
    env_states: PyTree = None
    described: PyTree = None


def make_act(learner: MetaLearner, meta: MetaState) -> Act:
    """Returns the learner's `act` for raw observations: it normalises them, and gives masked actions probability
    zero."""

    def act(inner_state: InnerState, timestep: TimeStep):
        seen = normalized(meta.normalizer, timestep)
        out, inner_state = learner.act(meta.params, inner_state, seen)
        return out.with_mask(timestep.action_mask), inner_state

    return act


def normalized(statistics: normalize.RunningStatistics | None, timestep: TimeStep) -> TimeStep:
    """Returns the timestep with normalised observations, if there are statistics."""
    if statistics is None:
        return timestep
    see = partial(normalize.normalize_floats, statistics, num_leading=timestep.valid.ndim)
    outcome = None if timestep.outcome is None else see(timestep.outcome)
    return timestep.replace(observation=see(timestep.observation), outcome=outcome)


def round_keys(key: Key, index: Array | int) -> tuple[Key, Key]:
    """Returns the keys of the initial states and of the actions of a round, or of an episode of a trial by steps."""
    reset_key, action_key = jax.random.split(jax.random.fold_in(key, index))
    return reset_key, action_key


def first_carried(
    env: TaskDistribution, inner_state: InnerState, outcome: Observation, num_episodes: int
) -> Carried:
    """Returns what a learner carries before the first step of a trial, where there was no action and no reward."""
    no_action = jnp.zeros((num_episodes, encoded_action_size(env.action_space)), jnp.float32)
    return Carried(inner_state, no_action, jnp.zeros(num_episodes, jnp.float32), outcome)


def begin_trial(
    simulation: Simulation,
    inner_state: InnerState,
    key: Key,
    num_rounds: int,
    num_episodes: int,
    *,
    stochastic: bool,
) -> tuple[Carried, EnvState, PyTree | None]:
    """Begins a trial, and draws all its random numbers at once: initial states, and the noise of actions. A draw within
    the step scan would be a dozen small kernels per step, which cost more than a small policy.

    Args:
      num_rounds: K.
      num_episodes: E.
      stochastic: whether actions are samples.

    Returns:
      The carried state of the first round, the initial states `[K, E, ...]`, and the noise `[K, T, ...]` from which
      distributions compute samples, or None if actions are not sampled.
    """
    env = simulation.env

    def keys(index):
        reset_key, action_key = round_keys(key, index)
        reset_keys = jax.random.split(reset_key, num_episodes)
        return reset_keys, jax.random.split(action_key, env.episode_length)

    reset_keys, action_keys = jax.vmap(keys)(jnp.arange(num_rounds))
    starts: EnvState = jax.vmap(jax.vmap(simulation.reset))(reset_keys)
    start = jax.tree.map(lambda x: x[0], starts)
    carried = first_carried(env, inner_state, start.observation, num_episodes)
    if not stochastic:
        return carried, starts, None
    first = jnp.ones(num_episodes, bool)
    timestep = simulation.timestep(start, carried, first, first)
    out, _ = jax.eval_shape(simulation.act, carried.inner_state, timestep)
    return carried, starts, jax.vmap(jax.vmap(out.distribution.noise))(action_keys)


def collect_round(
    simulation: Simulation, carried: Carried, start: EnvState, noise: PyTree | None
) -> tuple[Carried, Recorded]:
    """Runs one round of E parallel episodes of T steps, from their initial states."""

    def step(carry, inputs):
        state, carried, valid = carry
        is_first, noise = inputs
        timestep = simulation.timestep(state, carried, jnp.full_like(valid, is_first), valid)
        next_state, carried, recorded = take_step(simulation, state, carried, timestep, noise)
        alive = valid & ~next_state.done
        # Invalid steps show the observation of the last valid one: physics that end an episode because they blow up
        # may answer NaN there, and a NaN that is masked out of a loss is a NaN in its derivative.
        observation = where_leading(alive, next_state.observation, state.observation)
        return (next_state.replace(observation=observation), carried, alive), recorded

    all_valid = jnp.ones_like(start.done)
    is_first = jnp.arange(simulation.env.episode_length) == 0
    carry, (record, metrics, kept) = jax.lax.scan(
        step, (start, carried, all_valid), (is_first, noise), unroll=unrolled_steps()
    )
    rollout = closed(record)
    state, carried, alive = carry
    metrics = reduce_metrics(metrics, rollout.timestep.valid)
    last = closing(simulation, state, carried, alive)
    return carried, Recorded(rollout, last, metrics, **kept)


def take_step(
    simulation: Simulation,
    state: EnvState,
    carried: Carried,
    timestep: TimeStep,
    noise: PyTree | None,
) -> tuple[EnvState, Carried, tuple]:
    """Takes one step of E environments; returns the next simulator state, the carried state, and the record."""
    env, valid = simulation.env, timestep.valid
    out, inner_state = simulation.act(carried.inner_state, timestep)
    distribution = out.distribution
    action = distribution.mode() if noise is None else distribution.transform(noise)
    next_state: EnvState = jax.vmap(simulation.step)(state, action)
    reward = jnp.where(valid, next_state.reward, 0.0)
    training_reward = reward
    if simulation.regret is not None:
        training_reward = jnp.where(valid, -jax.vmap(simulation.regret)(state, action), 0.0)
    encoded = encode_action(env.action_space, action)
    carried = Carried(
        inner_state=inner_state,
        previous_action=where_leading(valid, encoded, carried.previous_action),
        previous_reward=jnp.where(valid, reward, carried.previous_reward),
        outcome=where_leading(
            valid, _finite_or(next_state.observation, state.observation), carried.outcome
        ),
    )
    record = timestep, action, out, reward, training_reward, valid & next_state.done
    kept = {}
    if simulation.keeps_states:
        described = simulation.describe(out, inner_state) if simulation.describe else {}
        kept = {"env_states": state, "described": described}
    return next_state, carried, (record, next_state.metrics, kept)


def closed(record: tuple) -> Transition:
    """Returns the transitions that a scan has recorded, without advantages."""
    timestep, action, policy, reward, training_reward, terminated = record
    return Transition(
        timestep=timestep,
        action=action,
        policy=policy,
        log_prob=policy.distribution.log_prob(action),
        reward=reward,
        terminated=terminated,
        training_reward=training_reward,
        advantage=jnp.zeros_like(reward),
        target=jnp.zeros_like(reward),
    )


def closing(simulation: Simulation, state: EnvState, carried: Carried, alive: Array) -> TimeStep:
    """Returns the timestep `[E]` after the last step of a round, at which no action is taken."""
    state = state.replace(observation=carried.outcome)
    return simulation.timestep(state, carried, jnp.zeros_like(alive), alive)


def _finite_or(observation: Observation, previous: Observation) -> Observation:
    """Returns the observation, with the previous value of entries that are not finite."""

    def clean(x: Array, before: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return jnp.where(jnp.isfinite(x), x, before)

    return jax.tree.map(clean, observation, previous)


def reduce_metrics(
    metrics: PyTree,
    valid: Array,
    episode_index: Array | None = None,
    num_rounds: int = 1,
) -> EpisodeMetrics:
    """Returns mean and last value in each episode of numbers `[T, E]`."""
    if not jax.tree.leaves(metrics):
        return EpisodeMetrics()
    if episode_index is None:
        last = jnp.maximum(valid.sum(axis=0) - 1, 0)
        count = jnp.maximum(valid.sum(axis=0), 1)
        each = jnp.arange(valid.shape[1])
        return EpisodeMetrics(
            mean=jax.tree.map(lambda x: jnp.where(valid, x, 0.0).sum(axis=0) / count, metrics),
            last=jax.tree.map(lambda x: x[last, each].astype(jnp.float32), metrics),
        )
    index = episode_index

    def total(x: Array) -> Array:
        return sum_by_episode(jnp.where(valid, x, 0.0)[None], index[None], num_rounds)

    count = jnp.maximum(total(jnp.ones_like(valid, jnp.float32)), 1.0)
    is_last = jnp.concatenate([index[1:] != index[:-1], jnp.ones_like(valid[:1])])
    return EpisodeMetrics(
        mean=jax.tree.map(lambda x: total(x) / count, metrics),
        last=jax.tree.map(lambda x: total(jnp.where(is_last, x, 0.0)), metrics),
    )
