"""A trial, collected once and replayed (`metarl_jax.program.replay`) as often as the outer method likes.

Gradients never pass through the simulator: `collect_trial` records, and `replay_trial` runs the learner's adaptation
over the record with other meta-parameters. With the same meta-parameters it reproduces the recorded answers.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core import normalize
from metarl_jax.core.advantages import AdvantageEstimator
from metarl_jax.core.types import (
    Array,
    Key,
    MetaState,
    PyTree,
    SegmentStart,
    TimeStep,
    Transition,
    Trial,
)
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.told_task import describe_task
from metarl_jax.learners.base import MetaLearner
from metarl_jax.program.segments import Live, begin_live, collect_steps
from metarl_jax.program.simulation import (
    Carried,
    Recorded,
    Simulation,
    begin_trial,
    collect_round,
    make_act,
    normalized,
)


class Round(struct.PyTreeNode):
    """One recorded round `[T, E]`, with the values that are known when it ends."""

    recorded: Recorded
    statistics: normalize.RunningStatistics | None
    last_value: Array | None


def collect_trial(
    env: TaskDistribution,
    learner: MetaLearner,
    advantages: AdvantageEstimator,
    meta: MetaState,
    task: Any,
    key: Key,
    *,
    num_rounds: int,
    num_episodes: int,
    num_steps: int | None = None,
    deterministic: bool = False,
    record_states: bool = False,
) -> Trial:
    """Runs the learner in one task for one trial and records every step.

    By episodes: E episodes are reset at the boundary of each of K rounds. An episode that terminates early is masked
    until then: its steps are invalid, and show the observation of its last valid step. The learner adapts after every
    round but the last.

    By steps: see `metarl_jax.program.segments.collect_steps`.

    Args:
      meta: the learned state with which the learner begins the task.
      num_rounds: K; in a trial by steps, the largest number of episodes.
      num_episodes: E.
      num_steps: S, the steps of a trial by steps; when not given, the trial is counted in episodes.
      deterministic: act by the mode of the policy instead of a sample. A learner that adapts between rounds adapts to
        sampled rounds that are not recorded: a mode shows it no better action. Recorded is, of each round, another by
        the mode from the same starts, so that this record is one to measure and not one to replay.
      record_states: also record the states of the environment, and what the learner says of itself.

    Returns:
      The record, `[K, T, E]`, or `[1, S, E]` by steps.
    """
    begin_key, rounds_key = jax.random.split(key)
    inner_state = learner.begin(meta.params, meta.memory, begin_key, num_episodes)
    simulation = _simulate(env, learner, advantages, meta, task, record_states=record_states)
    note = partial(_note, learner, advantages, meta)

    def as_trial(collected: Round) -> Trial:
        told = _told(env, learner, task)
        return advantages.on_trial_end(_as_trial(collected, begin_key, num_rounds, told))

    if num_steps is not None:
        live, recorded = collect_steps(
            simulation,
            begin_live(simulation, inner_state, num_episodes),
            rounds_key,
            num_rounds=num_rounds,
            num_steps=num_steps,
            goes_on=False,
            stochastic=not deterministic,
        )
        return as_trial(note(live.carried, recorded))
    explores = learner.adapt is not None
    carried, starts, noise = begin_trial(
        simulation,
        inner_state,
        rounds_key,
        num_rounds,
        num_episodes,
        stochastic=explores or not deterministic,
    )

    def collect(carried: Carried, start: EnvState, noise: PyTree):
        carried, recorded = collect_round(simulation, carried, start, noise)
        return carried, note(carried, recorded)

    def run_round(begun: Carried, inputs):
        index, start, noise = inputs
        carried, collected = collect(begun, start, noise)
        if (adapt := learner.adapt) is not None:
            rollout = collected.recorded.rollout
            inner_state = jax.lax.cond(
                index < num_rounds - 1,
                lambda state: adapt(meta.params, state, rollout),
                lambda state: state,
                carried.inner_state,
            )
            carried = carried.replace(inner_state=inner_state)
        if deterministic and explores:
            _, collected = collect(begun, start, None)
        return carried, collected

    _, collected = jax.lax.scan(run_round, carried, (jnp.arange(num_rounds), starts, noise))
    return as_trial(collected)


def begin_segments(
    env: TaskDistribution,
    learner: MetaLearner,
    advantages: AdvantageEstimator,
    meta: MetaState,
    task: Any,
    key: Key,
    num_episodes: int,
) -> Live:
    """Begins a trial by steps in one task, which `collect_segment` records with the same key."""
    begin_key, _ = jax.random.split(key)
    inner_state = learner.begin(meta.params, meta.memory, begin_key, num_episodes)
    return begin_live(_simulate(env, learner, advantages, meta, task), inner_state, num_episodes)


def collect_segment(
    env: TaskDistribution,
    learner: MetaLearner,
    advantages: AdvantageEstimator,
    meta: MetaState,
    live: Live,
    key: Key,
    *,
    num_rounds: int,
    num_steps: int,
    num_segments: int,
) -> Trial:
    """Runs the learner for the next segment of a trial by steps, and records it.

    What is earned after the segment is the value of its last state, until the last segment of the trial, which ends as
    a whole trial does.

    Args:
      meta: the learned state, which may have been updated since the segment before.
      live: the trial until now.
      num_rounds: K, the most episodes of the trial.
      num_steps: S, the steps of the segment.
      num_segments: of the trial.

    Returns:
      The record `[1, S, E]`, with `begun` and `under_way`.
    """
    begin_key, rounds_key = jax.random.split(key)
    after, recorded = collect_steps(
        _simulate(env, learner, advantages, meta, live.task),
        live,
        rounds_key,
        num_rounds=num_rounds,
        num_steps=num_steps,
        goes_on=True,
        stochastic=True,
    )
    goes_on = after.num_steps < num_steps * num_segments
    collected = _note(learner, advantages, meta, after.carried, recorded, goes_on)
    told = _told(env, learner, live.task)
    trial = _as_trial(collected, begin_key, num_rounds, told).replace(
        begun=SegmentStart(live.carried.inner_state, live.num_finished, live.episode_return),
        under_way=after,
    )
    return advantages.on_trial_end(trial)


def _told(env: TaskDistribution, learner: MetaLearner, task: Any) -> Array | None:
    """Returns `Trial.task`: the task `[G]`, for a learner whose loss reads it."""
    return describe_task(env, task) if learner.predicts_task else None


def _simulate(
    env: TaskDistribution,
    learner: MetaLearner,
    advantages: AdvantageEstimator,
    meta: MetaState,
    task: Any,
    *,
    record_states: bool = False,
) -> Simulation:
    """Returns the learner in a task."""
    return Simulation(
        env=env,
        task=task,
        act=make_act(learner, meta),
        regret=env.regret(task) if advantages.uses_regret else None,
        reads_outcome=learner.reads_outcome,
        keeps_states=record_states,
        describe=learner.describe,
    )


def _note(
    learner: MetaLearner,
    advantages: AdvantageEstimator,
    meta: MetaState,
    carried: Carried,
    recorded: Recorded,
    goes_on: Array | None = None,
) -> Round:
    """Returns a recorded round, with its statistics and the values that are known when it ends.

    Args:
      goes_on: whether the trial goes on after a segment of it, `[]`; None where this is no segment.
    """
    statistics, rollout, last = _observe(meta.normalizer, recorded)
    last_value = None
    if advantages.bootstraps or goes_on is not None:
        out, _ = learner.act(meta.params, carried.inner_state, last)
        counts = last.valid
        if goes_on is not None:
            counts &= goes_on | advantages.bootstraps
            counts &= ~(last.is_first & advantages.within_episodes)
        last_value = jnp.where(counts, out.value, 0.0)
    rollout = advantages.on_round_end(rollout, last_value)
    return Round(recorded.replace(rollout=rollout, last=last), statistics, last_value)


def _as_trial(collected: Round, key: Key, num_rounds: int, task: Array | None) -> Trial:
    """Returns the trial of K recorded rounds, or of the one round of a trial by steps, whose arrays lack the round
    axis."""
    recorded = collected.recorded
    by_steps = recorded.num_finished is not None

    def with_axis(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[None], tree) if by_steps else tree

    statistics = with_axis(collected.statistics)
    return Trial(
        rollout=with_axis(recorded.rollout),
        key=key,
        observation_statistics=None if statistics is None else normalize.merge(statistics),
        last=with_axis(recorded.last),
        last_value=with_axis(collected.last_value),
        metrics=recorded.metrics,
        episode_index=with_axis(recorded.episode_index),
        num_finished=recorded.num_finished,
        num_rounds=num_rounds,
        env_states=with_axis(recorded.env_states),
        described=with_axis(recorded.described),
        task=task,
    )


def _observe(
    statistics: normalize.RunningStatistics | None, recorded: Recorded
) -> tuple[normalize.RunningStatistics | None, Transition, TimeStep]:
    """Returns the statistics of the raw observations of a round, and the round and the timestep after it,
    normalised."""
    rollout, last = recorded.rollout, recorded.last
    if statistics is None:
        return None, rollout, last
    timestep = rollout.timestep
    entries = normalize.float_entries(timestep.observation, timestep.valid.ndim)
    seen = normalize.from_batch(entries, timestep.valid)
    rollout = rollout.replace(timestep=normalized(statistics, timestep))
    return seen, rollout, normalized(statistics, last)
