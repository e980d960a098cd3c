"""The control that is told the task: what it sees, and how near others come to it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Silent

import metarl_jax
from metarl_jax import envs
from metarl_jax.baselines import evaluate_control
from metarl_jax.cli.main import main
from metarl_jax.config import EvaluationConfig, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import flat_size
from metarl_jax.core.statistics import relative_returns
from metarl_jax.defaults import default_config
from metarl_jax.envs.optional import has_oracle, knows_regret
from metarl_jax.envs.told_task import ToldTask, as_observed, untold
from metarl_jax.learners.rl2 import RL2
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of three short runs: one that is told the task, one that is not, and one evaluated in another split."""
    folder, found = tmp_path_factory.mktemp("told"), []
    for name, is_told, split in (
        ("told", True, "test"),
        ("plain", False, "test"),
        ("other", False, "train"),
    ):
        env = envs.make("point_robot", told_task=is_told, horizon=5)
        config = dataclasses.replace(
            default_config("rl2", env),
            learner=RL2(hidden_size=4, encoder_sizes=(4,)),
            num_meta_steps=1,
            num_tasks=8,
            evaluation=EvaluationConfig(every=0, num_tasks=16, split=split),
            runtime=RuntimeConfig(num_devices=1),
        )
        metarl_jax.train(config, folder / name, console=Silent())
        found.append(folder / name)
    return found


def test_eval_says_how_near_each_split_comes(runs, capsys):
    told, plain, _ = runs
    assert main(["eval", str(plain), "--told", str(told), "--split", "all", "--json"]) == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert list(splits) == ["train", "test", "ood"]
    for split, found in splits.items():
        control = metarl_jax.evaluate(told, split=split, num_tasks=16, console=Silent())
        assert found["told"]["return_mean"] == pytest.approx(control["return_mean"])
        random = np.mean(found["controls"]["random"]["return_mean"])
        expected = (np.array(found["return_mean"]) - random) / (control["return_mean"][-1] - random)
        np.testing.assert_allclose(found["told"]["relative"], expected, rtol=1e-4)
        for value, (low, high) in zip(expected, found["told"]["relative_ci95"], strict=True):
            assert low < value < high
    # `train` and `test` are draws of one distribution, here by the same keys.
    assert splits["ood"]["return_mean"] != splits["test"]["return_mean"]


def test_compare_says_how_near_runs_come(runs, capsys):
    told, plain, other = runs
    assert main(["compare", str(plain), str(other), "--told", str(told), "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    control = json.loads((told / "eval.json").read_text())
    random = np.mean(control["controls"]["random"]["return_mean"])
    mine = rows[str(plain)]
    expected = (np.array(mine["return_mean"]) - random) / (control["return_mean"][-1] - random)
    np.testing.assert_allclose(mine["relative"], expected, rtol=1e-6)
    assert rows[str(other)]["relative"] is None
    assert main(["compare", str(other), "--told", str(told)]) == 2
    assert "was evaluated in split 'test', and these runs in others" in capsys.readouterr().err
