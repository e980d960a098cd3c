"""Statistics over seeds against numbers computed by hand."""

import numpy as np
import pytest

from metarl_jax.core.seed_statistics import probability_of_improvement, seeds_iqm


def column(*scores):
    return np.array(scores, float)[:, None]


def test_the_interquartile_mean_leaves_out_the_outer_quarters():
    assert seeds_iqm(column(8, 1, -1000, 4, 5, 6, 3, 1000)).value == (3 + 4 + 5 + 6) / 4
    assert seeds_iqm(np.array([[1.0, 2.0], [3.0, 100.0]])).value == 2.5  # of all four together


def test_the_interval_is_that_of_the_bootstrap():
    """Two seeds: the mean of two draws is 0, ½ or 1, with probability ¼, ½, ¼."""
    assert seeds_iqm(column(0, 1)) == (0.5, 0.0, 1.0)
    found = seeds_iqm(np.random.default_rng(1).normal(size=(400, 1)))
    # The error of the mean of the middle half of a normal sample is 1.09 / √S (Huber 1981, asymptotically).
    assert found.high - found.low == pytest.approx(2 * 1.96 * 1.09 / 20, rel=0.15)


def test_seeds_are_drawn_within_each_environment():
    """All seeds agree in each of two environments, so that nothing varies, though the environments differ."""
    assert seeds_iqm(np.array([[0.0, 10.0], [0.0, 10.0]])) == (5.0, 5.0, 5.0)


def test_the_probability_of_improvement_counts_pairs():
    found = probability_of_improvement(column(1, 2, 3), column(2, 2, 4))
    assert found.value == pytest.approx((0 + (0.5 + 0.5 + 0) + (1 + 1 + 0)) / 9)
    assert 0 <= found.low < found.value < found.high <= 1
    assert probability_of_improvement(column(5, 6), column(1, 2)) == (1.0, 1.0, 1.0)
    other = probability_of_improvement(column(2, 2, 4), column(1, 2, 3))
    assert found.value + other.value == pytest.approx(1.0)
    both = np.array([[1.0, 5.0], [1.0, 5.0]]), np.array([[2.0, 4.0]] * 2)
    assert probability_of_improvement(*both).value == 0.5  # beaten in one environment of two


def test_one_seed_has_no_interval():
    assert np.isnan(seeds_iqm(column(3))[1:]).all()
    assert np.isnan(probability_of_improvement(column(3), column(1, 2))[1:]).all()
