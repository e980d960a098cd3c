"""The objective shared by the outer methods that replay trials: policy gradient, PPO and TRPO."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.trees import masked_mean, padded_mean
from metarl_jax.core.types import (
    Array,
    Memory,
    MetaParams,
    Metrics,
    PolicyOut,
    PyTree,
    Transition,
    Trial,
)
from metarl_jax.core.validation import bounded, is_off
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.outer.base import MetaBatch, OuterConfig


@dataclasses.dataclass(frozen=True)
class ReplayObjective(OuterConfig):
    """Options of an objective on replayed trials.

    A replay evaluates the *adapted* policies of the current meta-parameters, and the gradient passes through the
    adaptation. With ρ the ratio of replayed to recorded likelihoods, one task has the loss

      −mean gain(ρ, A) − c_s (1/T) Σ_{k,t,e} gain(ρ, R − b) + c_v ½ mean (v − target)² − c_e mean f_k H
      + c_kl mean KL(recorded ‖ replayed) + c_in mean KL(recorded ‖ replayed before adaptation)

    A mean is the sum over the valid steps of the counted rounds, divided by the number K·T·E of all their steps, valid
    or not. The divisor is the same for every trajectory, so that this is the gradient of the expected return also where
    episodes end early. The mean of c_in is over the rounds before the last, and the sum of c_s over the steps of those
    rounds: it is the score of the data that the inner steps saw, weighed with the return R of the last round,
    discounted and scaled as advantages are, against that of the other tasks, b. With `sampling_credit="standardized"`
    the term is instead −c_s mean gain(ρ, r̄), with r̄ the mean over the steps of the task of the reward in the last
    round, standardised over all tasks and steps: E-MAML as in the repository jonasrothfuss/ProMP (`adj_avg_rewards` of
    `samplers/meta_sample_processor.py` and `meta_algos/trpo_maml.py`), which has c_s = 1 and counts the first round
    alone; here, all rounds before the last count. f_k is `first_round_entropy_factor` in the first round, and 1 in the
    others.

    The objective is the expected return of a trial or, with `worst_fraction` ε < 1, its conditional value at risk, for
    learners that must not fail in rare tasks: the mean of the returns R that are at most their ε-quantile q. This is
    E[min(R, q) − q]/ε + q, so that advantages are computed from the return of a trial up to q (`gae`). Where discount
    and λ are 1 and advantages are not normalised, the gradient is E[(R − q) 1(R ≤ q) ∇log π]/ε, whatever the baseline.
    Each of the E episodes side by side is a trial, in the counted rounds. The value function and the learner's own
    losses see all rewards.

    References:
      Rajeswaran et al., "EPOpt: Learning Robust Neural Network Policies Using Model Ensembles", ICLR 2017, and Tamar,
        Glassner & Mannor, "Optimizing the CVaR via Sampling", AAAI 2015, for ε.
      Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019, for c_in.
      Al-Shedivat et al., "Continuous Adaptation via Meta-Learning in Nonstationary and Competitive Environments", ICLR
        2018, and Stadie et al., "Some Considerations on Learning to Explore via Meta-Reinforcement Learning", 2018
        (E-MAML), for c_s.
    """

    rounds: Literal["last", "adapted", "all", "first"] = "last"
    """Rounds of a trial that the objective counts: `last`, `adapted` (all but the first), `all`, or `first`, which
    trains one policy for all tasks without adaptation (pretraining)."""
    sampling_correction: float = bounded(0.0, at_least=0)
    """Weight of the score-function term of the data that adaptation uses (E-MAML). With 1, the meta-gradient is
    unbiased if advantages are not normalised and either the discount is 1 or episodes have one step: policy gradients
    leave out the factor γ^t."""
    sampling_credit: Literal["return", "standardized"] = "return"
    """What that term is weighed with: the `return` of the last round against other tasks, which the policy gradient
    calls for, or the `standardized` mean reward, whose size does not depend on the environment."""
    inner_kl_coefficient: float = bounded(0.0, at_least=0)
    """Weight of KL(recorded ‖ replayed policy) in the rounds before the last (ProMP)."""
    kl_coefficient: float = bounded(0.0, at_least=0)
    """Weight of KL(recorded ‖ replayed policy) in the counted rounds."""
    entropy_coefficient: float = bounded(0.0, at_least=0)
    """Weight of the entropy of the policy in the counted rounds."""
    final_entropy_coefficient: float | None = bounded(None, at_least=0)
    """Weight of the entropy at the end of the run; constant when not given."""
    entropy_schedule: Literal["linear", "geometric"] = "linear"
    """Interpolation of the entropy weight over the run: `linear`, or `geometric`, which takes as long from 0.1 to 0.01
    as from 0.01 to 0.001."""
    first_round_entropy_factor: float = bounded(1.0, at_least=0)
    """Factor of the entropy weight in the first round of a trial, in which a learner explores. Above 1, the exploration
    policy stays random until the later rounds have learned to use what it finds."""
    value_coefficient: float = bounded(0.0, at_least=0)
    """Weight of the squared error of the learner's value function; choose 0 for learners without one."""
    worst_fraction: float = bounded(1.0, above=0, at_most=1)
    """Fraction ε of the trials of a meta-batch that the objective counts, those with the lowest returns (EPOpt); 1
    counts all."""
    worst_fraction_anneal_steps: int = bounded(0, at_least=0)
    """Meta-steps over which that fraction falls linearly from 1. Early in training, low returns carry little
    information."""

    def gain(self, ratio: Array, advantage: Array) -> Array:
        """Returns the contribution to the objective of a step with likelihood ratio ρ and advantage A."""
        return ratio * advantage

    def counted_rounds(self, num_rounds: int) -> tuple[int, int]:
        """Returns the first counted round of K, and the one after the last."""
        first = {"last": num_rounds - 1, "adapted": min(1, num_rounds - 1), "all": 0, "first": 0}
        return first[self.rounds], 1 if self.rounds == "first" else num_rounds

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        if self.rounds != "all" and not learner.needs_round_advantages:
            raise UserError(
                f"outer.rounds={self.rounds!r} does not fit learner {learner.name!r}, which reads a "
                "trial as one sequence: choose outer.rounds='all'"
            )
        if advantage.baseline == "value" and is_off(self.value_coefficient):
            raise UserError(
                f"outer.value_coefficient={self.value_coefficient} leaves advantage.baseline='value' untrained: "
                "choose 0.5 for example, or another baseline"
            )
        self._validate_entropy()
        surrogate = getattr(learner, "surrogate", None)
        if not is_off(self.sampling_correction) and surrogate != "log_likelihood":
            raise UserError(
                f"outer.sampling_correction={self.sampling_correction} counts the score of the data twice beside "
                f"learner.surrogate={surrogate!r}: choose surrogate='log_likelihood', or 0"
            )
        if self.sampling_credit != "return" and is_off(self.sampling_correction):
            raise UserError(
                f"outer.sampling_credit={self.sampling_credit!r} has no effect with outer.sampling_correction="
                f"{self.sampling_correction}: choose sampling_correction=1, or sampling_credit='return'"
            )
        if self.is_risk_averse:
            self._validate_risk(learner, advantage)
        if not is_off(self.sampling_correction) and self.rounds != "last":
            raise UserError(
                f"outer.sampling_correction={self.sampling_correction} credits earlier rounds with the return of the "
                f"last: choose outer.rounds='last' instead of {self.rounds!r}, or 0"
            )

    def _validate_risk(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        fraction = f"outer.worst_fraction={self.worst_fraction}"
        if advantage.normalization in ("round", "trial"):
            raise UserError(
                f"{fraction} does not fit advantage.normalization={advantage.normalization!r}, by which the worst "
                "tasks count as much as others: choose 'none', or 'batch' for a learner that reads trials"
            )
        if learner.needs_round_advantages and self.rounds in ("adapted", "all"):
            raise UserError(
                f"{fraction} with outer.rounds={self.rounds!r} would change the rewards that inner steps learn from: "
                "choose outer.rounds='last', or worst_fraction=1"
            )
        if not learner.needs_round_advantages and advantage.credit == "episode":
            raise UserError(
                f"{fraction} selects trials by their return, and does not fit advantage.credit='episode': choose "
                "advantage.credit='trial'"
            )

    @property
    def is_risk_averse(self) -> bool:
        """Whether `worst_fraction` is below 1, or traced, so that it may be."""
        return not (isinstance(self.worst_fraction, int | float) and self.worst_fraction == 1)

    def _validate_entropy(self) -> None:
        first, last = self.entropy_coefficient, self.final_entropy_coefficient
        if self.entropy_schedule == "geometric" and (last is None or is_off(first) or is_off(last)):
            raise UserError(
                f"outer.entropy_schedule='geometric' does not fit outer.entropy_coefficient={first} and "
                f"outer.final_entropy_coefficient={last}, which must both be above 0: choose 0.1 and 0.001 for "
                "example, or 'linear'"
            )
        factor = self.first_round_entropy_factor
        if not isinstance(factor, int | float) or factor == 1:
            return
        if self.rounds in ("last", "adapted"):
            raise UserError(
                f"outer.first_round_entropy_factor={factor} has no effect with outer.rounds={self.rounds!r}, which "
                "leaves the first round out: choose 1, or outer.rounds='all'"
            )
        if is_off(first) and (last is None or is_off(last)):
            raise UserError(
                f"outer.first_round_entropy_factor={factor} has no effect with outer.entropy_coefficient={first}: "
                "choose 1, or 0.01 for the coefficient"
            )


def task_loss(
    config: ReplayObjective,
    batch: MetaBatch,
    meta_params: MetaParams,
    memory: Memory,
    trial: Trial,
    credit: Array,
) -> tuple[Array, Metrics]:
    """Computes the loss of one task, and its parts.

    Args:
      trial: `[K, T, E]`, with the advantages that the outer objective counts (`counted_trials`).
      credit: R − b of this task, or r̄, `[]` (`last_round_credit`, `standardized_credit`).
    """
    num_rounds = trial.rollout.reward.shape[0]
    start, stop = config.counted_rounds(num_rounds)
    looks_back = not (is_off(config.inner_kl_coefficient) and is_off(config.sampling_correction))
    if not looks_back:  # later rounds would be replayed, and differentiated, for nothing
        trial = trial.take_rounds(0, stop)
    out = batch.replay(meta_params, memory, trial, 0 if looks_back else start)

    counted = take_rounds(out, trial, start, stop)
    entropy_weight = entropy_coefficient(config, batch.progress) * round_factors(config, num_rounds)
    loss, metrics = _counted_loss(config, entropy_weight[start:stop], *counted)
    if looks_back and num_rounds > 1:
        early_loss, early_metrics = _early_loss(
            config, *take_rounds(out, trial, 0, num_rounds - 1), credit
        )
        loss, metrics = loss + early_loss, metrics | early_metrics
    aux_loss, aux_metrics = batch.aux_loss(
        meta_params, memory, counted[0], trial.take_rounds(start, stop)
    )
    loss = loss + config.value_coefficient * metrics["value_loss"] + aux_loss
    return loss, metrics | aux_metrics | {"loss": loss}


def take_rounds(
    out: PolicyOut, trial: Trial, start: int, stop: int
) -> tuple[PolicyOut, Transition]:
    """Returns the replayed answers and the record of the rounds [start, stop) of a trial; the replay covers its last
    rounds."""
    num_rounds = trial.rollout.reward.shape[0]
    skipped = num_rounds - out.value.shape[0]

    def cut(tree: PyTree, offset: int) -> PyTree:
        return jax.tree.map(lambda x: x[start - offset : stop - offset], tree)

    return cut(out, skipped), cut(trial.rollout, 0)


def entropy_coefficient(config: ReplayObjective, progress: Array) -> float | Array:
    """Returns the entropy weight c_e at this fraction of a run."""
    first, last = config.entropy_coefficient, config.final_entropy_coefficient
    if last is None:
        return first
    if config.entropy_schedule == "geometric":
        # optax.exponential_decay asks for the value of the ratio, which a sweep may vary.
        return first * (last / first) ** progress
    return jnp.asarray(optax.linear_schedule(first, last, 1)(progress))


def round_factors(config: ReplayObjective, num_rounds: int) -> Array:
    """Returns the factor of the entropy weight in each of K rounds, `[K]`."""
    return jnp.ones(num_rounds).at[0].set(config.first_round_entropy_factor)


def _counted_loss(
    config: ReplayObjective, entropy_weight: Array, out: PolicyOut, rollout: Transition
):
    """Returns the loss of the policy in the K counted rounds, and metrics of it and of the value function.

    Args:
      entropy_weight: of each round, `[K]`.
    """
    valid = rollout.timestep.valid
    ratio = likelihood_ratio(out, rollout)
    entropy = out.distribution.entropy()
    metrics = {
        "policy_loss": -padded_mean(config.gain(ratio, rollout.advantage), valid),
        "value_loss": 0.5 * padded_mean((out.value - rollout.target) ** 2, valid),
        "entropy": masked_mean(entropy, valid),
        "kl": padded_mean(rollout.policy.distribution.kl(out.distribution), valid),
    }
    loss = (
        metrics["policy_loss"]
        - padded_mean(entropy_weight[:, None, None] * entropy, valid)
        + config.kl_coefficient * metrics["kl"]
    )
    return loss, metrics


def _early_loss(config: ReplayObjective, out: PolicyOut, rollout: Transition, credit: Array):
    """Returns the loss terms of the rounds whose data adaptation uses, and their metrics."""
    valid = rollout.timestep.valid
    gain = padded_mean(config.gain(likelihood_ratio(out, rollout), credit), valid)
    if config.sampling_credit == "return":
        # The sum over rounds and episodes, and the mean over time.
        gain *= valid.shape[0] * valid.shape[2]
    inner_kl = padded_mean(rollout.policy.distribution.kl(out.distribution), valid)
    loss = config.inner_kl_coefficient * inner_kl - config.sampling_correction * gain
    return loss, {"inner_kl": inner_kl}


def likelihood_ratio(out: PolicyOut, rollout: Transition) -> Array:
    """ρ = π(a|s) / π_recorded(a|s), of the shape of the rewards."""
    return jnp.exp(out.distribution.log_prob(rollout.action) - rollout.log_prob)
