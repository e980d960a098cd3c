"""Statistics of hoppers over bodies and seeds."""

import numpy as np
import pytest

from metarl_jax.core.statistics import t_ci95
from metarl_jax.experiments.tables.hopper_by_mass import STATISTICS, ci95, line, runs_in


def test_statistics_of_returns_over_bodies():
    returns = np.arange(100.0)
    expected = {"mean": 49.5, "10th percentile": 9.9, "mean of the worst tenth": 4.5}
    assert {name: of(returns[::-1]) for name, of in STATISTICS.items()} == pytest.approx(expected)


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=list(STATISTICS))
def test_intervals_are_over_seeds_where_there_are_several(statistic):
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=(3, 40)) for _ in range(2))
    np.testing.assert_allclose(ci95(statistic, first), t_ci95(statistic(first)))
    differences = statistic(first) - statistic(second)
    np.testing.assert_allclose(ci95(statistic, first, second), t_ci95(differences))
    low, high = ci95(statistic, first[:1])
    assert low < statistic(first[0]) < high


def test_differences_of_single_seeds_are_paired_by_body():
    returns = np.random.default_rng(0).normal(size=(1, 40))
    np.testing.assert_allclose(ci95(STATISTICS["mean"], returns + 2.0, returns), [2.0, 2.0])
    assert "one seed" in line("x", returns)
    assert "3 seeds" in line("x", np.repeat(returns, 3, axis=0))


def test_a_run_is_one_seed(tmp_path):
    assert runs_in(tmp_path) == [tmp_path]
