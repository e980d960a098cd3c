"""The plain meta-policy gradient: one step of Adam for every meta-batch."""

import dataclasses
from typing import ClassVar

import optax

from metarl_jax.core.types import Array, MetaParams, Metrics, Trial
from metarl_jax.core.validation import bounded
from metarl_jax.learners.base import ParameterGroups
from metarl_jax.outer.base import AdamOptions, MetaBatch, Outer
from metarl_jax.outer.credit import counted_trials
from metarl_jax.outer.objective import ReplayObjective, task_loss


@dataclasses.dataclass(frozen=True)
class PolicyGradient(AdamOptions, ReplayObjective):
    """REINFORCE on the adapted policies: at the recorded meta-parameters ρ = 1, and the gradient of ρA is A ∇log π.

    References:
      Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992.
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
    """

    name: ClassVar[str] = "policy_gradient"

    learning_rate: float = bounded(1e-2, above=0)
    """Step size of Adam."""

    def make(self, num_meta_steps: int, parameter_groups: ParameterGroups = ()) -> Outer:
        optimizer = self.make_optimizer(num_meta_steps, parameter_groups)

        def update(key, meta_params, opt_state, batch: MetaBatch):
            trials = batch.collect(meta_params, key)
            gradient, metrics = replayed_gradient(self, meta_params, batch, trials)
            updates, opt_state = optimizer.update(
                gradient, opt_state, meta_params, meta_step=batch.step
            )
            return optax.apply_updates(meta_params, updates), opt_state, trials, metrics

        return Outer(init=optimizer.init, update=update)


def replayed_gradient(
    config: ReplayObjective, meta_params: MetaParams, batch: MetaBatch, trials: Trial
) -> tuple[MetaParams, Metrics]:
    """Returns the gradient of the objective over all trials `[N, ...]`, and the parts of its loss."""
    return counted_gradient(config, meta_params, batch, counted_trials(config, batch, trials))


def counted_gradient(
    config: ReplayObjective,
    meta_params: MetaParams,
    batch: MetaBatch,
    counted: tuple[Trial, Array],
) -> tuple[MetaParams, Metrics]:
    """Returns the same as `replayed_gradient`, from the results of `counted_trials`."""

    def loss(meta_params, memory, trial, credit):
        return task_loss(config, batch, meta_params, memory, trial, credit)

    gradient, metrics = batch.axis.mean_gradient(
        loss, meta_params, batch.memory, *counted, block=batch.block
    )
    return gradient, metrics | {"gradient_norm": optax.tree.norm(gradient)}
