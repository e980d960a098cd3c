"""Helpers for arrays and pytrees: reshaping and selection by leading axes, and means over valid entries."""

import math

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, PyTree


def join_leading(tree: PyTree, num_axes: int = 2) -> PyTree:
    """`[a, b, ...]` to `[a·b, ...]`, for every array; also where an axis has no entries."""

    def join(x):
        return x.reshape(math.prod(x.shape[:num_axes]), *x.shape[num_axes:])

    return jax.tree.map(join, tree)


def split_leading(tree: PyTree, size: int) -> PyTree:
    """`[a·size, ...]` to `[a, size, ...]`, for every array."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // size, size, *x.shape[1:]), tree)


def where_leading(condition: Array, x: PyTree, y: PyTree) -> PyTree:
    """`x` where the condition `[E]` holds, else `y`, for every array `[E, ...]` of two trees."""

    def choose(x, y):
        return jnp.where(
            condition.reshape(condition.shape + (1,) * (x.ndim - condition.ndim)), x, y
        )

    return jax.tree.map(choose, x, y)


def strongly_typed(tree: PyTree) -> PyTree:
    """Returns the tree as arrays without weak types, and keys as plain numbers: a scan's carry keeps its types."""

    def leaf(x):
        x = jnp.asarray(x)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.key_data(x)
        return jax.lax.convert_element_type(x, jnp.result_type(x))

    return jax.tree.map(leaf, tree)


def largest_divisor(number: int, limit: int) -> int:
    """Returns the largest divisor of `number` that is not above `limit`."""
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)


ROUNDING = 1e-5
"""Relative differences of float32 sums over an episode that rounding alone may cause."""


def standardize(values: Array, valid: Array, scale: float | Array = 1.0) -> Array:
    """Mean 0 and deviation 1 over the valid entries of an array of any shape; zero on invalid ones.

    Values that differ by no more than the rounding of float32 carry no information, and all become zero.

    Args:
      values, valid: of one shape.
      scale: size of the numbers whose differences the values are, `[]`.
    """
    mean = masked_mean(values, valid)
    centred = values - mean
    std = jnp.sqrt(masked_mean(centred**2, valid))
    size = jnp.maximum(scale, jnp.max(jnp.where(valid, jnp.abs(values), 0.0)))
    informative = valid & (std > ROUNDING * size)
    return jnp.where(informative, centred / (std + 1e-8), 0.0)


def masked_mean(values: Array, valid: Array) -> Array:
    """Mean over the valid entries of an array of any shape; 0 where there are none.

    For statistics. A loss is a `padded_mean`.
    """
    count = jnp.maximum(valid.sum(), 1).astype(jnp.float32)
    return jnp.where(valid, values, 0).sum() / count


def padded_mean(values: Array, valid: Array) -> Array:
    """Sum over the valid entries of an array of any shape, divided by the number of all its entries.

    Losses over the steps of a task are made with it. The gradient of the expected return is a sum over the steps of a
    trajectory, so that the divisor must not depend on where the trajectory ended: with `masked_mean`, an episode that
    ends early would count for more than one that goes on.
    """
    return jnp.where(valid, values, 0).sum() / valid.size
