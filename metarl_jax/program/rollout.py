"""A trial, collected once and replayed as often as the outer method likes.

Gradients never pass through the simulator: `collect_trial` records, and `replay_trial` runs the learner's adaptation
over the record with other meta-parameters. With the same ones it answers what was recorded.
"""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from metarl_jax.core import normalize
from metarl_jax.core.advantages import AdvantageEstimator
from metarl_jax.core.spaces import encode_action, encoded_action_size
from metarl_jax.core.trees import join_leading, split_leading, where_leading
from metarl_jax.core.types import (
    InnerState,
    Key,
    Memory,
    MetaParams,
    MetaState,
    PolicyOut,
    TimeStep,
    Transition,
    Trial,
)
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.learners.base import MetaLearner, unroll


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
    deterministic: bool = False,
) -> Trial:
    """Lets the learner live through one trial in one task.

    Episodes are reset at the boundary of a round. An episode that terminates early is absorbed until then: its steps
    are invalid, and show the observation of its last valid step. The learner adapts after every round but the last.

    Args:
      meta: what the learner brings into the task.
      num_rounds: K.
      num_episodes: E.
      deterministic: act by the mode of the policy instead of a sample. A learner that adapts between rounds adapts to
        sampled rounds that are not recorded: a mode shows it no better action. Recorded is, of each round, another by
        the mode from the same starts, so that this record is one to measure and not one to replay.

    Returns:
      The record, `[K, T, E]`.
    """
    begin_key, rounds_key = jax.random.split(key)
    meta_params, normalizer = meta.params, meta.normalizer
    inner_state = learner.begin(meta_params, meta.memory, begin_key, num_episodes)
    no_action = jnp.zeros((num_episodes, encoded_action_size(env.action_space)), jnp.float32)
    carry = inner_state, no_action, jnp.zeros(num_episodes, jnp.float32)

    explores = learner.adapt is not None
    regret = env.regret(task) if advantages.uses_regret else None
    act = partial(_act, learner, meta_params, normalizer)
    starts, noise = _sample_noise(
        env, act, task, carry, rounds_key, num_rounds, stochastic=explores or not deterministic
    )

    def live(carry, start, noise):
        carry, raw = _collect_round(env, act, task, regret, carry, start, noise)
        statistics, rollout = _observe(normalizer, raw)
        return carry, statistics, advantages.on_round_end(rollout)

    def round_(begun, inputs):
        index, start, noise = inputs
        carry, statistics, rollout = live(begun, start, noise)
        inner_state, *previous = carry
        if (adapt := learner.adapt) is not None:
            inner_state = jax.lax.cond(
                index < num_rounds - 1,
                lambda state: adapt(meta_params, state, rollout),
                lambda state: state,
                inner_state,
            )
        if deterministic and explores:
            _, statistics, rollout = live(begun, start, None)
        return (inner_state, *previous), (rollout, statistics)

    inputs = jnp.arange(num_rounds), starts, noise
    _, (rollout, statistics) = jax.lax.scan(round_, carry, inputs)
    if statistics is not None:
        statistics = normalize.merge(statistics)
    return advantages.on_trial_end(Trial(rollout, begin_key, statistics))


def replay_trial(
    learner: MetaLearner,
    meta_params: MetaParams,
    memory: Memory,
    trial: Trial,
    first_round: int = 0,
) -> PolicyOut:
    """What the learner with these meta-parameters would have answered, had it seen what was recorded.

    Differentiable in `meta_params`, through every adaptation in the trial.

    Args:
      first_round: the first round whose answers are wanted. Those before are lived through all the same, but a
        learner that adapts need not answer in them.

    Returns:
      The answers `[K − first_round, T, E]`.
    """
    timesteps = trial.rollout.timestep
    num_rounds, num_steps, num_episodes = timesteps.valid.shape
    inner_state = learner.begin(meta_params, memory, trial.key, num_episodes)
    if learner.adapt is None:
        out, _ = unroll(learner, meta_params, inner_state, join_leading(timesteps))
        return jax.tree.map(lambda x: x[first_round:], split_leading(out, num_steps))

    adapt = learner.adapt

    def answer_and_adapt(inner_state: InnerState, rollout: Transition):
        out, inner_state = unroll(learner, meta_params, inner_state, rollout.timestep)
        return adapt(meta_params, inner_state, rollout), out

    def only_adapt(inner_state: InnerState, rollout: Transition):
        # An answer that left this scan unused would still be differentiated.
        return answer_and_adapt(inner_state, rollout)[0], None

    def rounds(start: int, stop: int):
        return jax.tree.map(lambda x: x[start:stop], trial.rollout)

    # Under `jax.disable_jit()` a scan over nothing is an error.
    if first_round > 0:
        inner_state, _ = jax.lax.scan(only_adapt, inner_state, rounds(0, first_round))
    answers = []
    if first_round < num_rounds - 1:
        inner_state, out = jax.lax.scan(
            answer_and_adapt, inner_state, rounds(first_round, num_rounds - 1)
        )
        answers.append(out)
    last_timesteps = jax.tree.map(lambda x: x[-1], timesteps)
    last_out, _ = unroll(learner, meta_params, inner_state, last_timesteps)
    answers.append(jax.tree.map(lambda x: x[None], last_out))
    return jax.tree.map(lambda *outs: jnp.concatenate(outs), *answers)


def final_inner_state(
    learner: MetaLearner, meta_params: MetaParams, memory: Memory, trial: Trial
) -> InnerState:
    """The inner state after all K rounds of a trial, the last included.

    For learners that adapt between rounds. `collect_trial` has no use for the last adaptation; a method that moves
    the meta-parameters towards where adaptation leads, as Reptile does, has.
    """
    timesteps = trial.rollout.timestep
    inner_state = learner.begin(meta_params, memory, trial.key, timesteps.valid.shape[2])

    def live_through(inner_state: InnerState, rollout: Transition):
        _, inner_state = unroll(learner, meta_params, inner_state, rollout.timestep)
        if learner.adapt is not None:
            inner_state = learner.adapt(meta_params, inner_state, rollout)
        return inner_state, None

    inner_state, _ = jax.lax.scan(live_through, inner_state, trial.rollout)
    return inner_state


def _act(learner, meta_params, normalizer, inner_state, timestep: TimeStep):
    """The learner's answer to a timestep whose observation is raw."""
    if normalizer is not None:
        observation = normalize.normalize(normalizer, timestep.observation)
        timestep = timestep.replace(observation=observation)
    return learner.act(meta_params, inner_state, timestep)


def _sample_noise(env, act, task, carry, key, num_rounds: int, *, stochastic: bool):
    """All that is random in a trial, drawn at once: where its episodes start, and the noise of its actions.

    A draw within the step scan would be a dozen small kernels at every step, which cost more than a small policy does.

    Returns:
      The first states `[K, E, ...]`, and the noise `[K, T, ...]` from which distributions over actions make samples, or
      None where actions are not to be samples.
    """
    inner_state, previous_action, previous_reward = carry
    num_episodes = previous_reward.shape[0]

    def round_keys(index):
        reset_key, action_key = jax.random.split(jax.random.fold_in(key, index))
        reset_keys = jax.random.split(reset_key, num_episodes)
        return reset_keys, jax.random.split(action_key, env.episode_length)

    reset_keys, action_keys = jax.vmap(round_keys)(jnp.arange(num_rounds))
    reset = jax.vmap(env.reset, in_axes=(None, 0))
    starts: EnvState = jax.vmap(reset, in_axes=(None, 0))(task, reset_keys)
    _check_env_state(env, starts, (num_rounds, num_episodes))
    if not stochastic:
        return starts, None
    first = jnp.ones(num_episodes, bool)
    timestep = TimeStep(starts.observation[0], previous_action, previous_reward, first, first)
    out, _ = jax.eval_shape(act, inner_state, timestep)
    return starts, jax.vmap(jax.vmap(out.distribution.noise))(action_keys)


def _collect_round(env, act, task, regret, carry, start: EnvState, noise):
    """One round of E episodes: the carry after it, and the transitions `[T, E]` with raw observations."""
    inner_state, previous_action, previous_reward = carry
    num_episodes = previous_reward.shape[0]
    env_step = jax.vmap(env.step, in_axes=(None, 0, 0))

    def step(carry, inputs):
        env_state, inner_state, previous_action, previous_reward, valid = carry
        is_first, noise = inputs
        timestep = TimeStep(
            observation=env_state.observation,
            previous_action=previous_action,
            previous_reward=previous_reward,
            is_first=jnp.full_like(valid, is_first),
            valid=valid,
        )
        out, inner_state = act(inner_state, timestep)
        distribution = out.distribution
        action = distribution.mode() if noise is None else distribution.transform(noise)
        next_state = env_step(task, env_state, action)
        _check_env_state(env, next_state, (num_episodes,))
        reward = jnp.where(valid, next_state.reward, 0.0)
        training_reward = reward
        if regret is not None:
            training_reward = jnp.where(valid, -jax.vmap(regret)(env_state, action), 0.0)
        # Invalid steps show the observation of the last valid one: physics that end an episode because they blow up
        # may answer NaN there, and a NaN that is masked out of a loss is a NaN in its derivative.
        alive = valid & ~next_state.done
        observation = where_leading(alive, next_state.observation, env_state.observation)
        encoded = encode_action(env.action_space, action)
        carry = (
            next_state.replace(observation=observation),
            inner_state,
            where_leading(valid, encoded, previous_action),
            jnp.where(valid, reward, previous_reward),
            alive,
        )
        return carry, (timestep, action, out, reward, training_reward)

    all_valid = jnp.ones(num_episodes, bool)
    carry = start, inner_state, previous_action, previous_reward, all_valid
    is_first = jnp.arange(env.episode_length) == 0
    carry, recorded = jax.lax.scan(step, carry, (is_first, noise))
    timestep, action, policy, reward, training_reward = recorded
    rollout = Transition(
        timestep=timestep,
        action=action,
        policy=policy,
        log_prob=policy.distribution.log_prob(action),
        reward=reward,
        training_reward=training_reward,
        advantage=jnp.zeros_like(reward),
        target=jnp.zeros_like(reward),
    )
    return carry[1:4], rollout


def _check_env_state(env: TaskDistribution, state: EnvState, leading: tuple[int, ...]) -> None:
    """Shapes and types of what a task distribution answers, while it is traced."""
    chex.assert_shape(state.observation, (*leading, env.observation_size))
    chex.assert_shape([state.reward, state.done], leading)
    chex.assert_type([state.observation, state.reward, state.done], [float, float, bool])


def _observe(normalizer, rollout: Transition):
    """Statistics of the raw observations of a round, and the round with normalised ones."""
    if normalizer is None:
        return None, rollout
    timestep = rollout.timestep
    statistics = normalize.from_batch(timestep.observation, timestep.valid)
    observation = normalize.normalize(normalizer, timestep.observation)
    return statistics, rollout.replace(timestep=timestep.replace(observation=observation))
