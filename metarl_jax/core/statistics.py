"""Statistics of returns over tasks and over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

PERCENTILES = (10, 25, 50, 75, 90)
"""Percentiles of the return over tasks that are reported: what rare tasks cost is not seen in a mean."""


def interquartile_mean(returns: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the tasks, `[tasks, K]` to `[K]`.

    References:
      Agarwal et al., «Deep Reinforcement Learning at the Edge of the Statistical Precipice», NeurIPS 2021.
    """
    from scipy import stats  # takes half a second to import

    return stats.trim_mean(returns, 0.25, axis=0)


def bootstrap_ci95(returns: np.ndarray, num_samples: int = 1000, seed: int = 0) -> np.ndarray:
    """Percentile bootstrap interval of the mean over tasks: `[tasks, K]` to `[2, K]`."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(returns), size=(num_samples, len(returns)))
    means = np.stack([returns[row].mean(axis=0) for row in rows])
    return np.percentile(means, [2.5, 97.5], axis=0)


def t_ci95(values: np.ndarray) -> np.ndarray:
    """Student's t interval of the mean of independent values: `[S, ...]`, with S ≥ 2, to `[2, ...]`."""
    num_values = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(num_values)
    margin = special.stdtrit(num_values - 1, 0.975) * error
    mean = values.mean(axis=0)
    return np.stack([mean - margin, mean + margin])


def ci95_over_seeds(returns: Sequence[np.ndarray]) -> np.ndarray:
    """95% interval of the mean return of trained learners: S times `[tasks, K]` to `[2, K]`.

    A t interval over the means of the S seeds. Each seed has its own tasks, so that the variation between tasks is
    in it. (A percentile bootstrap over three or five seeds holds the true mean far less often than in 95% of cases.)

    One seed says nothing of other seeds: the interval is then `bootstrap_ci95`, over the tasks alone.
    """
    if len(returns) == 1:
        return bootstrap_ci95(returns[0])
    return t_ci95(np.stack([mine.mean(axis=0) for mine in returns]))


def finite_tasks(returns: np.ndarray) -> np.ndarray:
    """The tasks of `[tasks, K]` whose returns are finite in all rounds; nan for every task where there are none."""
    is_finite = np.isfinite(returns).all(axis=1)
    return returns[is_finite] if is_finite.any() else np.full_like(returns, np.nan)


def summarize(returns: np.ndarray) -> dict[str, Any]:
    """Statistics of returns `[tasks, K]` by round and of their sum over the rounds, ready for JSON.

    Tasks with a return that is not finite are left out, where there are others, and counted in `num_nonfinite_tasks`.
    """
    num_broken = int((~np.isfinite(returns).all(axis=1)).sum())
    returns = finite_tasks(returns)
    total = returns.sum(axis=1, keepdims=True)
    by_round = np.percentile(returns, PERCENTILES, axis=0)
    of_total = np.percentile(total, PERCENTILES)
    counted = {"num_nonfinite_tasks": num_broken} if num_broken else {}
    return counted | {
        "return_mean": returns.mean(axis=0).tolist(),
        "return_iqm": interquartile_mean(returns).tolist(),
        "ci95": bootstrap_ci95(returns).T.tolist(),
        "total_mean": float(total.mean()),
        "total_ci95": bootstrap_ci95(total)[:, 0].tolist(),
        "return_percentiles": dict(zip(map(str, PERCENTILES), by_round.tolist(), strict=True)),
        "total_percentiles": dict(zip(map(str, PERCENTILES), of_total.tolist(), strict=True)),
    }
