"""Advantage estimators, from the rewards of a trial to the weights of log-likelihoods in the policy gradient.

Credit has one of two scopes. Within the *episode*, as in MAML: each episode is judged alone, and advantages are ready
when a round ends, because the inner step needs them. Over the *trial*, as in RL²: the trial is one long episode, and an
exploratory action is credited with the rewards of later episodes. Normalisation likewise has a scope: `round` (one task
and round), `trial`, `batch` (all tasks), or `none`. An estimator is therefore three functions: one runs when a round
ends, one when a trial ends, one on the whole batch.

At a time limit, the return to go is zero where the horizon is part of the task. Where the limit merely cuts the
episode, it is bootstrapped from the value of the last observation (`AdvantageConfig.timeout`).
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from metarl_jax.core.linear_baseline import linear_feature_baseline
from metarl_jax.core.spaces import ObservationSpace, flatten
from metarl_jax.core.trees import join_leading, split_leading, standardize
from metarl_jax.core.types import Array, Transition, Trial
from metarl_jax.core.validation import bounded


@dataclasses.dataclass(frozen=True)
class AdvantageConfig:
    """How rewards become advantages."""

    discount: float = bounded(0.99, at_least=0, at_most=1)
    """Discount factor γ per step."""
    gae_lambda: float = bounded(1.0, at_least=0, at_most=1)
    """λ of generalised advantage estimation; 1 is the discounted return minus the baseline."""
    reward_scaling: float = bounded(1.0, above=0)
    """Factor of rewards before advantages and value targets are computed. Choose it so that value targets are of order
    1. Reported returns are not scaled."""
    baseline: Literal["linear", "value", "none"] = "linear"
    """`linear`: linear regression on features of observation and time, fitted to each task and round; `value`: the
    learner's value head; `none`: no baseline."""
    credit: Literal["episode", "trial"] = "episode"
    """How far back rewards are credited: `episode`, within an episode (MAML), or `trial`, across all episodes of a
    trial (RL²)."""
    training_reward: Literal["reward", "regret"] = "reward"
    """Signal that advantages are computed from: the `reward`, or the negative `regret` V*(s) − Q*(s, a) of the action,
    where the environment knows it. Both have the same optimal policy; regret has far less noise, but uses the task
    during training. Evaluation never sees it."""
    timeout: Literal["env", "terminal", "bootstrap"] = "env"
    """Return to go at the time limit of an episode that has not terminated (of a trial, with `credit=trial`): 0
    (`terminal`), or the value of the last observation (`bootstrap`). `env` bootstraps where the environment declares
    that its horizon is not part of the task."""
    normalization: Literal["round", "trial", "batch", "none"] = "round"
    """Scope over which advantages are standardised to mean 0 and standard deviation 1: `round` (one task and round),
    `trial`, `batch` (all tasks), or `none`."""


PLAIN_RETURNS = AdvantageConfig(baseline="none", normalization="none")
"""Advantages equal to discounted returns, for trials that are recorded and not trained on."""


class Quantile(NamedTuple):
    """The return above which rewards no longer count, for an objective on the worst trials alone.

    Attributes:
      earned: the sum of rewards of a trial before each step, of the shape of its rewards.
      bound: the return q of a trial above which nothing counts, `[]`.
    """

    earned: Array
    bound: Array


class AdvantageEstimator(NamedTuple):
    """Functions that fill `advantage` and `target` of a record at the end of a round, of a trial, and on the batch.

    `training_reward` returns the training reward of each step, scaled but not discounted, and `episode_training_reward`
    its discounted sum over an episode. `up_to_quantile` returns the advantages of a trial whose training rewards count
    only until their sum reaches the quantile. `uses_regret` says that training rewards are negative regrets,
    `bootstraps` that the return to go at a time limit is bootstrapped, and `within_episodes` that credit ends with an
    episode.
    """

    on_round_end: Callable[
        [Transition, Array | None], Transition
    ]  # [T, E], value after the last step [E]
    on_trial_end: Callable[[Trial], Trial]  # [K, T, E]
    on_batch: Callable[[Trial], Trial]  # [N, K, T, E]
    training_reward: Callable[[Transition], Array]  # of any axes
    episode_training_reward: Callable[[Transition], Array]  # [T, E] to [E]
    up_to_quantile: Callable[[Trial, Quantile], Array]  # [K, T, E]
    uses_regret: bool
    bootstraps: bool
    within_episodes: bool


def gae(
    reward: Array,
    value: Array,
    valid: Array,
    discount: float | Array,
    gae_lambda: float | Array,
    quantile: Quantile | None = None,
    last_value: Array | None = None,
    is_last: Array | None = None,
) -> Array:
    """Generalised advantage estimation over the leading axis, skipping invalid steps.

    δ_t = r_t + γ v_{t⁺} − v_t and A_t = δ_t + γλ A_{t⁺}, where t⁺ is the next *valid* step. After the last one A = 0
    and v = `last_value`, or 0. Steps after a termination are invalid, so a single terminated episode is cut where it
    ended, while in a trial credit flows from one episode to the next.

    With a quantile q, and S_t what was earned before a step, δ_t = min(S_t + r_t + γ v_{t⁺}, q) − min(S_t + v_t, q) is
    the change of what the trial is expected to earn, as far as that is below q. For γ = λ = 1 the advantage is
    min(R, q) for the return R of the trial, less a baseline that depends on what came before the step alone.

    Args:
      reward, value, valid: `[T, ...]`.
      discount: γ.
      gae_lambda: λ.
      quantile: None where all rewards count.
      last_value: `[...]`, the value of what follows the last step; 0 when not given.
      is_last: `[T, ...]`, steps after which credit is cut, as at the end of an episode within a sequence; none when not
        given.

    Returns:
      Advantages `[T, ...]`, zero on invalid steps.

    References:
      Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", ICLR 2016.
    """
    chex.assert_equal_shape([reward, value, valid])

    def change(reward, value, next_value, earned):
        whole = reward + discount * next_value - value
        if quantile is None:
            return whole
        before, after = earned + value, earned + reward + discount * next_value
        part = jnp.minimum(after, quantile.bound) - jnp.minimum(before, quantile.bound)
        # A sum of many rewards is coarser than one.
        return jnp.where(jnp.maximum(before, after) <= quantile.bound, whole, part)

    def backwards(carry, step):
        next_value, next_advantage = carry
        reward, value, valid, cut, earned = step
        if cut is not None:
            next_value = jnp.where(cut, 0.0, next_value)
            next_advantage = jnp.where(cut, 0.0, next_advantage)
        delta = change(reward, value, next_value, 0.0 if earned is None else earned)
        advantage = delta + discount * gae_lambda * next_advantage
        carry = jnp.where(valid, value, next_value), jnp.where(valid, advantage, next_advantage)
        return carry, jnp.where(valid, advantage, 0.0)

    zeros = jnp.zeros_like(value[0])
    end = zeros if last_value is None else last_value, zeros
    steps = reward, value, valid, is_last, None if quantile is None else quantile.earned
    unroll = 4 if isinstance(reward.shape[0], int) else 1  # a scan of any length is not unrolled
    _, advantage = jax.lax.scan(backwards, end, steps, reverse=True, unroll=unroll)
    return advantage


def discounted_returns(reward: Array, valid: Array, discount: float | Array) -> Array:
    """G_t = Σ_{s ≥ t} γ^{s−t} r_s over the leading axis of `[T, ...]`, zero on invalid steps."""
    return gae(reward, jnp.zeros_like(reward), valid, discount, 1.0)


def make_estimator(
    config: AdvantageConfig,
    observation_space: ObservationSpace | None = None,
    *,
    horizon_is_task: bool = True,
    by_steps: bool = False,
) -> AdvantageEstimator:
    """Builds the estimator; `config.validate` checks that the options fit together.

    Args:
      config: the options.
      observation_space: of the observations that a linear baseline reads; those are vectors when not given.
      horizon_is_task: whether nothing can be earned after the last step (`TaskDistribution.horizon_is_task`).
      by_steps: whether episodes follow one another within a round.
    """
    bootstraps = config.timeout == "bootstrap" or (
        config.timeout == "env"
        and not horizon_is_task
        and config.baseline == "value"
        and not (by_steps and config.credit == "episode")
    )

    def training_reward(rollout: Transition) -> Array:
        return config.reward_scaling * rollout.training_reward

    def baseline(rollout: Transition) -> Array:
        if config.baseline == "value":
            return rollout.policy.value
        if config.baseline == "none":
            return jnp.zeros_like(rollout.reward)
        valid, observation = rollout.timestep.valid, rollout.timestep.observation
        if observation_space is not None:
            observation = flatten(observation_space, observation)
        returns = discounted_returns(training_reward(rollout), valid, config.discount)
        return linear_feature_baseline(observation, returns, valid)

    def estimate(
        rollout: Transition,
        quantile: Quantile | None,
        last_value: Array | None,
        is_last: Array | None = None,
    ) -> Transition:
        value, valid = baseline(rollout), rollout.timestep.valid
        scopes = config.discount, config.gae_lambda
        ends = last_value, is_last
        advantage = gae(training_reward(rollout), value, valid, *scopes, quantile, *ends)
        return rollout.replace(advantage=advantage, target=advantage + value)

    def on_round_end(
        rollout: Transition, last_value: Array | None = None, quantile: Quantile | None = None
    ) -> Transition:
        if config.credit == "episode":
            is_last = None
            if by_steps:
                is_first = rollout.timestep.is_first
                is_last = jnp.concatenate([is_first[1:], jnp.zeros_like(is_first[:1])])
            rollout = estimate(rollout, quantile, last_value, is_last)
        return _normalized(rollout) if config.normalization == "round" else rollout

    def on_trial_end(trial: Trial, quantile: Quantile | None = None) -> Trial:
        rollout = trial.rollout
        if config.credit == "trial":
            num_steps = rollout.reward.shape[1]
            if quantile is not None:
                quantile = quantile._replace(earned=join_leading(quantile.earned))
            last_value = None if trial.last_value is None else trial.last_value[-1]
            joined = estimate(join_leading(rollout), quantile, last_value)
            rollout = split_leading(joined, num_steps)
        if config.normalization == "trial":
            rollout = _normalized(rollout)
        return trial.replace(rollout=rollout)

    def on_batch(trials: Trial) -> Trial:
        if config.normalization != "batch":
            return trials
        return trials.replace(rollout=_normalized(trials.rollout))

    def up_to_quantile(trial: Trial, quantile: Quantile) -> Array:
        def of_round(rollout: Transition, earned: Array, last_value: Array | None) -> Transition:
            return on_round_end(rollout, last_value, Quantile(earned, quantile.bound))

        rollout = jax.vmap(of_round)(trial.rollout, quantile.earned, trial.last_value)
        return on_trial_end(trial.replace(rollout=rollout), quantile).rollout.advantage

    def episode_training_reward(rollout: Transition) -> Array:
        valid = rollout.timestep.valid
        return discounted_returns(training_reward(rollout), valid, config.discount)[0]

    return AdvantageEstimator(
        on_round_end,
        on_trial_end,
        on_batch,
        training_reward,
        episode_training_reward,
        up_to_quantile,
        config.training_reward == "regret",
        bootstraps,
        config.credit == "episode",
    )


def _normalized(rollout: Transition) -> Transition:
    valid = rollout.timestep.valid
    scale = jnp.max(jnp.where(valid, jnp.abs(rollout.target), 0.0))
    return rollout.replace(advantage=standardize(rollout.advantage, valid, scale))
