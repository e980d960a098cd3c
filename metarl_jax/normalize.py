"""Running statistics of observations, merged without bias from any number of batches.

`brax.training.acme.running_statistics` does the same for a batch at a time; here moments are made per task, on the
task's device, and merged afterwards (Chan et al. 1979), so that the sharding of the tasks does not matter.
"""

import jax
import jax.numpy as jnp
from flax import struct


class RunningStatistics(struct.PyTreeNode):
    """Moments of a stream of vectors.

    Attributes:
      count: `[]` float32, vectors seen.
      mean: `[O]`.
      squared_deviation: `[O]`, Σ (x − mean)².
    """

    count: jax.Array
    mean: jax.Array
    squared_deviation: jax.Array

    def variance(self) -> jax.Array:
        """Population variance `[O]`; ones before anything was seen."""
        variance = self.squared_deviation / jnp.maximum(self.count, 1.0)
        return jnp.where(self.count > 0, variance, jnp.ones_like(variance))


def init(size: int) -> RunningStatistics:
    """Statistics of nothing, with which `normalize` only clips."""
    zeros = jnp.zeros(size, jnp.float32)
    return RunningStatistics(jnp.zeros((), jnp.float32), zeros, zeros)


def from_batch(batch: jax.Array, valid: jax.Array) -> RunningStatistics:
    """Statistics of the rows of `batch` `[..., O]` where `valid` `[...]` is true."""
    axes = tuple(range(valid.ndim))
    weight = valid.astype(batch.dtype)[..., None]
    count = weight.sum()
    mean = (batch * weight).sum(axes) / jnp.maximum(count, 1.0)
    return RunningStatistics(count, mean, (weight * (batch - mean) ** 2).sum(axes))


def merge(statistics: RunningStatistics) -> RunningStatistics:
    """Joins statistics stacked on a leading axis `[B]` into one (Chan et al. 1979).

    count = Σ nᵢ, mean = Σ nᵢ μᵢ / count, squared deviation = Σ (Mᵢ + nᵢ (μᵢ − mean)²).
    """
    weight = statistics.count[:, None]
    count = statistics.count.sum()
    mean = (weight * statistics.mean).sum(0) / jnp.maximum(count, 1.0)
    spread = weight * (statistics.mean - mean) ** 2
    return RunningStatistics(count, mean, (statistics.squared_deviation + spread).sum(0))


def update(running: RunningStatistics, batches: RunningStatistics) -> RunningStatistics:
    """`running` after it has also seen `batches`, which are stacked on a leading axis."""
    stacked = jax.tree.map(lambda one, many: jnp.concatenate([one[None], many]), running, batches)
    return merge(stacked)


def normalize(
    statistics: RunningStatistics, observation: jax.Array, max_abs: float = 10.0
) -> jax.Array:
    """(x − mean) / std clipped to ±`max_abs`, over any leading axes of `observation` `[..., O]`."""
    std = jnp.sqrt(statistics.variance()) + 1e-4
    return jnp.clip((observation - statistics.mean) / std, -max_abs, max_abs)
