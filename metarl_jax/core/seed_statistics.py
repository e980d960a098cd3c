"""Statistics over the seeds of a configuration, for few seeds and outliers among them.

The scores of S seeds on M environments are `[S, M]`; one environment is M = 1. The bootstrap is stratified: seeds are
drawn anew within each environment.

References:
  Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021, and its library
    rliable (`aggregate_iqm`, `probability_of_improvement`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metarl_jax.core.statistics import interquartile_mean

NUM_SAMPLES = 2000
"""Bootstrap samples of an interval."""


class Estimate(NamedTuple):
    """A statistic, and the ends of its 95% percentile bootstrap interval."""

    value: float
    low: float
    high: float


def seeds_iqm(scores: np.ndarray, seed: int = 0) -> Estimate:
    """Interquartile mean over all seeds and environments: the mean of the middle half of the scores `[S, M]`.

    With fewer than four scores nothing is trimmed, and it is their mean. With one seed there is no interval (nan).
    """
    return _estimate(lambda x: float(interquartile_mean(x.ravel())), [scores], seed)


def probability_of_improvement(scores: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Estimate:
    """P(X > Y): how probable it is that a seed of one configuration `[S, M]` beats one of a baseline `[S', M]`.

    The fraction of pairs of seeds in which X is higher, a tie counting half, averaged over the environments
    (Mann-Whitney's U divided by S·S'). With one seed of either there is no interval (nan).
    """
    return _estimate(_fraction_above, [scores, baseline], seed)


def _fraction_above(scores: np.ndarray, baseline: np.ndarray) -> float:
    difference = scores[:, None] - baseline[None]
    return float(np.mean(0.5 * (1.0 + np.sign(difference))))


def _estimate(
    statistic: Callable[..., float], samples: Sequence[np.ndarray], seed: int
) -> Estimate:
    """Returns a statistic of several independent samples `[S, M]`, with its interval."""
    samples = [np.asarray(x, float) for x in samples]
    value = statistic(*samples)
    if min(len(x) for x in samples) < 2:
        return Estimate(value, np.nan, np.nan)
    random = np.random.default_rng(seed)
    found = [statistic(*(_resampled(x, random) for x in samples)) for _ in range(NUM_SAMPLES)]
    low, high = np.percentile(found, (2.5, 97.5))
    return Estimate(value, float(low), float(high))


def _resampled(scores: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws as many seeds as there are, with replacement, in each environment on its own."""
    chosen = random.integers(len(scores), size=scores.shape)
    return np.take_along_axis(scores, chosen, axis=0)
