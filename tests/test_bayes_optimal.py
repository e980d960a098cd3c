"""Bayes-optimal returns: known values, brute force on small problems, and what they are shown with."""

import dataclasses
import time
from functools import cache

import numpy as np
import pytest

import metarl_jax
from metarl_jax import envs
from metarl_jax.baselines.measure import ControlsConfig, measure
from metarl_jax.core.advantages import PLAIN_RETURNS
from metarl_jax.envs.bayes_optimal import bandit_ceiling, num_beliefs, search_ceiling
from metarl_jax.runs import report
from metarl_jax.runs.loop import Run
from metarl_jax.runs.reporter import Reporter


@pytest.mark.parametrize(("num_arms", "total"), [(5, 6.660), (10, 6.714), (50, 6.714)])
def test_bandit_ceiling(num_arms, total):
    value = envs.make("bandit", num_arms=num_arms).bayes_optimal_value(10)
    assert value.shape == (10,)
    assert value.sum() == pytest.approx(total, abs=1e-3)
    assert value[0] == pytest.approx(0.5)
    assert value[1] == pytest.approx(
        7 / 12
    )  # stay after a win (2/3), another arm after a loss (1/2)


def test_bandit_ceiling_of_two_arms_by_all_histories():
    """Dynamic programming over the counts of both arms, which knows nothing of exchangeability."""

    @cache
    def value(counts, pulls_left):
        if not pulls_left:
            return 0.0
        options = []
        for arm in (0, 1):
            won, lost = counts[2 * arm], counts[2 * arm + 1]
            chance = (won + 1) / (won + lost + 2)
            after = [list(counts), list(counts)]
            after[0][2 * arm] += 1
            after[1][2 * arm + 1] += 1
            later = [value(tuple(x), pulls_left - 1) for x in after]
            options.append(chance * (1 + later[0]) + (1 - chance) * later[1])
        return max(options)

    assert bandit_ceiling(2, 12).sum() == pytest.approx(value((0, 0, 0, 0), 12), abs=1e-9)


def test_counts_of_beliefs():
    assert num_beliefs(1, 3) == 1 + 2 + 3 + 4
    assert num_beliefs(2, 2) == 1 + 2 + 3 + 3
    exact = num_beliefs(5, 12)
    assert num_beliefs(5, 12, enough=exact) == exact
    assert exact - 1 < num_beliefs(5, 12, enough=exact - 1) <= exact


@pytest.mark.parametrize(
    ("name", "options", "num_rounds"),
    [
        ("bandit", {}, 100),
        ("bandit", {"num_arms": 50}, 500),
        ("bandit", {"num_arms": 2}, 1_000_000),
        ("grid_navi", {"size": 6}, 4),
        ("grid_navi", {"size": 60, "horizon": 100}, 4),
        ("point_robot", {}, 4),
    ],
)
def test_a_ceiling_that_would_take_long_is_none_at_once(name, options, num_rounds):
    env, started = envs.make(name, **options), time.process_time()
    assert env.bayes_optimal_value(num_rounds) is None
    assert time.process_time() - started < 5.0


def test_grid_ceiling():
    value = envs.make("grid_navi").bayes_optimal_value(4)
    np.testing.assert_allclose(value, [4.0, 11.0714286, 11.0714286, 11.0714286], atol=1e-6)
    assert value.sum() == pytest.approx(37.214, abs=1e-3)


@pytest.mark.parametrize(("horizon", "num_episodes"), [(3, 3), (4, 2), (5, 2), (9, 2)])
def test_grid_ceiling_by_brute_force(horizon, num_episodes):
    """All paths of a small grid, bumps and waits included, with rewards counted step by step."""
    env = envs.make("grid_navi", size=3, horizon=horizon)
    goals = tuple(map(tuple, env.goals().tolist()))
    moves = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]

    def known(goal, steps, cell=(0, 0)):
        distance = abs(goal[0] - cell[0]) + abs(goal[1] - cell[1])
        late = min(distance - 1, steps) if distance else 0
        return (steps - late) - 0.1 * late

    @cache
    def best(episode, step, cell, left):
        """The sum over the goals that are left of what is yet to be returned."""
        if episode == num_episodes or not left:
            return 0.0
        options = []
        for dx, dy in moves:
            to = (min(max(cell[0] + dx, 0), 2), min(max(cell[1] + dy, 0), 2))
            value, remaining = -0.1 * len(left), left
            if to in left:
                remaining = left - {to}
                later = num_episodes - episode - 1
                value += 1.1 + (horizon - step - 1) + later * known(to, horizon)
            follower = (episode, step + 1, to)
            if step + 1 == horizon:
                follower = (episode + 1, 0, (0, 0))
            options.append(value + best(*follower, remaining))
        return max(options)

    value = search_ceiling(3, goals, horizon, num_episodes)
    expected = best(0, 0, (0, 0), frozenset(goals)) / len(goals)
    assert value.sum() == pytest.approx(expected, abs=1e-9)


def test_no_strategy_passes_the_ceiling():
    names = ("gittins", "ucb1")
    # A prime number of tasks is for one device, which compiles sooner.
    controls = measure(ControlsConfig(envs.make("bandit"), names, num_tasks=4001))["controls"]
    ceiling = controls["bayes_optimal"]["total_mean"]
    assert ceiling == pytest.approx(6.660, abs=1e-3)
    for name in names:
        assert controls[name]["total_mean"] < ceiling + 3 * controls[name]["total_se"]
        assert controls[name]["total_mean"] > ceiling - 0.25


def test_eval_shows_the_ceiling_where_it_is_one(small_config, tmp_path):
    def ceiling(learner, **changes):
        config = small_config(learner, "bandit", **changes)
        program = metarl_jax.build(config)
        run = Run(tmp_path, [], config, program, None, Reporter())
        return report.bayes_optimal(run, "test", 3)

    shown = ceiling("rl2")["bayes_optimal"]
    assert shown["total_mean"] == pytest.approx(bandit_ceiling(5, 3).sum())
    assert ceiling("maml") == {}  # it sees several episodes before it adapts
    assert ceiling("maml", num_episodes=1, advantage=PLAIN_RETURNS) == {"bayes_optimal": shown}


def test_the_ceiling_of_tasks_without_one(small_config, tmp_path):
    config = small_config("rl2", "point_robot")
    run = Run(tmp_path, [], config, metarl_jax.build(config), None, Reporter())
    assert report.bayes_optimal(run, "test", 3) == {}
    grid = dataclasses.replace(config, env=envs.make("grid_navi"))
    run = run._replace(config=grid, program=metarl_jax.build(grid))
    assert report.bayes_optimal(run, "ood", 3) == {}
