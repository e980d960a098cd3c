"""The control that is told the task: what it sees, and how near others come to it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax import envs
from metarl_jax.baselines import evaluate_control
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import flat_size
from metarl_jax.core.statistics import relative_returns
from metarl_jax.defaults import default_config
from metarl_jax.envs.base import has_oracle, knows_regret
from metarl_jax.envs.told_task import ToldTask, as_observed, untold
from metarl_jax.runs.told import check_told


@pytest.mark.parametrize("name", ["bandit", "grid_navi", "point_robot", "rotated_point_robot"])
def test_the_task_is_observed_at_every_step(name):
    plain = envs.make(name)
    env = as_observed(envs.make(name, told_task=True))
    assert isinstance(env, ToldTask)
    assert untold(env) == plain == as_observed(plain)
    assert has_oracle(env) == has_oracle(plain)
    assert knows_regret(env) == knows_regret(plain)
    assert env.bayes_optimal_value(4) is None
    task = env.sample(jax.random.key(1))
    told = plain.oracle_observation(task)
    assert flat_size(env.observation_space) == plain.observation_size + told.size
    state, own = (e.reset(task, jax.random.key(0)) for e in (env, plain))
    action = plain.oracle_action(task, own.observation)
    assert jnp.array_equal(action, env.oracle_action(task, state.observation))
    for _ in range(2):
        np.testing.assert_array_equal(state.observation["task"], told)
        np.testing.assert_array_equal(state.observation["observation"], own.observation)
        assert state.reward == own.reward
        state, own = env.step(task, state, action), plain.step(task, own, action)


def test_controls_of_a_told_run_are_those_of_the_untold_one(small_config):
    config = small_config("rl2", "bandit")
    told = dataclasses.replace(config, env=dataclasses.replace(config.env, told_task=True))
    for control in ("random", "oracle", "ucb1"):
        returns = [
            np.asarray(evaluate_control(metarl_jax.build(c), control, jax.random.key(0)))
            for c in (config, told)
        ]
        np.testing.assert_array_equal(*returns)


def test_relative_returns():
    rng = np.random.default_rng(0)
    random, told = rng.normal(-10, 1, 500), rng.normal(10, 1, 500)
    returns = np.stack([random, rng.normal(0, 1, 500), told], axis=1)
    found, (low, high) = relative_returns(returns, told, random)
    floor = random.mean()
    expected = (returns.mean(axis=0) - floor) / (told.mean() - floor)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0], atol=0.01)
    # The three are drawn together: what is in proportion by construction has no interval.
    np.testing.assert_allclose([low[0], high[0], low[2], high[2]], [0, 0, 1, 1], atol=1e-12)
    # A deviation of 1 over 500 tasks, in a span of 20.
    assert high[1] - low[1] == pytest.approx(2 * 1.96 * np.sqrt(1.5 / 500) / 20, rel=0.2)


@pytest.mark.parametrize(
    ("told", "mine", "message"),
    [
        ({}, {}, r"told='runs/told' is not told the task.*--env.told-task"),
        ({"told_task": True}, {"told_task": True}, "this one is: leave --told out"),
        (
            {"told_task": True, "horizon": 7},
            {},
            r"trained in other tasks: this run has env\.horizon=15, not 7",
        ),
    ],
)
def test_a_run_that_is_no_control_is_refused(told, mine, message):
    told, mine = (default_config("rl2", envs.make("grid_navi", **x)) for x in (told, mine))
    with pytest.raises(UserError, match=message):
        check_told("runs/told", told, mine)
