"""The Gittins index of a Bernoulli arm, as a table."""

from functools import cache

import numpy as np

NUM_LEVELS = 128
"""Known rewards that an arm is compared with; the index is interpolated between them."""


@cache
def gittins_index(num_pulls: int, discount: float) -> np.ndarray:
    """Returns the discounted Gittins index of an arm, `[n, n]` over (s, f) successes and failures, s + f < n.

    The prior of the success probability is U[0, 1], so that p = (s + 1) / (s + f + 2). The index is the known reward λ
    at which leaving the arm for ever is as good as pulling it once more (calibration): the zero of C(s, f; λ) − λ,
    where, with all rewards multiplied by 1 − γ,

        C = (1 − γ) p + γ (p V(s + 1, f; λ) + (1 − p) V(s, f + 1; λ)),   V = max(λ, C).

    Backward from a number of pulls so great that discounting leaves little of what comes after, where V = max(λ, p).
    The error is below 1e-3. What lies beyond the table's corner, s + f ≥ n, is zero.

    Args:
      num_pulls: n.
      discount: γ in (0, 1).

    References:
      Gittins, "Bandit Processes and Dynamic Allocation Indices", 1979.
    """
    depth = num_pulls + round(2.0 / (1.0 - discount))
    level = np.linspace(0.0, 1.0, NUM_LEVELS + 1)
    value = np.maximum(level, _chance(depth)[:, None])
    table = np.zeros((num_pulls, num_pulls), np.float32)
    for pulls in range(depth - 1, -1, -1):
        p = _chance(pulls)[:, None]
        goes_on = (1.0 - discount) * p + discount * (p * value[1:] + (1.0 - p) * value[:-1])
        if pulls < num_pulls:
            successes = np.arange(pulls + 1)
            table[successes, pulls - successes] = _zero(goes_on - level, level)
        value = np.maximum(level, goes_on)
    return table


def _chance(pulls: int) -> np.ndarray:
    """Returns the posterior means of an arm after this many pulls, for 0 to all successes."""
    return (np.arange(pulls + 1) + 1.0) / (pulls + 2.0)


def _zero(gain: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Where `gain` `[S, L]`, which falls from positive to negative along `level` `[L]`, is zero: `[S]`."""
    after = np.argmax(gain <= 0.0, axis=1)
    rows = np.arange(len(gain))
    left, right = gain[rows, after - 1], gain[rows, after]
    return level[after - 1] + (level[after] - level[after - 1]) * left / (left - right)
