"""Reptile: the meta-parameters move towards the adapted parameters, without a derivative through adaptation."""

import dataclasses
from typing import ClassVar, Literal

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
    """Steps towards the mean over tasks of θ_K, the parameters after an inner step on each of the K rounds.

    With `step="interpolate"` they are θ ← θ + ε (1/N) Σ_i (θ_K,i − θ), where ε goes linearly from `learning_rate` to
    `final_learning_rate` over the run: the batched version of Algorithm 1 in Nichol et al. (2018), and `train.py` and
    `reptile.py` in `supervised_reptile/` of the repository openai/supervised-reptile, which begin at ε = 1 or less and
    end at 0. With `adam`, θ − mean θ_K is treated as a gradient, which the paper names as an alternative.

    Differences from the source: it learns from labelled examples, and its inner steps are of Adam without momentum;
    here they are plain policy-gradient steps, each on episodes of the parameters before it. A step is scaled down
    where the mean displacement is longer than `max_gradient_norm`.

    References:
      Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018.
    """

    name: ClassVar[str] = "reptile"
    takes_segments: ClassVar[bool] = False
    learns_step_sizes: ClassVar[bool] = False

    step: Literal["adam", "interpolate"] = "adam"
    """How θ moves: a step of `adam`, or `interpolate`, a share `learning_rate` of the way to the mean of the adapted
    parameters, as in the source."""
    max_gradient_norm: float = bounded(10.0, above=0)
    """A mean displacement with a larger norm is scaled down to this norm."""

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        del advantage
        rate = self.learning_rate
        if self.step == "interpolate" and isinstance(rate, int | float) and rate > 1:
            raise UserError(
                f"outer.learning_rate={rate} with outer.step='interpolate' would go beyond the adapted parameters: "
                "choose 1 or less, or step='adam'"
            )
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
        if self.step == "interpolate":
            clip = optax.clip_by_global_norm(self.max_gradient_norm)
            scale = self._scale(num_meta_steps, self.learning_rate)
            optimizer = optax.with_extra_args_support(optax.chain(clip, scale))

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
