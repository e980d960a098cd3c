"""The replay of a recorded trial with other meta-parameters, through which all gradients run.

Gradients never pass through the simulator: `metarl_jax.program.rollout.collect_trial` records, and `replay_trial` runs
the learner's adaptation over the record. With the same meta-parameters it reproduces the recorded answers.
"""

import jax
import jax.numpy as jnp

from metarl_jax.core.trees import join_leading, split_leading
from metarl_jax.core.types import (
    InnerState,
    Memory,
    MetaParams,
    PolicyOut,
    Transition,
    Trial,
)
from metarl_jax.learners.base import MetaLearner, unroll


def replay_trial(
    learner: MetaLearner,
    meta_params: MetaParams,
    memory: Memory,
    trial: Trial,
    first_round: int = 0,
) -> PolicyOut:
    """Runs the learner with these meta-parameters over a recorded trial, and returns its answers.

    Differentiable in `meta_params`, through every adaptation in the trial, or in the segment of one that was recorded.

    Args:
      first_round: the first round whose answers are returned. The learner still runs through earlier rounds, but one
        that adapts between rounds does not compute its answers there.

    Returns:
      The answers `[K − first_round, T, E]`.
    """
    timesteps = trial.rollout.timestep
    num_rounds, num_steps, num_episodes = timesteps.valid.shape
    if trial.begun is None:
        inner_state = learner.begin(meta_params, memory, trial.key, num_episodes)
    else:
        inner_state = trial.begun.inner_state
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
    """Returns the inner state after adaptation on all K rounds of a trial, for learners that adapt between rounds.
    `collect_trial` leaves out the last adaptation; methods such as Reptile, which move the meta-parameters towards the
    adapted ones, need it.
    """
    timesteps = trial.rollout.timestep
    inner_state = learner.begin(meta_params, memory, trial.key, timesteps.valid.shape[2])

    def run_round(inner_state: InnerState, rollout: Transition):
        _, inner_state = unroll(learner, meta_params, inner_state, rollout.timestep)
        if learner.adapt is not None:
            inner_state = learner.adapt(meta_params, inner_state, rollout)
        return inner_state, None

    inner_state, _ = jax.lax.scan(run_round, inner_state, trial.rollout)
    return inner_state
