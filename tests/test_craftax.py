"""Craftax: worlds as tasks, rewards, lives, and parameters that reach the game."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Discrete

NOOP = jnp.int32(0)


@pytest.fixture(scope="module")
def game():
    """An environment with its compiled `reset` and `step`, and a task."""
    env = envs.make("craftax", horizon=60, vary=("day_length=100..1000", "cow_health=2..4"))
    env.validate()
    task = jax.jit(env.sample)(jax.random.key(0))
    return env, jax.jit(env.reset), jax.jit(env.step), task


def changed(state, **fields):
    """A state whose world differs."""
    world, *others = state.simulator
    return state.replace(simulator=(world.replace(**fields), *others))


def test_a_task_is_one_world(game):
    env, reset, step, task = game
    one, two = (reset(task, jax.random.key(k)) for k in (1, 2))
    np.testing.assert_array_equal(one.simulator[0].map, two.simulator[0].map)
    np.testing.assert_array_equal(one.observation, two.observation)
    other = reset({**task, "world": task["world"] + 1}, jax.random.key(1))
    assert (np.asarray(other.simulator[0].map) != one.simulator[0].map).mean() > 0.1
    for _ in range(20):
        one, two = step(task, one, NOOP), step(task, two, NOOP)
    # Creatures walk by the key of the episode.
    positions = [np.asarray(state.simulator[0].cows.position) for state in (one, two)]
    assert (positions[0] != positions[1]).any()
    assert env.oracle_observation(task).tolist() == [task["day_length"], task["cow_health"]]


def test_achievements_are_rewarded_and_counted(game):
    env, reset, step, task = game
    state = reset(task, jax.random.key(3))
    assert env.action_space == Discrete(17)
    assert env.metric_names == ("achievements", "achievements_mean")
    generator, total = np.random.default_rng(0), 0
    for _ in range(60):
        before, action = state, jnp.int32(generator.integers(17))
        state = step(task, before, action)
        old, new = before.simulator[0], state.simulator[0]
        found = int(new.achievements.sum()) - int(old.achievements.sum())
        health = float(new.player_health) - float(old.player_health)
        assert state.reward == pytest.approx(found + 0.1 * health, abs=1e-5)
        total += found
        assert float(state.metrics["achievements"]) == total
        assert not state.done
    assert total > 0


def test_a_life_ends_and_the_time_limit_of_craftax_does_not_end_it(game):
    _, reset, step, task = game
    start = reset(task, jax.random.key(4))
    late = step(task, changed(start, timestep=jnp.int32(1_000_000)), NOOP)
    assert not late.done
    dead = step(
        task, changed(start, player_health=jnp.zeros_like(late.simulator[0].player_health)), NOOP
    )
    assert dead.done
    assert dead.simulator[0].timestep == 1  # it is not reset


def test_parameters_of_the_task_reach_the_game(game):
    _, reset, step, task = game
    start = changed(reset(task, jax.random.key(5)), timestep=jnp.int32(40))
    for length in (100.0, 500.0):
        state = step({**task, "day_length": jnp.float32(length)}, start, NOOP)
        light = 1 - abs(np.cos(np.pi * (41 / length + 0.3))) ** 3
        assert float(state.simulator[0].light_level) == pytest.approx(light, abs=1e-4)
    assert step._cache_size() == 1


def test_the_full_game():
    env = envs.make("craftax", id="Craftax-Symbolic-v1")
    env.validate()
    assert env.observation_size == 8268
    assert env.action_space == Discrete(43)
    task = env.sample(jax.random.key(0))
    before = jax.eval_shape(env.reset, task, jax.random.key(0))
    after = jax.eval_shape(env.step, task, before, NOOP)
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), before) == jax.tree.map(
        lambda x: (x.shape, x.dtype, x.weak_type), after
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "Craftax-Symbolc-v1"}, "did you mean 'Craftax-Symbolic-v1'"),
        ({"id": "Craftax-Pixels-v1"}, "unknown to the library"),
        ({"vary": ("cow_helth=1..2",)}, "no numeric parameter 'cow_helth'.*mean 'cow_health'"),
        ({"vary": ("max_timesteps=1..2",)}, "no numeric parameter 'max_timesteps'"),
        ({"vary": ("fractal_noise_angles=1..2",)}, "no numeric parameter"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        envs.make("craftax", **options).validate()
