"""Running statistics of observations, exact over any number of batches.

`brax.training.acme.running_statistics` does the same for a batch at a time; here moments are computed per task, on the
task's device, and merged afterwards (Chan et al. 1979), so that the sharding of the tasks does not matter. Means and
variances are updated by increments, not recomputed from totals: a float32 total of 10⁸ observations is too coarse for
the contribution of one meta-step.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.spaces import Observation

RESOLUTION = 4.0 * float(jnp.finfo(jnp.float32).eps)
"""A deviation below this share of the mean is float32 rounding."""


class RunningStatistics(struct.PyTreeNode):
    """Moments of a stream of vectors.

    Attributes:
      count_high, count_low: `[]` uint32, vectors seen: 2³² · high + low.
      mean: `[O]`.
      central_moment: `[O]`, the mean of (x − mean)²; zeros before anything was seen.
      mean_rest, moment_rest: `[O]`, the rounding errors of the last moves of the two, which are added to the next
        (compensated summation, Kahan 1965).
    """

    count_high: jax.Array
    count_low: jax.Array
    mean: jax.Array
    central_moment: jax.Array
    mean_rest: jax.Array
    moment_rest: jax.Array

    @property
    def count(self) -> jax.Array:
        """Vectors seen, `[]` float32, to float accuracy."""
        high, low = (x.astype(jnp.float32) for x in (self.count_high, self.count_low))
        return 2.0**32 * high + low

    def variance(self) -> jax.Array:
        """Population variance `[O]`; ones before anything was seen, zeros where only rounding varies."""
        variance = jnp.maximum(self.central_moment, 0.0)
        varies = variance > (RESOLUTION * self.mean) ** 2
        seen = (self.count_high > 0) | (self.count_low > 0)
        return jnp.where(seen, jnp.where(varies, variance, 0.0), 1.0)


def init(size: int) -> RunningStatistics:
    """Returns statistics of no observations; with these, `normalize` only clips."""
    return _of_one_pass(jnp.zeros((), jnp.uint32), *jnp.zeros((2, size), jnp.float32))


def from_batch(batch: jax.Array, valid: jax.Array) -> RunningStatistics:
    """Computes the statistics of the rows of `batch` `[..., O]` where `valid` `[...]` is true; other rows are
    ignored."""
    axes = tuple(range(valid.ndim))
    # Moments about a row of the batch: what is far from 0 and hardly varies keeps its digits.
    first = batch.reshape(valid.size, batch.shape[-1])[jnp.argmax(valid.reshape(-1))]
    origin = jnp.where(valid.any(), first, 0.0)
    count = valid.sum(dtype=jnp.uint32)
    divisor = jnp.maximum(count.astype(jnp.float32), 1.0)
    shifted = jnp.where(valid[..., None], batch - origin, 0.0)
    mean = shifted.sum(axes) / divisor
    squares = jnp.where(valid[..., None], (shifted - mean) ** 2, 0.0)
    return _of_one_pass(count, origin + mean, squares.sum(axes) / divisor)


def merge(statistics: RunningStatistics) -> RunningStatistics:
    """Joins statistics stacked on a leading axis `[B]`, at most 2¹⁶ of them, into one (Chan et al. 1979).

    With the shares wᵢ = nᵢ / Σ nⱼ, mean = Σ wᵢ μᵢ and central moment = Σ wᵢ (Mᵢ + (μᵢ − mean)²).
    """
    high, low = _sum_counts(statistics.count_high, statistics.count_low)
    share = statistics.count / jnp.maximum(statistics.count.sum(), 1.0)
    origin = statistics.mean[jnp.argmax(share)]
    offset = statistics.mean - origin
    mean = (share[:, None] * offset).sum(0)
    moment = (share[:, None] * (statistics.central_moment + (offset - mean) ** 2)).sum(0)
    return _of_one_pass(low, origin + mean, moment).replace(count_high=high)


def update(running: RunningStatistics, batches: RunningStatistics) -> RunningStatistics:
    """Updates `running` with the statistics `batches`, which are stacked on a leading axis.

    With s the share of the batches in all that was then seen and δ = μ_new − mean, the mean moves by s δ and the
    central moment M by s (M_new − M + (1 − s) δ²).
    """
    new = merge(batches)
    counts = zip(*((x.count_high, x.count_low) for x in (running, new)), strict=True)
    high, low = _sum_counts(*map(jnp.stack, counts))
    share = new.count / jnp.maximum(running.count + new.count, 1.0)
    delta = (new.mean - running.mean) - running.mean_rest
    growth = (new.central_moment - running.central_moment) - running.moment_rest
    mean, mean_rest = _add(running.mean, running.mean_rest, share * delta)
    moment, moment_rest = _add(
        running.central_moment, running.moment_rest, share * (growth + (1.0 - share) * delta**2)
    )
    return RunningStatistics(high, low, mean, moment, mean_rest, moment_rest)


def float_entries(observation: Observation, num_leading: int) -> jax.Array:
    """Returns the floats of an observation as one vector `[..., O]`, without its integers."""
    leaves = [x for x in jax.tree.leaves(observation) if _is_float(x)]
    parts = [x.reshape(*x.shape[:num_leading], -1) for x in leaves]
    if not parts:
        leading = jax.tree.leaves(observation)[0].shape[:num_leading]
        return jnp.zeros((*leading, 0), jnp.float32)
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def normalize_floats(
    statistics: RunningStatistics, observation: Observation, num_leading: int
) -> Observation:
    """Applies `normalize` to the floats of an observation, and leaves its integers unchanged."""
    vector = normalize(statistics, float_entries(observation, num_leading))
    start, leaves = 0, []
    for x in jax.tree.leaves(observation):
        if not _is_float(x):
            leaves.append(x)
            continue
        size = math.prod(x.shape[num_leading:])
        leaves.append(vector[..., start : start + size].reshape(x.shape))
        start += size
    return jax.tree.unflatten(jax.tree.structure(observation), leaves)


def _is_float(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def normalize(
    statistics: RunningStatistics, observation: jax.Array, max_abs: float = 10.0
) -> jax.Array:
    """(x − mean) / std clipped to ±`max_abs`, over any leading axes of `observation` `[..., O]`.

    An entry that has never changed, but for rounding, becomes 0.
    """
    variance = statistics.variance()
    normalized = (observation - statistics.mean) / (jnp.sqrt(variance) + 1e-4)
    normalized = jnp.where(variance > 0, jnp.clip(normalized, -max_abs, max_abs), 0.0)
    # What is not finite stays so, and is seen for what it is.
    return jnp.where(jnp.isfinite(observation), normalized, observation)


def _of_one_pass(count: jax.Array, mean: jax.Array, moment: jax.Array) -> RunningStatistics:
    zeros = jnp.zeros_like(mean)
    return RunningStatistics(jnp.zeros((), jnp.uint32), count, mean, moment, zeros, zeros)


def _sum_counts(high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums counts of two uint32 over the leading axis, by halves of 16 bits, whose sums do not overflow."""
    small = (low & 0xFFFF).sum(0, dtype=jnp.uint32)
    large = (low >> 16).sum(0, dtype=jnp.uint32) + (small >> 16)
    return high.sum(0, dtype=jnp.uint32) + (large >> 16), (large << 16) | (small & 0xFFFF)


def _add(x: jax.Array, rest: jax.Array, increment: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x + rest + increment in float32, and what is left over."""
    increment = rest + increment
    total = x + increment
    return total, increment - (total - x)
