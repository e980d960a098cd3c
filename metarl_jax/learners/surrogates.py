"""Surrogates of the inner step, each of which gives an estimator of the meta-gradient.

The objective of gradient-based meta-RL is J(θ) = E over tasks, and over the data τ ~ π_θ of the inner step, of the
return of the adapted policy π_θ′, θ′ = θ + α ĝ(θ, τ). Its gradient has two parts: the derivative of θ′ at fixed data,
which needs an estimate of the Hessian of the return, and the score of the data, because θ decides what is collected.

The inner step descends on a *surrogate* of log π(a|s) and advantages A. All of these have the same first derivative
where the data was recorded, the policy gradient; they differ in the second one, and so in the Hessian that the outer
gradient sees. With □(x) = exp(x − ⊥x) and ⊥ the stopped gradient:

- `log_likelihood`: −mean log π_t A_t. Its Hessian estimates E[A ∇² log π] and has lost the terms ∇log π ∇log πᵀ:
  biased (Finn et al. 2017, as Rothfuss et al. 2019 show).
- `likelihood_ratio`: −mean π_t / π_t(recorded) A_t, the low-variance curvature (LVC). It has A_t ∇log π_t ∇log π_tᵀ
  too, and loses only the products of different steps: exact for episodes of one step, biased beyond
  (Rothfuss et al. 2019).
- `loaded_dice`: −mean (□(c_t) − □(λ c_{t−1})) A_t with c_t = λ c_{t−1} + log π_t. λ = 1 keeps the products of all steps
  and is unbiased, λ = 0 is LVC, and between them is less variance for more bias (Farquhar et al. 2019).
- `dice`: `loaded_dice` with λ = 1. With `advantage.baseline="none"` and `gae_lambda=1` its sum over an episode is, but
  for a constant, Σ_t □(Σ_{s≤t} log π_s) r_t (Foerster et al. 2018).

`advantage.gae_lambda` is the τ of Loaded DiCE. `first_order` takes the Hessian for zero (FOMAML). `log_likelihood`
leaves the score of the data out, and `outer.sampling_correction` adds it (E-MAML, Al-Shedivat et al. 2018, Stadie et
al. 2018); in the Hessians of the others it is there already, as far as they have products of scores, and would count
twice. "Unbiased" is meant as in the papers: because ĝ is a mean over E trajectories, the expectation meets the gradient
of J(θ + α E[ĝ]) as E grows. `metarl bias` measures all this where the exact meta-gradient is known.

References:
  Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
  Foerster et al., "DiCE: The Infinitely Differentiable Monte Carlo Estimator", ICML 2018.
  Al-Shedivat et al., "Continuous Adaptation via Meta-Learning in Nonstationary and Competitive Environments",
    ICLR 2018.
  Stadie et al., "Some Considerations on Learning to Explore via Meta-Reinforcement Learning", 2018.
  Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019.
  Farquhar, Whiteson & Foerster, "Loaded DiCE: Trading off Bias and Variance in Any-Order Score Function Estimators
    for Reinforcement Learning", NeurIPS 2019.
  Tang et al., "Unifying Gradient Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation", NeurIPS 2021.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from metarl_jax.core.trees import padded_mean
from metarl_jax.core.types import Array, Transition

SurrogateName = Literal["likelihood_ratio", "log_likelihood", "dice", "loaded_dice"]
Surrogate = Callable[[Array, Transition], Array]
"""A function of (log π(a|s) `[T, E]`, rollout `[T, E]`) to the scalar loss of the inner step."""


def make_surrogate(name: SurrogateName, loaded_dice_lambda: float | Array) -> Surrogate:
    """Returns the surrogate of this name."""
    surrogates: dict[str, Surrogate] = {
        "log_likelihood": log_likelihood_surrogate,
        "likelihood_ratio": likelihood_ratio_surrogate,
        "dice": dice_surrogate,
        "loaded_dice": partial(loaded_dice_surrogate, loaded_dice_lambda=loaded_dice_lambda),
    }
    return surrogates[name]


def log_likelihood_surrogate(log_prob: Array, rollout: Transition) -> Array:
    """−mean log π_t A_t over the steps of any axes (`padded_mean`)."""
    return -padded_mean(log_prob * rollout.advantage, rollout.timestep.valid)


def likelihood_ratio_surrogate(log_prob: Array, rollout: Transition) -> Array:
    """−mean π_t/π_t(recorded) A_t over the steps of any axes: LVC, of which the outer clip is taken too."""
    ratio = jnp.exp(log_prob - rollout.log_prob)
    return -padded_mean(ratio * rollout.advantage, rollout.timestep.valid)


def loaded_dice_surrogate(
    log_prob: Array, rollout: Transition, loaded_dice_lambda: float | Array
) -> Array:
    """−mean (□(c_t) − □(λ c_{t−1})) A_t over the steps of `[T, E]`, with c_t = λ c_{t−1} + log π_t."""
    chex.assert_rank(log_prob, 2)
    log_prob = jnp.where(rollout.timestep.valid, log_prob, 0.0)

    def accumulate(past: Array, log_prob: Array):
        past = loaded_dice_lambda * past
        return past + log_prob, past

    _, past = jax.lax.scan(accumulate, jnp.zeros_like(log_prob[0]), log_prob)
    dependence = magic_box(past + log_prob) - magic_box(past)
    return -padded_mean(dependence * rollout.advantage, rollout.timestep.valid)


def dice_surrogate(log_prob: Array, rollout: Transition) -> Array:
    """−mean (□(Σ_{s≤t} log π_s) − □(Σ_{s<t} log π_s)) A_t over the steps of `[T, E]`."""
    return loaded_dice_surrogate(log_prob, rollout, 1.0)


def magic_box(x: Array) -> Array:
    """□(x) = exp(x − ⊥x): 1, whose derivatives are those of a likelihood ratio."""
    return jnp.exp(x - jax.lax.stop_gradient(x))
