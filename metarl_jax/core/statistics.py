"""Statistics of returns over tasks and over seeds."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special

PERCENTILES = (10, 25, 50, 75, 90)
"""Reported percentiles of the return over tasks; a mean hides failures in rare tasks."""


def interquartile_mean(returns: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the tasks, `[tasks, K]` to `[K]`.

    References:
      Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021.
    """
    from scipy import stats  # takes half a second to import

    return stats.trim_mean(returns, 0.25, axis=0)


def bootstrap_ci95(returns: np.ndarray, num_samples: int = 1000, seed: int = 0) -> np.ndarray:
    """95% percentile bootstrap interval of the mean over tasks: `[tasks, K]` to `[2, K]`.

    With a single task, both ends are its return. In a round with a nan return, both ends are nan.
    """
    from scipy import stats  # takes half a second to import

    if len(returns) == 1:  # which scipy refuses
        return np.stack([returns[0], returns[0]])
    known = ~np.isnan(returns).any(axis=0)
    found = stats.bootstrap(
        (returns[:, known].astype(np.float64),),
        np.mean,
        n_resamples=num_samples,
        batch=50,  # all at once would need the memory of all samples
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    ends = np.full((2, *known.shape), np.nan)
    ends[:, known] = found.confidence_interval
    return ends


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

    Broken tasks are left out, and so are, in each round, tasks in which no episode ended. A single seed carries no
    information about other seeds: the interval is then `bootstrap_ci95`, over the tasks alone.
    """
    if len(returns) == 1:
        return _by_round(bootstrap_ci95, returns[0])
    return t_ci95(np.stack([mean_over_tasks(mine) for mine in returns]))


def mean_over_tasks(values: np.ndarray) -> np.ndarray:
    """Mean over the tasks that are not broken, `[tasks, K]` to `[K]`; nan where no episode ended."""
    return _by_round(lambda x: x.mean(axis=0), finite_tasks(values))


def relative_returns(
    returns: np.ndarray,
    told: np.ndarray,
    random: np.ndarray,
    num_samples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (return − random)/(told − random) by round, as ratios of means over tasks, with 95% intervals.

    Args:
      returns: `[tasks, K]`.
      told: `[tasks]`, of a policy that is told the task, in the same tasks.
      random: `[tasks]`, of the random policy, in the same tasks.
      num_samples: of the percentile bootstrap over tasks, in which the three stay together.
      seed: of the bootstrap.

    Returns:
      The ratios `[K]`, and the ends of their intervals `[2, K]`. Nan where told and random earn the same.
    """

    def ratio(tasks: np.ndarray) -> np.ndarray:
        floor = random[tasks].mean()
        span = told[tasks].mean() - floor
        return (returns[tasks].mean(axis=0) - floor) / (span if span else np.nan)

    num_tasks = len(returns)
    draws = np.random.default_rng(seed).integers(num_tasks, size=(num_samples, num_tasks))
    samples = np.stack([ratio(tasks) for tasks in draws])
    return ratio(np.arange(num_tasks)), np.percentile(samples, (2.5, 97.5), axis=0)


def is_broken(returns: np.ndarray) -> np.ndarray:
    """Returns which tasks of `[tasks, K]` are broken: `[tasks]` bool. A task is broken if a return is infinite or all
    are nan. A single nan means that no episode of that round ended.
    """
    return np.asarray(np.isinf(returns).any(axis=1) | np.isnan(returns).all(axis=1))


def finite_tasks(returns: np.ndarray) -> np.ndarray:
    """Returns the tasks of `[tasks, K]` that are not broken; if all are, nan for every task."""
    broken = is_broken(returns)
    return np.full_like(returns, np.nan) if broken.all() else returns[~broken]


def sum_over_rounds(returns: np.ndarray) -> np.ndarray:
    """Sums `[tasks, K]` over rounds to `[tasks, 1]`, leaving out rounds in which no episode ended; nan if none did."""
    is_missing = np.isnan(returns)
    whole = returns if is_missing.all() else np.where(is_missing, 0.0, returns)
    return whole.sum(axis=1, keepdims=True)


def gain(returns: np.ndarray) -> np.ndarray:
    """Return of the last round minus that of the first, by task: `[tasks, K]` to `[tasks, 1]`.

    The last round is the last in which an episode ended. Tasks in which one of the two is nan are left out; a single
    nan if no task remains.
    """
    is_known = ~np.isnan(returns).all(axis=0)
    last = int(np.flatnonzero(is_known)[-1]) if is_known.any() else 0
    differences = returns[:, last] - returns[:, 0]
    known = differences[~np.isnan(differences)]
    return known[:, None] if len(known) else np.full((1, 1), np.nan)


def summarize(returns: np.ndarray) -> dict[str, Any]:
    """Statistics of returns `[tasks, K]` by round, of their sum over the rounds and, with two rounds or more, of the
    `gain`, ready for JSON.

    The interval of the gain is that of the difference in the same task, so it is not widened by the differences between
    tasks. Broken tasks are left out, unless all are broken, and counted in `num_nonfinite_tasks`.
    """
    num_broken = int(is_broken(returns).sum())
    returns = finite_tasks(returns)
    total = sum_over_rounds(returns)
    by_round = _by_round(lambda x: np.percentile(x, PERCENTILES, axis=0), returns)
    of_total = np.percentile(total, PERCENTILES)
    counted = {"num_nonfinite_tasks": num_broken} if num_broken else {}
    if returns.shape[1] > 1:
        gained = gain(returns)
        counted |= {
            "gain_mean": float(gained.mean()),
            "gain_ci95": bootstrap_ci95(gained)[:, 0].tolist(),
        }
    return counted | {
        "return_mean": _by_round(lambda x: x.mean(axis=0), returns).tolist(),
        "return_iqm": _by_round(interquartile_mean, returns).tolist(),
        "ci95": _by_round(bootstrap_ci95, returns).T.tolist(),
        "total_mean": float(total.mean()),
        "total_ci95": bootstrap_ci95(total)[:, 0].tolist(),
        "return_percentiles": dict(zip(map(str, PERCENTILES), by_round.tolist(), strict=True)),
        "total_percentiles": dict(zip(map(str, PERCENTILES), of_total.tolist(), strict=True)),
    }


def _by_round(statistic: Callable[[np.ndarray], np.ndarray], returns: np.ndarray) -> np.ndarray:
    """Computes a statistic of `[tasks, K]` for each round, over the tasks in which an episode ended."""
    missing = np.isnan(returns)
    if not missing.any() or missing.all():
        return statistic(returns)
    rounds = [returns[~gone, k : k + 1] for k, gone in enumerate(missing.T)]
    nothing = np.full((1, 1), np.nan)
    return np.concatenate([statistic(x if len(x) else nothing) for x in rounds], axis=-1)
