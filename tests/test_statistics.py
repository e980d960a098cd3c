"""What is reported of the returns over tasks."""

import io

import numpy as np
import pytest
from rich.console import Console

from metarl_jax.console.evaluation_tables import MAX_ROWS, shown_rounds
from metarl_jax.core.statistics import (
    bootstrap_ci95,
    ci95_over_seeds,
    interquartile_mean,
    summarize,
)
from metarl_jax.runs.reporter import Reporter

RETURNS = np.stack([np.arange(101.0), np.arange(101.0)[::-1]], axis=1)
"""Of 101 tasks and two rounds, whose sum is the same for all."""


def test_percentiles_over_tasks():
    summary = summarize(RETURNS)
    expected = {str(p): [p, p] for p in (10, 25, 50, 75, 90)}
    assert summary["return_percentiles"] == expected
    assert set(summary["total_percentiles"].values()) == {100.0}


def test_tasks_without_a_finite_return_are_left_out_and_counted():
    broken = np.concatenate([RETURNS, [[np.nan, np.nan], [5.0, -np.inf]]])
    assert summarize(broken) == {"num_nonfinite_tasks": 2} | summarize(RETURNS)
    assert np.isnan(summarize(broken[-2:])["total_mean"])


def test_percentiles_are_printed():
    console = Console(file=io.StringIO(), width=100)
    evaluation = {"split": "test", "num_tasks": 101, "step": 7, "controls": {}}
    evaluation |= {"checkpoint": "best", "last_step": 9, "round_label": "episode"}
    evaluation["parameters"] = {"all": 1200, "adapted": 8, "stay": 1192}
    Reporter(console).curve(evaluation | summarize(RETURNS))
    text = " ".join(console.file.getvalue().split())
    assert "Percentiles over tasks" in text
    assert "10%" in text
    assert "best checkpoint, step 7 (last: 9)" in text
    assert "90.00" in text
    assert "episode" in text
    assert "round" not in text
    assert "From the first episode to the last: +0 (95% interval" in text
    assert "8 of the 1,200 parameters" in text


def test_the_gain_is_of_differences_in_the_same_task():
    """Tasks that differ by far more than what adaptation gains do not widen its interval."""
    first = np.linspace(-100.0, 100.0, 50)
    summary = summarize(np.stack([first, first + 1.0, first + 3.0], axis=1))
    assert summary["gain_mean"] == pytest.approx(3.0)
    np.testing.assert_allclose(summary["gain_ci95"], [3.0, 3.0])
    assert "gain_mean" not in summarize(first[:, None])


def test_the_gain_leaves_out_what_did_not_end():
    """Trials by steps: in the third episode nothing ended, in the second one of two tasks."""
    summary = summarize(np.array([[1.0, 5.0, np.nan], [2.0, np.nan, np.nan]]))
    assert summary["gain_mean"] == 4.0
    assert np.isnan(summarize(np.array([[np.nan, 5.0], [2.0, np.nan]]))["gain_mean"])


def test_a_long_trial_is_shown_in_few_rows():
    assert shown_rounds(1) == [0]
    assert shown_rounds(MAX_ROWS) == list(range(MAX_ROWS))
    for num_rounds in (MAX_ROWS + 1, 100, 10_000):
        shown = shown_rounds(num_rounds)
        assert shown == sorted(set(shown))
        assert (shown[0], shown[-1]) == (0, num_rounds - 1)
        assert len(shown) <= MAX_ROWS
    assert shown_rounds(100)[:5] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("num_tasks", [3, 100, 101])
def test_the_interquartile_mean_is_that_of_the_middle_half(num_tasks):
    returns = np.random.default_rng(0).normal(size=(num_tasks, 2))
    cut = num_tasks // 4
    expected = np.sort(returns, axis=0)[cut : num_tasks - cut].mean(axis=0)
    np.testing.assert_allclose(interquartile_mean(returns), expected, rtol=1e-12)


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("between_seeds", [0.02, 1.0])
def test_intervals_over_few_seeds_hold_the_truth(num_seeds, between_seeds):
    """Of 1000 experiments, whether seeds or tasks vary more."""
    generator = np.random.default_rng(0)
    shape = 1000, num_seeds, 20, 1
    effects = between_seeds * generator.normal(size=(1000, num_seeds, 1, 1))
    returns = effects + generator.normal(size=shape)
    low, high = np.stack([ci95_over_seeds(found)[:, 0] for found in returns], axis=1)
    assert 0.93 < np.mean((low <= 0.0) & (high >= 0.0)) < 0.97


def test_the_interval_over_seeds_is_that_of_students_t():
    returns = np.stack([np.full((7, 2), value) for value in (1.0, 2.0, 3.0)])
    low, high = ci95_over_seeds(
        returns
    )  # mean 2, standard error 1/√3, t with two degrees of freedom 4.3027
    np.testing.assert_allclose(high - 2.0, 4.3027 / 3**0.5, rtol=1e-4)
    np.testing.assert_allclose(low + high, 4.0)


def test_the_interval_of_one_seed_is_over_its_tasks():
    returns = np.random.default_rng(0).normal(size=(1, 50, 2))
    np.testing.assert_array_equal(ci95_over_seeds(returns), bootstrap_ci95(returns[0]))


def test_the_interval_of_one_task_is_its_own_return():
    np.testing.assert_array_equal(bootstrap_ci95(RETURNS[3:4]), [RETURNS[3], RETURNS[3]])


def test_a_round_that_one_task_ended_has_an_interval():
    """Trials by steps: a task whose episode did not come to its end is missing from that round alone."""
    unfinished = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, np.nan]])
    summary = summarize(unfinished)
    assert summary["ci95"][1] == [5.0, 5.0]
    assert 1.0 <= summary["ci95"][0][0] <= summary["ci95"][0][1] <= 3.0
