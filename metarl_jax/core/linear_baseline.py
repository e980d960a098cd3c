"""A baseline that is linear in features of state and time, fitted to the returns of a round."""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from metarl_jax.core.target import is_for_cpu
from metarl_jax.core.types import Array

BLOCK = 32
"""Rows that a large system loses at once."""


def linear_feature_baseline(observation: Array, returns: Array, valid: Array) -> Array:
    """Ridge regression of the returns on features of state and time, predicted where it was fitted.

    Features: s, s², τ, τ², τ³, 1 with τ = t/T and s clipped to ±10, each scaled to a mean square of 1.

    Args:
      observation: `[T, E, O]`.
      returns: `[T, E]`.
      valid: `[T, E]`.

    Returns:
      Predicted returns `[T, E]`.

    References:
      Duan et al., "Benchmarking Deep Reinforcement Learning for Continuous Control", ICML 2016.
    """
    chex.assert_rank([observation, returns, valid], [3, 2, 2])
    num_steps, num_episodes, _ = observation.shape
    state = jnp.clip(observation, -10.0, 10.0)
    time = jnp.arange(num_steps, dtype=returns.dtype) / num_steps
    time = jnp.broadcast_to(time[:, None, None], (num_steps, num_episodes, 1))
    features = [state, state**2, time, time**2, time**3, jnp.ones_like(time)]
    features = jnp.concatenate(features, axis=-1).reshape(num_steps * num_episodes, -1)
    weight = valid.reshape(-1, 1).astype(returns.dtype)
    count = jnp.maximum(weight.sum(), 1.0)
    # Squares reach 10⁴ in the Gram matrix, where float32 would no longer see the ridge.
    features = features / (jnp.sqrt((weight * features**2).sum(0, keepdims=True) / count) + 1e-8)
    weighted = features * weight
    # Accelerators multiply with fewer bits unless told otherwise.
    matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    gram = matmul(weighted.T, features) / count
    moment = matmul(weighted.T, returns.reshape(-1)) / count
    ridge = 1e-5 * jnp.eye(gram.shape[0], dtype=gram.dtype)
    coefficients = solve_positive_definite(gram + ridge, moment)
    # Fitted once more to what the ridge has left, which is nothing to give credit for.
    residual = returns.reshape(-1) - matmul(features, coefficients)
    moment = matmul(weighted.T, residual) / count
    coefficients = coefficients + solve_positive_definite(gram + ridge, moment)
    return matmul(features, coefficients).reshape(num_steps, num_episodes)


def solve_positive_definite(matrix: Array, target: Array) -> Array:
    """x with A x = b, for A symmetric and positive definite: `[F, F]`, `[F]` to `[F]`.

    For small systems in large batches. On a CPU, a batched factorisation would be a call of LAPACK for each of them,
    which XLA:CPU spreads over the threads that its devices run on: two devices that do so at once can wait for ever.
    There it is done by elimination.
    """
    if is_for_cpu():
        return eliminate_all(matrix, target)
    return jax.lax.platform_dependent(matrix, target, cpu=eliminate_all, default=jnp.linalg.solve)


def eliminate_all(matrix: Array, target: Array) -> Array:
    """As `solve_positive_definite`, by elimination without pivots; of large systems block by block, so that most of it
    is products of matrices: row by row, a system of 500 is read from memory 500 times."""
    size = target.shape[0]
    chex.assert_shape(matrix, (size, size))
    rows = jnp.concatenate([matrix, target[:, None]], axis=1)
    if size <= 2 * BLOCK:
        return _eliminate(rows)[:, -1]
    surplus = -size % BLOCK
    padded = jnp.eye(size + surplus, size + surplus + 1, dtype=rows.dtype)
    padded = padded.at[:size, :size].set(matrix).at[:size, -1].set(target)

    def eliminate_block(index, rows):
        start = index * BLOCK
        mine = jax.lax.dynamic_slice_in_dim(rows, start, BLOCK, axis=0)
        corner = jax.lax.dynamic_slice_in_dim(mine, start, BLOCK, axis=1)
        solved = _eliminate(jnp.concatenate([corner, mine], axis=1))[:, BLOCK:]
        columns = jax.lax.dynamic_slice_in_dim(rows, start, BLOCK, axis=1)
        others = rows - jnp.matmul(columns, solved, precision=jax.lax.Precision.HIGHEST)
        return jax.lax.dynamic_update_slice_in_dim(others, solved, start, axis=0)

    return jax.lax.fori_loop(0, len(padded) // BLOCK, eliminate_block, padded)[:size, -1]


def _eliminate(rows: Array) -> Array:
    """Turns the square at the left of `rows` `[F, F + R]` into the identity, row by row."""

    def eliminate(index, rows):
        pivot = (rows[index] / rows[index, index])[None]
        others = rows - rows[:, index, None] * pivot
        return jnp.where(jnp.arange(len(rows))[:, None] == index, pivot, others)

    return jax.lax.fori_loop(0, len(rows), eliminate, rows)
