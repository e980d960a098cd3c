"""The steps of a trial by steps: when an episode ends, the next begins at once. A trial may be recorded in segments,
between which the meta-parameters are updated, while the trial goes on.

References:
  Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", NeurIPS 2024, whose RL²
    updates several times within a trial.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.spaces import blank
from metarl_jax.core.target import unrolled_steps
from metarl_jax.core.trees import where_leading
from metarl_jax.core.types import Array, InnerState, Key, PyTree
from metarl_jax.envs.base import EnvState
from metarl_jax.program.simulation import (
    Carried,
    Recorded,
    Simulation,
    closed,
    closing,
    first_carried,
    reduce_metrics,
    round_keys,
    take_step,
)

STEPS_PER_START = 8
"""A segment of S steps prepares the initial states of S/8 + 1 episodes for each environment. One that needs more waits
for the next segment. Drawing as many as could ever be needed, one a step, would cost more than the steps."""


class Live(struct.PyTreeNode):
    """A trial by steps that is under way in one task.

    Attributes:
      task: the task.
      carried: by the learner.
      state: of the E environments. Where `time` is 0, the next segment draws it.
      num_finished: `[E]` int32, episodes that have come to their end.
      time: `[E]` int32, steps of the episode that is under way.
      episode_return: `[E]`, its rewards until now.
      num_steps: `[]` int32, steps of the trial until now.
    """

    task: Any
    carried: Carried
    state: EnvState
    num_finished: Array
    time: Array
    episode_return: Array
    num_steps: Array


class LiveTrials(struct.PyTreeNode):
    """The trials of all tasks, between two meta-steps.

    Attributes:
      key: from which all draws of these trials descend.
      trials: `Live` of `[N, ...]`.
    """

    key: Key
    trials: Live


def begin_live(simulation: Simulation, inner_state: InnerState, num_episodes: int) -> Live:
    """Returns a trial before its first step."""
    env = simulation.env
    shapes = jax.eval_shape(lambda: simulation.reset(make_key(0)))
    zeros = jnp.zeros(num_episodes, jnp.int32)
    return Live(
        task=simulation.task,
        carried=first_carried(
            env, inner_state, blank(env.observation_space, num_episodes), num_episodes
        ),
        state=jax.tree.map(lambda x: _blank(x, num_episodes), shapes),
        num_finished=zeros,
        time=zeros,
        episode_return=jnp.zeros(num_episodes),
        num_steps=jnp.zeros((), jnp.int32),
    )


def collect_steps(
    simulation: Simulation,
    live: Live,
    key: Key,
    *,
    num_rounds: int,
    num_steps: int,
    goes_on: bool,
    stochastic: bool,
) -> tuple[Live, Recorded]:
    """Runs steps of E parallel environments, each of which begins its next episode as soon as one has ended.

    Args:
      live: the trial until now.
      key: of the trial, the same in each of its segments.
      num_rounds: K, the most episodes of a trial; steps after the last of them are invalid.
      num_steps: S, the steps to take now.
      goes_on: whether another segment follows. `Recorded.last` is then its first timestep.
      stochastic: whether actions are samples.

    Returns:
      The trial after these steps, and their record `[S, E]`.
    """
    length, each = simulation.env.episode_length, jnp.arange(live.time.size)
    num_starts = min(num_rounds + 1, num_steps // STEPS_PER_START + 2) if goes_on else num_rounds
    most = num_starts - 1 if goes_on else num_starts  # The last one may have to be valued.
    begins = live.time == 0
    starts = _draw_starts(simulation, key, live.num_finished + ~begins, num_starts)
    state = where_leading(begins, jax.tree.map(lambda x: x[0], starts), live.state)
    is_new = jnp.broadcast_to(live.num_steps == 0, begins.shape)
    outcome = where_leading(is_new, state.observation, live.carried.outcome)
    carried = live.carried.replace(outcome=outcome)
    by_step = by_episode = None
    if stochastic:
        draw = partial(_draw_noise, simulation, carried, state, key)
        # A whole trial has the noise of a trial by episodes; a segment does not know which episodes it will see.
        if goes_on:
            by_step = draw(live.num_steps + jnp.arange(num_steps))
        else:
            by_episode = jax.vmap(lambda k: draw(k * length + jnp.arange(length)))(
                jnp.arange(num_rounds)
            )

    def step(carry, noise):
        state, carried, episode, time, earned, num_begun = carry
        valid = (episode < num_rounds) & (num_begun <= most)
        timestep = simulation.timestep(state, carried, time == 0, valid)
        if by_episode is not None:
            current = jnp.minimum(episode, num_rounds - 1)
            noise = jax.tree.map(lambda x: x[current, time, each], by_episode)
        next_state, carried, recorded = take_step(simulation, state, carried, timestep, noise)
        ended = valid & (next_state.done | (time + 1 == length))
        state = where_leading(valid & ~ended, next_state, state)
        following = jnp.minimum(num_begun, num_starts - 1)
        start = jax.tree.map(lambda x: x[following, each], starts)
        state = where_leading(ended, start, state)
        time = jnp.where(valid & ~ended, time + 1, 0)
        # Not `next_state.reward`, which may be anything after the end.
        earned = jnp.where(ended, 0.0, earned + recorded[0][3])
        carry = state, carried, episode + ended, time, earned, num_begun + ended
        return carry, (recorded, episode)

    begun = state, carried, live.num_finished, live.time, live.episode_return, begins.astype(int)
    carry, ((record, metrics, kept), episode_index) = jax.lax.scan(
        step, begun, by_step, length=num_steps, unroll=unrolled_steps()
    )
    state, carried, num_finished, time, earned, _ = carry
    rollout = closed(record)
    metrics = reduce_metrics(metrics, rollout.timestep.valid, episode_index, num_rounds)
    is_left = num_finished < num_rounds
    if goes_on:
        last = simulation.timestep(state, carried, time == 0, is_left)
    else:
        # An episode that is over is no state to value; one that was interrupted is.
        last = closing(simulation, state, carried, (time > 0) & is_left)
    recorded = Recorded(rollout, last, metrics, episode_index, num_finished, **kept)
    after = Live(live.task, carried, state, num_finished, time, earned, live.num_steps + num_steps)
    return after, recorded


def _draw_starts(simulation: Simulation, key: Key, first: Array, count: int) -> EnvState:
    """Draws initial states `[count, E, ...]`: of the episodes from `first` `[E]` on, each from the key of its index."""

    def start(index: Array, environment: Array) -> EnvState:
        reset_key, _ = round_keys(key, index)
        return simulation.reset(jax.random.fold_in(reset_key, environment))

    return jax.vmap(lambda offset: jax.vmap(start)(first + offset, jnp.arange(first.size)))(
        jnp.arange(count)
    )


def _draw_noise(
    simulation: Simulation, carried: Carried, state: EnvState, key: Key, steps: Array
) -> PyTree:
    """Draws the noise of actions `[S, E, ...]` at these steps `[S]` of a trial, each from the key of its index; step
    k T + t has that of step t of round k in a trial by episodes."""
    length = simulation.env.episode_length

    def step_key(index: Array) -> Key:
        _, action_key = round_keys(key, index // length)
        return jax.random.fold_in(action_key, index % length)

    first = jnp.ones(state.reward.shape, bool)
    timestep = simulation.timestep(state, carried, first, first)
    out, _ = jax.eval_shape(simulation.act, carried.inner_state, timestep)
    return jax.vmap(out.distribution.noise)(jax.vmap(step_key)(steps))


def _blank(shape: jax.ShapeDtypeStruct, num_episodes: int) -> Array:
    """Returns an array `[E, ...]` of zeros, or of keys."""
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(make_key(0), (num_episodes, *shape.shape))
    return jnp.zeros((num_episodes, *shape.shape), shape.dtype)
