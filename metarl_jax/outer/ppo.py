"""Proximal policy optimization of the meta-parameters over replayed trials."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax.learner import LearnerConfig
from metarl_jax.outer.base import MetaBatch, Outer, OuterConfig
from metarl_jax.returns import AdvantageConfig, masked_mean
from metarl_jax.trees import split_leading
from metarl_jax.types import Array, MetaParams, Metrics, PolicyOut, Trial
from metarl_jax.validation import bounded


@dataclasses.dataclass(frozen=True)
class PPO(OuterConfig):
    """PPO with Adam on the clipped likelihood ratio of replayed against recorded policies.

    The ratio is that of the *adapted* policies: in a replay, the learner adapts anew with the meta-parameters of the
    moment, and the gradient runs through the adaptation. With MAML this is ProMP's clipped objective; ProMP's
    penalty is on the policy before adaptation, `kl_coefficient` weighs one on the counted rounds.

    References:
      Schulman et al., «Proximal Policy Optimization Algorithms», 2017.
      Rothfuss et al., «ProMP: Proximal Meta-Policy Search», ICLR 2019.
    """

    name: ClassVar[str] = "ppo"

    learning_rate: float = bounded(1e-3, above=0)
    """Step size of Adam."""
    final_learning_rate: float | None = bounded(None, at_least=0)
    """Step size at the last meta-step, reached linearly; the same as the first when not given."""
    num_epochs: int = bounded(5, at_least=1)
    """Passes over the trials of a meta-step."""
    num_minibatches: int = bounded(1, at_least=1)
    """Parts into which the tasks of a meta-step are cut for an epoch, each with an optimizer step of its own."""
    clip_eps: float = bounded(0.2, above=0)
    """The likelihood ratio counts within [1 − ε, 1 + ε]."""
    rounds: Literal["last", "adapted", "all"] = "last"
    """Rounds of a trial that the objective counts: `last`, `adapted` (all but the first) or `all`."""
    kl_coefficient: float = bounded(0.0, at_least=0)
    """Weight of KL(recorded ‖ replayed policy), in the counted rounds."""
    entropy_coefficient: float = bounded(0.0, at_least=0)
    """Weight of the entropy of the policy, in the counted rounds."""
    value_coefficient: float = bounded(0.0, at_least=0)
    """Weight of the squared error of the learner's value function; 0 for learners without one."""
    max_gradient_norm: float = bounded(1.0, above=0)
    """The gradient is scaled down to this norm where it is longer."""

    @property
    def task_group(self) -> int:
        return self.num_minibatches

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        if self.rounds != "all" and not learner.adapts_by_gradient:
            raise ValueError(
                f"outer.rounds={self.rounds!r} does not fit learner {learner.name!r}, to which a trial is one "
                "episode: choose outer.rounds='all'"
            )
        untrained = isinstance(self.value_coefficient, int | float) and self.value_coefficient == 0
        if advantage.baseline == "value" and untrained:
            raise ValueError(
                f"outer.value_coefficient={self.value_coefficient} leaves advantage.baseline='value' untrained: "
                "choose 0.5 for example, or another baseline"
            )

    def first_round(self, num_rounds: int) -> int:
        """The first of K rounds that the objective counts."""
        return {"last": num_rounds - 1, "adapted": min(1, num_rounds - 1), "all": 0}[self.rounds]

    def make(self, num_meta_steps: int) -> Outer:
        optimizer = _make_optimizer(self, num_meta_steps)

        def loss(meta_params: MetaParams, batch: MetaBatch, trial: Trial) -> tuple[Array, Metrics]:
            first_round = self.first_round(trial.rollout.reward.shape[0])
            out = batch.replay(meta_params, trial, first_round)
            policy_loss, metrics = ppo_loss(self, out, trial)
            aux_loss, aux_metrics = batch.aux_loss(meta_params, trial)
            return policy_loss + aux_loss, metrics | aux_metrics

        def minibatch_step(carry, choice, batch: MetaBatch, groups: Trial):
            """One optimizer step on one task of each group; `choice` `[G]` says which."""
            meta_params, opt_state = carry

            def task_loss(meta_params, group, index):
                return loss(meta_params, batch, jax.tree.map(lambda x: x[index], group))

            gradient, metrics = batch.axis.mean_gradient(
                task_loss, meta_params, groups, choice, block=batch.block
            )
            metrics = metrics | {"gradient_norm": optax.global_norm(gradient)}
            updates, opt_state = optimizer.update(gradient, opt_state, meta_params)
            return (optax.apply_updates(meta_params, updates), opt_state), metrics

        def update(key, meta_params, opt_state, batch: MetaBatch):
            collect_key, shuffle_key = jax.random.split(key)
            trials = batch.collect(meta_params, collect_key)
            # Neighbours, so that a group lies on one device.
            groups = split_leading(trials, self.num_minibatches)
            choices = _minibatch_choices(
                shuffle_key, self.num_epochs, self.num_minibatches, groups.key.shape[0]
            )
            (meta_params, opt_state), metrics = jax.lax.scan(
                lambda carry, choice: minibatch_step(carry, choice, batch, groups),
                (meta_params, opt_state),
                choices,
            )
            return meta_params, opt_state, trials, _summary(metrics)

        return Outer(init=optimizer.init, update=update)


def ppo_loss(config: PPO, out: PolicyOut, trial: Trial) -> tuple[Array, Metrics]:
    """The loss of one task, from its trial `[K, T, E]` and the answers in the counted rounds, which are the last ones.

    −mean min(ρA, clip(ρ, 1−ε, 1+ε)A) + c_v ½ mean (v − target)² − c_e mean H + c_kl mean KL(recorded ‖ replayed),
    with ρ the likelihood ratio; means over the valid steps of the counted rounds.
    """
    rollout = jax.tree.map(lambda x: x[-out.value.shape[0] :], trial.rollout)
    valid = rollout.timestep.valid
    ratio = jnp.exp(out.distribution.log_prob(rollout.action) - rollout.log_prob)
    clipped = jnp.clip(ratio, 1.0 - config.clip_eps, 1.0 + config.clip_eps)
    gain = jnp.minimum(ratio * rollout.advantage, clipped * rollout.advantage)
    metrics = {
        "policy_loss": -masked_mean(gain, valid),
        "value_loss": 0.5 * masked_mean((out.value - rollout.target) ** 2, valid),
        "entropy": masked_mean(out.distribution.entropy(), valid),
        "kl": masked_mean(rollout.policy.distribution.kl(out.distribution), valid),
        "clip_fraction": masked_mean(jnp.abs(ratio - 1.0) > config.clip_eps, valid),
    }
    loss = (
        metrics["policy_loss"]
        + config.value_coefficient * metrics["value_loss"]
        - config.entropy_coefficient * metrics["entropy"]
        + config.kl_coefficient * metrics["kl"]
    )
    return loss, metrics


def _make_optimizer(config: PPO, num_meta_steps: int) -> optax.GradientTransformation:
    learning_rate = config.learning_rate
    if config.final_learning_rate is not None:
        updates = num_meta_steps * config.num_epochs * config.num_minibatches
        learning_rate = optax.linear_schedule(learning_rate, config.final_learning_rate, updates)
    return optax.chain(
        optax.clip_by_global_norm(config.max_gradient_norm), optax.adam(learning_rate, eps=1e-5)
    )


def _minibatch_choices(key, num_epochs: int, num_minibatches: int, num_groups: int) -> Array:
    """Which task of each group is in which minibatch: `[epochs × minibatches, G]`.

    Every minibatch takes one task of each group, in an order drawn anew for each group and epoch. Tasks are
    independent draws, so this is as good as a shuffle of them all, and no trial has to change its device.
    """
    noise = jax.random.uniform(key, (num_epochs, num_groups, num_minibatches))
    order = jnp.argsort(noise, axis=-1)
    return order.swapaxes(1, 2).reshape(num_epochs * num_minibatches, num_groups)


def _summary(metrics: Metrics) -> Metrics:
    """Means over the optimizer steps, but the divergence as the last one found it."""
    return {name: value[-1] if name == "kl" else value.mean() for name, value in metrics.items()}
