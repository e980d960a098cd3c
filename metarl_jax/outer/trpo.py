"""Trust-region policy optimization of the meta-parameters, inside the compiled step."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.trees import padded_mean
from metarl_jax.core.types import Array, Memory, MetaParams, Metrics, PyTree, Trial
from metarl_jax.core.validation import bounded
from metarl_jax.learners.base import LearnerConfig, ParameterGroups
from metarl_jax.outer.base import MetaBatch, Outer
from metarl_jax.outer.credit import counted_trials
from metarl_jax.outer.objective import ReplayObjective, take_rounds, task_loss
from metarl_jax.outer.policy_gradient import counted_gradient


@dataclasses.dataclass(frozen=True)
class TRPO(ReplayObjective):
    """One natural-gradient step per meta-batch, shortened until the loss falls and the divergence is within its bound.

    The divergence is KL(recorded ‖ replayed) of the adapted policies, in the counted rounds. With F its Hessian where
    the trials were recorded and g the gradient of the loss, x = F⁻¹g by conjugate gradient; the step −√(2δ/xᵀFx) x is
    tried at full length, then at `backtrack`, `backtrack`², … of it. If none is accepted, the parameters do not change,
    and the metric `step_size` is 0.

    As in the source of MAML (`sandbox/rocky/tf/optimizers/conjugate_gradient_optimizer.py` of the repository
    cbfinn/maml_rl): ten iterations of conjugate gradient, damping 1e-5, and fifteen steps of the line search by 0.8.
    Differences: F is exact, where the source takes finite differences of the divergence; and inner step sizes, constant
    there, move inside the trust region here if the learner learns them, as does everything else.

    References:
      Schulman et al., "Trust Region Policy Optimization", ICML 2015.
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
    """

    name: ClassVar[str] = "trpo"
    learns_value: ClassVar[bool] = False

    max_kl: float = bounded(0.01, above=0)
    """Bound δ of the KL divergence of one meta-step, in nats."""
    final_max_kl: float | None = bounded(None, above=0)
    """Bound at the last meta-step, reached geometrically; constant when not given."""
    num_cg_steps: int = bounded(10, at_least=1)
    """Iterations of conjugate gradient, with one Fisher-vector product each."""
    damping: float = bounded(1e-5, at_least=0)
    """Damping: added to the diagonal of F."""
    backtrack: float = bounded(0.8, above=0, at_most=0.99)
    """Factor by which the line search shortens a step that was too long."""
    num_backtracks: int = bounded(15, at_least=1)
    """Number of step lengths that the line search tries."""

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        super().validate(learner, advantage)
        if advantage.baseline == "value":
            raise UserError(
                "advantage.baseline='value' does not fit outer method 'trpo', which does not train a value "
                "function: choose 'linear' or 'none', or another outer method"
            )

    def max_kl_at(self, progress: Array) -> Array:
        """Returns the bound δ in nats, `[]`: δ₀ (δ₁/δ₀)^p, where p is how far the run is, from 0 to 1."""
        last = self.max_kl if self.final_max_kl is None else self.final_max_kl
        return jnp.float32(self.max_kl) * (last / self.max_kl) ** progress

    def make(self, num_meta_steps: int, parameter_groups: ParameterGroups = ()) -> Outer:
        del num_meta_steps, parameter_groups

        def update(key, meta_params, opt_state, batch: MetaBatch):
            max_kl = self.max_kl_at(batch.progress)
            trials = batch.collect(meta_params, key)
            counted = counted_trials(self, batch, trials)
            gradient, metrics = counted_gradient(self, meta_params, batch, counted)
            flat, unravel = ravel_pytree(gradient)

            def fisher_product(vector: Array) -> Array:
                product = fisher_vector_product(self, meta_params, batch, trials, unravel(vector))
                return ravel_pytree(product)[0] + self.damping * vector

            direction, residual = conjugate_gradient(fisher_product, flat, self.num_cg_steps)
            curvature = _dot(direction, flat - residual)
            scale = jnp.sqrt(2.0 * max_kl / jnp.maximum(curvature, 1e-12))
            step = unravel(-scale * direction)
            meta_params, found = _line_search(
                self, meta_params, step, batch, counted, metrics["loss"], max_kl
            )
            return meta_params, opt_state, trials, metrics | found | {"max_kl": max_kl}

        return Outer(init=lambda meta_params: (), update=update)


def fisher_vector_product(
    config: ReplayObjective,
    meta_params: MetaParams,
    batch: MetaBatch,
    trials: Trial,
    vector: PyTree,
) -> PyTree:
    """Returns F v = Jᵀ M J v, mean over tasks, for a vector like the meta-parameters.

    J is the derivative of the outputs of the adapted policies, and M the Hessian of their divergence in these outputs;
    at the recorded meta-parameters this is the whole Hessian. J v is the pullback of the pullback w ↦ Jᵀw, because the
    inner step has a reverse derivative of its own and no forward one.
    """

    def of_task(shared: tuple[MetaParams, Memory, PyTree], trial: Trial) -> MetaParams:
        meta_params, memory, vector = shared
        start, stop = config.counted_rounds(trial.rollout.reward.shape[0])
        rollout = jax.tree.map(lambda x: x[start:stop], trial.rollout)

        def divergence(distribution):
            kl = rollout.policy.distribution.kl(distribution)
            return padded_mean(kl, rollout.timestep.valid)

        def answer(meta_params):
            out = batch.replay(meta_params, memory, trial, start)
            return take_rounds(out, trial, start, stop)[0].distribution

        out, pull = jax.vjp(answer, meta_params)
        _, push = jax.vjp(lambda w: pull(w)[0], jax.tree.map(jnp.zeros_like, out))
        (along,) = push(vector)
        _, weighed = jax.jvp(jax.grad(divergence), (out,), (along,))
        return pull(weighed)[0]

    shared = meta_params, batch.memory, vector
    return batch.axis.mean(of_task, shared, trials, block=batch.block)


_dot = partial(jnp.vdot, precision=jax.lax.Precision.HIGHEST)
"""Of vectors of parameters, whatever the precision of networks."""


def conjugate_gradient(
    product: Callable[[Array], Array], target: Array, num_steps: int
) -> tuple[Array, Array]:
    """x with A x ≈ target, and target − A x, for `product(x)` = A x with A symmetric and positive definite; `[P]`."""

    def step(carry, _):
        x, residual, direction = carry
        along = product(direction)
        norm = _dot(residual, residual)
        # Once the residual has vanished there is nothing to divide by, nor to do.
        length = norm / jnp.maximum(_dot(direction, along), 1e-20)
        x, residual = x + length * direction, residual - length * along
        direction = residual + _dot(residual, residual) / jnp.maximum(norm, 1e-20) * direction
        return (x, residual, direction), None

    start = jnp.zeros_like(target), target, target
    (x, residual, _), _ = jax.lax.scan(step, start, length=num_steps)
    return x, residual


def _line_search(
    config: TRPO,
    meta_params: MetaParams,
    step: PyTree,
    batch: MetaBatch,
    counted: tuple[Trial, Array],
    loss_before: Array,
    max_kl: Array,
) -> tuple[MetaParams, Metrics]:
    """Returns the longest tried step that lowers the loss within the bound, and the metrics there."""

    def loss_of(shared, trial, credit):
        meta_params, memory = shared
        return task_loss(config, batch, meta_params, memory, trial, credit)

    def measure(meta_params):
        shared = meta_params, batch.memory
        _, metrics = batch.axis.mean(loss_of, shared, *counted, block=batch.block)
        return metrics["loss"], metrics["kl"]

    def at(size):
        return jax.tree.map(lambda p, s: p + size * s, meta_params, step)

    def is_good(loss, kl):
        return (loss < loss_before) & (kl <= max_kl)

    def search_on(carry):
        index, _, loss, kl = carry
        return (index < config.num_backtracks) & ~is_good(loss, kl)

    def try_next(carry):
        index, *_ = carry
        size = config.backtrack**index
        return (index + 1, size, *measure(at(size)))

    start = jnp.zeros(()), jnp.ones(()), loss_before, jnp.zeros(())
    _, size, loss, kl = jax.lax.while_loop(search_on, try_next, start)
    size = jnp.where(is_good(loss, kl), size, 0.0)
    accepted = size > 0
    found = {
        "step_size": size,
        "kl": jnp.where(accepted, kl, 0.0),
        "loss_change": jnp.where(accepted, loss - loss_before, 0.0),
    }
    kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), at(size), meta_params)
    return kept, found
