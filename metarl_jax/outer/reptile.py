"""Reptile: the meta-parameters move towards the adapted parameters, without a derivative through adaptation."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import bounded
from metarl_jax.learners.base import LearnerConfig, ParameterGroups
from metarl_jax.outer.base import AdamOptions, MetaBatch, Outer, OuterConfig


@dataclasses.dataclass(frozen=True)
class Reptile(AdamOptions, OuterConfig):
    """Adam on θ − mean over tasks of θ_K, with θ_K the parameters after an inner step on each of the K rounds.

    References:
      Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018.
    """

    name: ClassVar[str] = "reptile"
    takes_segments: ClassVar[bool] = False
    learns_step_sizes: ClassVar[bool] = False

    max_gradient_norm: float = bounded(10.0, above=0)
    """A mean displacement with a larger norm is scaled down to this norm."""

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        del advantage
        if getattr(learner, "fast_pattern", None) != "":
            raise UserError(
                f"outer method 'reptile' needs a learner that adapts all parameters, and learner {learner.name!r} "
                "does not: choose learner 'maml' with adapts='all', or another outer method"
            )
        if getattr(learner, "learn_inner_lr", "none") != "none":
            raise UserError(
                "learner.learn_inner_lr does not fit outer method 'reptile', which does not train step sizes: "
                "choose learn_inner_lr='none'"
            )

    def make(self, num_meta_steps: int, parameter_groups: ParameterGroups = ()) -> Outer:
        optimizer = self.make_optimizer(num_meta_steps, parameter_groups)

        def update(key, meta_params, opt_state, batch: MetaBatch):
            trials = batch.collect(meta_params, key)

            def displacement(shared, trial):
                meta_params, memory = shared
                assert batch.to_meta_params is not None  # `validate` has seen to it
                adapted = batch.to_meta_params(
                    meta_params, batch.adapted(meta_params, memory, trial)
                )
                return jax.tree.map(jnp.subtract, meta_params, adapted)

            shared = meta_params, batch.memory
            mean = batch.axis.mean(displacement, shared, trials, block=batch.block)
            updates, opt_state = optimizer.update(
                mean, opt_state, meta_params, meta_step=batch.step
            )
            metrics = {"displacement": optax.tree.norm(mean)}
            return optax.apply_updates(meta_params, updates), opt_state, trials, metrics

        return Outer(init=optimizer.init, update=update)
