"""Adaptation by optimization: MAML, a few gradient steps on the new task, meta-trained through those steps."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.distributions import Distribution
from metarl_jax.env import TaskDistribution
from metarl_jax.learner import LearnerConfig, MetaLearner
from metarl_jax.networks import Activation, MLPPolicy
from metarl_jax.returns import masked_mean
from metarl_jax.trees import join_leading, split_leading
from metarl_jax.types import Array, PolicyOut, PyTree, Transition
from metarl_jax.validation import bounded

Loss = Callable[[PyTree, PyTree], Array]
"""(parameters, data) to a scalar."""


def log_likelihood_surrogate(distribution: Distribution, rollout: Transition) -> Array:
    """−mean log π(a|s) A over the valid steps of any axes: the score-function surrogate of MAML."""
    log_prob = distribution.log_prob(rollout.action)
    return -masked_mean(log_prob * rollout.advantage, rollout.timestep.valid)


def likelihood_ratio_surrogate(distribution: Distribution, rollout: Transition) -> Array:
    """−mean π(a|s)/π_recorded(a|s) A over the valid steps: the low-variance-curvature surrogate.

    Its gradient at the recorded policy is that of the log-likelihood; its Hessian keeps the term ∇log π ∇log πᵀ
    which plain autodiff of the log-likelihood loses.

    References:
      Rothfuss et al., «ProMP: Proximal Meta-Policy Search», ICLR 2019.
    """
    ratio = jnp.exp(distribution.log_prob(rollout.action) - rollout.log_prob)
    return -masked_mean(ratio * rollout.advantage, rollout.timestep.valid)


SURROGATES = {
    "log_likelihood": log_likelihood_surrogate,
    "likelihood_ratio": likelihood_ratio_surrogate,
}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradient_step(loss: Loss, params: PyTree, inner_lr: PyTree, data: PyTree) -> PyTree:
    """params − inner_lr ∘ ∇loss(params, data), differentiated by forward over reverse.

    With v the cotangent of the result, that of `params` is v − H(inner_lr ∘ v): one Hessian-vector product, taken as
    the directional derivative of the gradient, so that nothing of the inner backward pass is stored for an outer one.
    `data` is taken as constant.

    Args:
      loss: scalar function of (params, data).
      params: the fast parameters.
      inner_lr: a pytree like `params`, whose leaves are scalars or of the shape of its leaves.
      data: what the loss is computed on.
    """
    return _descend(params, inner_lr, jax.grad(loss)(params, data))


def _descend(params, inner_lr, gradient):
    return jax.tree.map(lambda p, lr, g: p - lr * g, params, inner_lr, gradient)


def _gradient_step_fwd(loss, params, inner_lr, data):
    gradient = jax.grad(loss)(params, data)
    return _descend(params, inner_lr, gradient), (params, inner_lr, gradient, data)


def _gradient_step_bwd(loss, residuals, cotangent):
    params, inner_lr, gradient, data = residuals
    direction = jax.tree.map(jnp.multiply, inner_lr, cotangent)
    _, hessian_vector = jax.jvp(lambda p: jax.grad(loss)(p, data), (params,), (direction,))
    params_cotangent = jax.tree.map(jnp.subtract, cotangent, hessian_vector)
    lr_cotangent = jax.tree.map(
        lambda lr, v, g: _sum_to(-v * g, jnp.shape(lr)), inner_lr, cotangent, gradient
    )
    return params_cotangent, lr_cotangent, None


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` summed to a scalar where `shape` is one."""
    return x.sum().reshape(shape) if shape != x.shape else x


gradient_step.defvjp(_gradient_step_fwd, _gradient_step_bwd)


@dataclasses.dataclass(frozen=True)
class MAML(LearnerConfig):
    """MAML: the policy's weights take a gradient step after every round, and are meta-learned through these steps.

    A trial of K rounds has K − 1 inner steps. Advantages must be known when a round ends: `advantage.credit` is
    `episode`.

    References:
      Finn, Abbeel & Levine, «Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks», ICML 2017.
    """

    name: ClassVar[str] = "maml"
    adapts_by_gradient: ClassVar[bool] = True

    hidden_sizes: tuple[int, ...] = bounded((64, 64), at_least=1)
    """Hidden layers of the policy."""
    activation: Activation = "tanh"
    """Activation of the hidden layers."""
    log_std_init: float = 0.0
    """First log standard deviation of continuous actions, in units of the action bound."""
    inner_lr: float = bounded(0.1, at_least=0)
    """Step size of the inner gradient step."""
    learn_inner_lr: bool = False
    """Meta-learn the step size, one for each array of parameters, starting from `inner_lr`."""
    first_order: bool = False
    """Treat the inner gradient as a constant in the outer one (FOMAML)."""
    surrogate: Literal["likelihood_ratio", "log_likelihood"] = "likelihood_ratio"
    """Inner objective: `likelihood_ratio` (as ProMP) or `log_likelihood` (as MAML)."""

    def make(self, env: TaskDistribution) -> MetaLearner:
        module = MLPPolicy(
            action_space=env.action_space,
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            log_std_init=self.log_std_init,
        )
        surrogate = SURROGATES[self.surrogate]

        def init(key):
            params = module.init(key, jnp.zeros(env.observation_size))
            if not self.learn_inner_lr:
                return {"policy": params}
            inner_lr = jax.tree.map(lambda _: jnp.asarray(self.inner_lr, jnp.float32), params)
            return {"policy": params, "inner_lr": inner_lr}

        def begin(meta_params, memory, key, num_episodes):
            del memory, key, num_episodes
            return meta_params["policy"]

        def policy(fast_params, observation) -> Any:
            return module.apply(fast_params, observation)

        def act(meta_params, fast_params, timestep):
            del meta_params
            no_value = jnp.zeros_like(timestep.previous_reward)
            return PolicyOut(policy(fast_params, timestep.observation), no_value), fast_params

        def unroll(meta_params, fast_params, timesteps):
            # Matrix products over one long axis [T·E] are faster than over [T, E].
            out, _ = act(meta_params, fast_params, join_leading(timesteps))
            return split_leading(out, timesteps.valid.shape[1]), fast_params

        def loss(fast_params, rollout: Transition):
            return surrogate(policy(fast_params, rollout.timestep.observation), rollout)

        def adapt(meta_params, fast_params, rollout):
            rollout = join_leading(rollout)
            inner_lr = meta_params.get("inner_lr")
            if inner_lr is None:
                inner_lr = jax.tree.map(lambda _: jnp.asarray(self.inner_lr), fast_params)
            if self.first_order:
                gradient = jax.grad(loss)(jax.lax.stop_gradient(fast_params), rollout)
                return _descend(fast_params, inner_lr, gradient)
            return gradient_step(loss, fast_params, inner_lr, rollout)

        return MetaLearner(
            init=init, begin=begin, act=act, adapt=adapt, unroll=unroll, weights_per_task=True
        )
