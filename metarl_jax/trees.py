"""Pytrees of arrays: reshaped by their leading axes, and noise of their shapes."""

import math

import jax
import jax.numpy as jnp

from metarl_jax.types import Array, Key, PyTree


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


def normal_like(key: Key, tree: PyTree) -> PyTree:
    """Standard normal noise of the shape of every array of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noise)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is not above `limit`."""
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
