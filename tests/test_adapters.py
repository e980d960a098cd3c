"""Environments of gymnax and jumanji as tasks: physics, termination, masks, ranges, and what is refused."""

import collections
import dataclasses
import importlib
import sys
from urllib.error import URLError

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.cli.main import main
from metarl_jax.cli.run_options import RunOptions, read_run, with_ids
from metarl_jax.core.errors import UserError
from metarl_jax.core.ranges import parse_range
from metarl_jax.core.spaces import Box, Discrete
from metarl_jax.envs.adapters.jumanji_tasks import episode_state, joint_mask
from metarl_jax.envs.adapters.vary import check_vary, with_values
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
        ("jumanji:Knapsac-v1", "did you mean 'Knapsack-v1'"),
        ("jumanji:JobShop-v0", "16,679,880,978,201 combinations of the 10 parts of an action"),
        ("jumanji:MultiCVRP-v0", "has continuous actions"),
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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--env gymnax:CartPole-v1 --seed 1", "--env gymnax --env.id CartPole-v1 --seed 1"),
        ("--env=jumanji:Snake-v1", "--env=jumanji --env.id Snake-v1"),
        ("--env craftax", "--env craftax"),
        ("--env mine.py:Mine --learner my.module:Mine", None),
        ("--name gymnax:CartPole-v1", None),
    ],
)
def test_an_environment_of_a_library_in_one_word(words, expected):
    assert with_ids(words.split()) == (expected or words).split()


def test_an_environment_in_one_word_is_that_of_the_option():
    words = ["rl2", "--env", "jumanji:Snake-v1", "--env.horizon", "20"]
    _, config = read_run(RunOptions, "train", words, "{prog}")
    assert config.env == envs.make("jumanji", id="Snake-v1", horizon=20)


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        pytest.param("gymnax", "MNISTBandit-bsuite", marks=on_this_python),
        ("jumanji", "Sokoban-v0"),
    ],
)
def test_data_that_cannot_be_downloaded(name, id_, monkeypatch):
    def make(id_):
        raise URLError("no route to host")

    monkeypatch.setattr(importlib.import_module(name), "make", make)
    with pytest.raises(UserError, match=rf"env.id='{id_}' needs data .*no route to host"):
        envs.make(name, id=id_).validate()


@dataclasses.dataclass(frozen=True)
class Params:
    """Parameters as libraries have them."""

    force: float = 1.5
    health: int = 5
    is_hard: bool = False
    max_steps_in_episode: int = 100
    angles: tuple = (None, None)

    def replace(self, **values):
        return dataclasses.replace(self, **values)


def test_integers_and_booleans_stay_what_they_are():
    draws = {"force": jnp.float32(2.7), "health": jnp.float32(2.7), "is_hard": jnp.float32(1)}
    params = with_values(Params(), draws)
    assert (float(params.force), int(params.health), bool(params.is_hard)) == (
        pytest.approx(2.7),
        3,
        True,
    )
    assert (params.health.dtype, params.is_hard.dtype) == (jnp.int32, jnp.bool_)


@pytest.mark.parametrize("name", ["strength", "max_steps_in_episode", "angles"])
def test_what_may_differ_between_tasks(name):
    check_vary(("force=1..2", "health=1..3", "is_hard=0,1"), Params(), "Mine")
    with pytest.raises(UserError, match=f"{name!r}.*it has force, health, is_hard"):
        check_vary((f"{name}=1..2",), Params(), "Mine")


def test_masks_of_the_parts_of_an_action_one_by_one():
    """As in Cleaner-v0, whose three agents have four moves each."""
    theirs = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]], bool)
    expected = [
        all(theirs[part, value] for part, value in enumerate(parts))
        for parts in np.ndindex(4, 4, 4)
    ]
    assert sum(expected) == 3 * 2 * 2
    assert joint_mask((4, 4, 4), jnp.asarray(theirs)).tolist() == expected


def test_masks_of_the_parts_of_an_action_together():
    """Minesweeper-v0: an action is a row and a column."""
    env = envs.make("jumanji", id="Minesweeper-v0")
    env.validate()
    assert env.action_space == Discrete(100)
    task = env.sample(jax.random.key(0))
    start = jax.jit(env.reset)(task, jax.random.key(0))
    assert env.action_mask(task, start).all()
    after = jax.jit(env.step)(task, start, jnp.int32(37))
    allowed = np.asarray(env.action_mask(task, after))
    assert allowed.tolist() == [action != 37 for action in range(100)]
    opened = np.asarray(after.simulator[0].board) != start.simulator[0].board
    assert np.argwhere(opened).tolist() == [[3, 7]]


@pytest.mark.parametrize(("end", "done"), [("termination", True), ("truncation", False)])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_a_time_limit_of_jumanji_is_no_termination(end, done, shape):
    """Also where each of several agents has a discount."""
    types = importlib.import_module("jumanji.types")
    observation = collections.namedtuple("Observation", ["board"])(jnp.zeros(3))
    timestep = getattr(types, end)(jnp.ones(shape), observation, shape=shape)
    assert timestep.last()
    assert bool(episode_state((4,), (), timestep, jnp.float32(0)).done) == done


@pytest.mark.parametrize("name", ["gymnax", "jumanji", "craftax"])
def test_a_library_that_is_missing_is_told_with_the_remedy(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    module = sys.modules[envs.get(name).__module__]
    module.load.cache_clear()
    with pytest.raises(UserError, match=rf"pip install 'metarl_jax\[{name}\]'"):
        dataclasses.replace(envs.make(name)).validate()
    module.load.cache_clear()
