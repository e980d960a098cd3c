"""Proximal policy optimization of the meta-parameters over replayed trials."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.trees import split_leading
from metarl_jax.core.types import Array, Metrics, PyTree
from metarl_jax.core.validation import bounded
from metarl_jax.learners.base import ParameterGroups
from metarl_jax.outer.base import AdamOptions, MetaBatch, Outer
from metarl_jax.outer.credit import counted_trials
from metarl_jax.outer.objective import ReplayObjective, task_loss


@dataclasses.dataclass(frozen=True)
class PPO(AdamOptions, ReplayObjective):
    """PPO with Adam on the clipped likelihood ratio of replayed against recorded policies.

    The gain of a step is min(ρA, clip(ρ, 1−ε, 1+ε)A). With MAML and `inner_kl_coefficient` this is ProMP.

    References:
      Schulman et al., "Proximal Policy Optimization Algorithms", 2017.
      Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019.
    """

    name: ClassVar[str] = "ppo"

    num_epochs: int = bounded(5, at_least=1)
    """Number of passes over the trials of a meta-step."""
    num_minibatches: int = bounded(1, at_least=1)
    """Number of minibatches of tasks per epoch, each with one optimizer step."""
    clip_eps: float = bounded(0.2, above=0)
    """Clip range ε: the likelihood ratio is clipped to [1 − ε, 1 + ε]."""

    @property
    def task_group(self) -> int:
        return self.num_minibatches

    def gain(self, ratio: Array, advantage: Array) -> Array:
        clipped = jnp.clip(ratio, 1.0 - self.clip_eps, 1.0 + self.clip_eps)
        return jnp.minimum(ratio * advantage, clipped * advantage)

    def make(self, num_meta_steps: int, parameter_groups: ParameterGroups = ()) -> Outer:
        optimizer = self.make_optimizer(num_meta_steps, parameter_groups)

        def minibatch_step(carry, choice, batch: MetaBatch, groups: PyTree):
            """Takes one optimizer step on one task of each group, chosen by `choice` `[G]`."""
            meta_params, opt_state = carry

            def loss(meta_params, memory, group, index):
                trial, credit = jax.tree.map(lambda x: x[index], group)
                return task_loss(self, batch, meta_params, memory, trial, credit)

            gradient, metrics = batch.axis.mean_gradient(
                loss, meta_params, batch.memory, groups, choice, block=batch.block
            )
            metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
            updates, opt_state = optimizer.update(
                gradient, opt_state, meta_params, meta_step=batch.step
            )
            return (optax.apply_updates(meta_params, updates), opt_state), metrics

        def update(key, meta_params, opt_state, batch: MetaBatch):
            collect_key, shuffle_key = jax.random.split(key)
            trials = batch.collect(meta_params, collect_key)
            # Neighbours, so that a group lies on one device.
            groups = split_leading(counted_trials(self, batch, trials), self.num_minibatches)
            choices = _minibatch_choices(
                shuffle_key, self.num_epochs, self.num_minibatches, groups[0].key.shape[0]
            )
            (meta_params, opt_state), metrics = jax.lax.scan(
                lambda carry, choice: minibatch_step(carry, choice, batch, groups),
                (meta_params, opt_state),
                choices,
            )
            return meta_params, opt_state, trials, _summary(metrics)

        return Outer(init=optimizer.init, update=update)


def _minibatch_choices(key, num_epochs: int, num_minibatches: int, num_groups: int) -> Array:
    """Draws which task of each group is in which minibatch: `[epochs × minibatches, G]`.

    Every minibatch takes one task of each group, in an order drawn anew for each group and epoch. Tasks are
    independent draws, so this is as good as a shuffle of them all, and no trial has to change its device.
    """
    noise = jax.random.uniform(key, (num_epochs, num_groups, num_minibatches))
    order = jnp.argsort(noise, axis=-1)
    return order.swapaxes(1, 2).reshape(num_epochs * num_minibatches, num_groups)


def _summary(metrics: Metrics) -> Metrics:
    """Returns means over the optimizer steps, and the divergences of the last step."""
    last = ("kl", "inner_kl")
    return {name: value[-1] if name in last else value.mean() for name, value in metrics.items()}
