"""What of the trials of a meta-batch an objective counts: the advantages of all tasks or of the worst, and the credit
of the data of inner steps."""

import jax
import jax.numpy as jnp

from metarl_jax.core.advantages import AdvantageEstimator, Quantile
from metarl_jax.core.trees import join_leading, masked_mean, split_leading, standardize
from metarl_jax.core.types import Array, Trial
from metarl_jax.outer.base import MetaBatch
from metarl_jax.outer.objective import ReplayObjective


def counted_trials(config: ReplayObjective, batch: MetaBatch, trials: Trial) -> tuple[Trial, Array]:
    """Returns trials `[N, K, T, E]` with the advantages that the objective counts, and the credit of each task
    `[N]`."""
    score = standardized_credit if config.sampling_credit == "standardized" else last_round_credit
    credit = score(batch.advantages, trials)
    trials = trials.replace(under_way=None)  # Nothing to go through minibatches with.
    if not config.is_risk_averse:
        return trials, credit
    fallen = jnp.minimum((batch.step + 1) / (config.worst_fraction_anneal_steps + 1), 1.0)
    fraction = 1.0 + (config.worst_fraction - 1.0) * fallen
    start, stop = config.counted_rounds(trials.rollout.reward.shape[1])
    counted = jax.vmap(lambda trial: trial.take_rounds(start, stop))(trials)
    training_reward = batch.advantages.training_reward(counted.rollout)
    quantile = worst_quantile(training_reward.sum(axis=(1, 2)), fraction)

    def up_to_quantile(shared: tuple[Array, Array], trial: Trial, training_reward: Array) -> Array:
        bound, fraction = shared
        in_time = join_leading(training_reward)
        earned = split_leading(jnp.cumsum(in_time, axis=0) - in_time, training_reward.shape[1])
        return batch.advantages.up_to_quantile(trial, Quantile(earned, bound)) / fraction

    shared = quantile, fraction
    found = batch.axis.map(up_to_quantile, shared, counted, training_reward, block=batch.block)
    # The rounds before are the data of inner steps, which learn from all of the reward.
    advantage = trials.rollout.advantage.at[:, start:stop].set(found)
    trials = trials.replace(rollout=trials.rollout.replace(advantage=advantage))
    return batch.advantages.on_batch(trials), credit


def worst_quantile(returns: Array, fraction: float | Array) -> Array:
    """The ⌈εn⌉-th smallest of n returns of any shape, for a fraction ε; infinite for ε = 1. `[]`"""
    ordered = jnp.sort(returns.reshape(-1))
    # A product that is an integer but for rounding shall not count one trial more.
    rank = jnp.ceil(fraction * len(ordered) - 1e-3).astype(jnp.int32)
    quantile = ordered[jnp.clip(rank - 1, 0, len(ordered) - 1)]
    return jnp.where(rank >= len(ordered), jnp.inf, quantile)


def last_round_credit(advantages: AdvantageEstimator, trials: Trial) -> Array:
    """R_i − mean_{j≠i} R_j, with R_i the mean over the episodes of the last round of task i: `[N]`.

    R is the sum of discounted, scaled training rewards, as in advantages.
    """
    last = jax.tree.map(lambda x: x[:, -1], trials.rollout)
    returns = jax.vmap(advantages.episode_training_reward)(last).mean(-1)
    num_tasks = returns.shape[0]
    others = (returns.sum() - returns) / max(num_tasks - 1, 1)
    return returns - others


def standardized_credit(advantages: AdvantageEstimator, trials: Trial) -> Array:
    """Mean over the steps of the last round of a task of its reward, standardised over all tasks and steps: `[N]`."""
    last = jax.tree.map(lambda x: x[:, -1], trials.rollout)
    valid = last.timestep.valid
    rewards = standardize(advantages.training_reward(last), valid)
    return jax.vmap(masked_mean)(rewards, valid)
