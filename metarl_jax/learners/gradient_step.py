"""An inner gradient step that an outer gradient differentiates, with less memory than reverse over reverse."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, PyTree

Loss = Callable[[PyTree, PyTree, PyTree], Array]
"""(fast parameters, slow parameters, data) to a scalar."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradient_step(loss: Loss, fast: PyTree, slow: PyTree, inner_lr: PyTree, data: PyTree) -> PyTree:
    """fast − inner_lr ∘ ∇_fast loss(fast, slow, data), differentiated by forward over reverse.

    With v the cotangent of the result and d = inner_lr ∘ v, that of `fast` is v − ∂²loss/∂fast² d and that of `slow` is
    −∂²loss/∂slow∂fast d: one directional derivative of the gradient along d, so that nothing of the inner backward
    pass is stored for an outer one. `data` is taken as constant.

    Args:
      loss: scalar function of (fast, slow, data).
      fast: the parameters that adapt.
      slow: the parameters that the loss depends on beside them.
      inner_lr: a pytree like `fast`, whose leaves are scalars or of the shape of its leaves.
      data: what the loss is computed on.
    """
    return descend(fast, inner_lr, jax.grad(loss)(fast, slow, data))


def descend(fast: PyTree, inner_lr: PyTree, gradient: PyTree) -> PyTree:
    """fast − inner_lr ∘ gradient."""
    return jax.tree.map(lambda p, lr, g: p - lr * g, fast, inner_lr, gradient)


def _gradient_step_fwd(loss, fast, slow, inner_lr, data):
    gradient = jax.grad(loss)(fast, slow, data)
    return descend(fast, inner_lr, gradient), (fast, slow, inner_lr, gradient, data)


def _gradient_step_bwd(loss, residuals, cotangent):
    fast, slow, inner_lr, gradient, data = residuals
    direction = jax.tree.map(jnp.multiply, inner_lr, cotangent)
    gradients = jax.grad(loss, argnums=(0, 1))
    _, (along_fast, along_slow) = jax.jvp(
        lambda fast: gradients(fast, slow, data), (fast,), (direction,)
    )
    fast_cotangent = jax.tree.map(jnp.subtract, cotangent, along_fast)
    slow_cotangent = jax.tree.map(jnp.negative, along_slow)
    lr_cotangent = jax.tree.map(
        lambda lr, v, g: _sum_to(-v * g, jnp.shape(lr)), inner_lr, cotangent, gradient
    )
    return fast_cotangent, slow_cotangent, lr_cotangent, None


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` summed to a scalar where `shape` is one."""
    return x.sum().reshape(shape) if shape != x.shape else x


gradient_step.defvjp(_gradient_step_fwd, _gradient_step_bwd)
