"""Environments of gymnax and jumanji as tasks: physics, termination, masks, ranges, and what is refused."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Box, Discrete
from metarl_jax.envs.adapters.ranges import parse_range
from metarl_jax.testing import check_env

on_this_python = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="gymnax 1.0 needs jax < 0.12, and so Python 3.11"
)


def test_ranges():
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = lambda text, **options: np.asarray(  # noqa: E731
        jax.jit(jax.vmap(lambda key: parse_range(text, "x").sample(key, **options)))(keys)
    )
    plain = draw("5..15")
    assert 5 <= plain.min() < 5.1 < 14.9 < plain.max() <= 15
    assert plain.mean() == pytest.approx(10, abs=0.2)
    scaled = draw("0.01..100:log")
    assert np.median(np.log10(scaled)) == pytest.approx(0, abs=0.15)
    assert set(draw("-1,2.5").tolist()) == {-1.0, 2.5}
    beyond = draw("5..15", outside=True)
    assert 15 <= beyond.min() < 15.1 < 19.9 < beyond.max() <= 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9..2", "low end above its high end: write 2..9"),
        ("one..two", "is no range"),
        ("1..2:lin", "is no range"),
        ("1,2:log", "is no range"),
        ("0..2:log", "must begin above 0"),
    ],
)
def test_bad_ranges(text, message):
    with pytest.raises(UserError, match=message):
        parse_range(text, "env.vary: gravity")


@on_this_python
def test_cart_poles_move_by_the_physics_of_their_task():
    """The equations of Barto, Sutton & Anderson (1983), as in Gym, with the parameters of the task."""
    env = envs.make("gymnax", vary=("gravity=5..15", "force_mag=-10,10", "masscart=0.5..2"))
    check_env(env)
    tasks = jax.vmap(env.sample)(jax.random.split(jax.random.key(0), 5))
    for index in range(5):
        task = jax.tree.map(lambda x, i=index: x[i], tasks)
        state = env.reset(task, jax.random.key(index))
        for action in (0, 1, 1):
            x, x_dot, theta, theta_dot = np.asarray(state.observation, np.float64)
            gravity, force, cart = (float(task[n]) for n in ("gravity", "force_mag", "masscart"))
            push = force if action else -force
            # gymnax keeps the total mass of its defaults, 1.1, and 0.05 for the pole's mass times its length.
            total, pole_length, length, pole = 1.1, 0.05, 0.5, 0.1
            del cart
            temp = (push + pole_length * theta_dot**2 * np.sin(theta)) / total
            angular = (gravity * np.sin(theta) - np.cos(theta) * temp) / (
                length * (4 / 3 - pole * np.cos(theta) ** 2 / total)
            )
            linear = temp - pole_length * angular * np.cos(theta) / total
            expected = [
                x + 0.02 * x_dot,
                x_dot + 0.02 * linear,
                theta + 0.02 * theta_dot,
                theta_dot + 0.02 * angular,
            ]
            state = env.step(task, state, jnp.int32(action))
            np.testing.assert_allclose(state.observation, expected, rtol=1e-4, atol=1e-5)
            assert state.reward == 1.0
            assert not state.done


@on_this_python
def test_a_pole_that_falls_terminates_and_is_not_reset():
    env = envs.make("gymnax", vary=("gravity=5..15",))
    task = env.sample(jax.random.key(0))
    state, done = env.reset(task, jax.random.key(1)), []
    for _ in range(40):
        state = env.step(task, state, jnp.int32(1))
        done.append(bool(state.done))
    assert any(done)
    first = done.index(True)
    assert all(done[first:])  # the library's own reset would begin anew
    assert abs(float(state.observation[2])) > 0.2


@on_this_python
def test_a_new_task_needs_no_compilation():
    env = envs.make("gymnax", vary=("gravity=5..15",))
    step = jax.jit(env.step)
    for seed in range(3):
        task = env.sample(jax.random.key(seed))
        step(task, env.reset(task, jax.random.key(0)), jnp.int32(1))
    assert step._cache_size() == 1


@on_this_python
def test_continuous_actions_of_gymnax():
    env = envs.make("gymnax", id="Pendulum-v1", vary=("g=5..15",))
    env.validate()
    assert env.action_space == Box(1, -2.0, 2.0)
    task = env.sample(jax.random.key(0))
    start = env.reset(task, jax.random.key(1))
    inside, beyond = (env.step(task, start, jnp.array([x])) for x in (2.0, 50.0))
    np.testing.assert_array_equal(inside.observation, beyond.observation)
    assert env.episode_length == 200


def test_a_knapsack_is_the_same_in_every_episode_and_masks_what_does_not_fit():
    env = envs.make("jumanji", horizon=50)
    env.validate()
    assert env.action_space == Discrete(50)
    task = env.sample(jax.random.key(0))
    one, two = (env.reset(task, jax.random.key(k)) for k in (1, 2))
    np.testing.assert_array_equal(one.observation, two.observation)
    other = env.reset(env.sample(jax.random.key(5)), jax.random.key(1))
    assert np.abs(other.observation - one.observation).max() > 0.1
    values = np.asarray(jax.tree.leaves(one.simulator[0].values)[0])
    step = jax.jit(env.step)
    state, total, done = one, 0.0, False
    for _ in range(50):
        mask = np.asarray(env.action_mask(task, state))
        action = int(np.argmax(mask))
        state = step(task, state, jnp.int32(action))
        assert state.reward == pytest.approx(values[action])
        total += values[action]
        if state.done:
            done = True
            break
        assert not env.action_mask(task, state)[action]
    assert done
    assert total > 5
    packed = np.asarray(state.simulator[0].packed_items)
    weights = np.asarray(state.simulator[0].weights)
    assert (weights * packed).sum() <= 12.5
    assert weights[~packed].min() > 12.5 - (weights * packed).sum() - 1e-5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            "gymnax --env.id CartPol-v1", "did you mean 'CartPole-v1'", marks=on_this_python
        ),
        pytest.param(
            "gymnax --env.vary gravty=1..2", "no numeric parameter 'gravty'", marks=on_this_python
        ),
        pytest.param("gymnax --env.vary gravity=9..2", "write 2..9", marks=on_this_python),
        pytest.param("gymnax --env.vary gravity=5..6 gravity=7..8", "twice", marks=on_this_python),
        pytest.param("gymnax --env.vary gravity=nan..6", "finite ends", marks=on_this_python),
        pytest.param(
            "gymnax --env.id Acrobot-v1 --env.vary available_torque=1..2",
            "no numeric parameter",
            marks=on_this_python,
        ),
        ("jumanji --env.id Knapsac-v1", "did you mean 'Knapsack-v1'"),
        ("jumanji --env.id Snake-v1 --env.horizon 99999", "not below the time limit"),
    ],
)
def test_bad_use_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "rl2", "--env", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gymnax", "jumanji"])
def test_a_library_that_is_missing_is_told_with_the_remedy(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    module = sys.modules[envs.get(name).__module__]
    module.load.cache_clear()
    with pytest.raises(UserError, match=rf"pip install 'metarl_jax\[{name}\]'"):
        dataclasses.replace(envs.make(name)).validate()
    module.load.cache_clear()
