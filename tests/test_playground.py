"""The half-cheetah on MuJoCo Playground: its physics is MuJoCo's, and its rewards are ours."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.envs.brax import base

NUM_STEPS, DT = 3, 0.05

where_installed = pytest.mark.skipif(
    importlib.util.find_spec("mujoco_playground") is None,
    reason="MuJoCo Playground brings 400 MB and is not in the extra dev: "
    "pip install 'metarl_jax[playground]'",
)


@pytest.fixture
def is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    monkeypatch.setattr(base, "make_physics", base.functools.cache(base.make_physics.__wrapped__))


@pytest.mark.parametrize("name", ["half_cheetah_vel", "half_cheetah_dir"])
def test_a_missing_library_is_told_with_the_remedy(name, is_missing):
    with pytest.raises(UserError, match=r"pip install 'metarl_jax\[playground\]'"):
        envs.make(name, backend="playground").validate()


def test_a_missing_library_is_one_line_before_any_compilation(
    is_missing, compilations, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = "train maml --env half_cheetah_vel --env.backend playground"
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert "env.backend='playground' needs the library mujoco_playground" in error
    assert "Traceback" not in error
    assert compilations == []
    assert list(tmp_path.iterdir()) == []


def test_robots_that_playground_does_not_have_refuse_it():
    with pytest.raises(UserError, match=r"env.backend='playground': choose one of spring"):
        envs.make("ant_dir", backend="playground").validate()


@pytest.fixture(scope="module")
def episode():
    """A task, and the states of a short episode, `[T + 1]`, with the actions `[T, 6]`."""
    env = envs.make("half_cheetah_vel", backend="playground")
    env.validate()
    task = 1.5
    # The third is beyond the limits of the motors, and the fourth is not a number.
    actions = jax.random.uniform(jax.random.key(1), (NUM_STEPS + 1, 6), minval=-1.0)
    actions = actions.at[2].mul(5.0).at[3].set(jnp.nan)

    @jax.jit
    def play(task, key):
        start = env.reset(task, key)

        def step(state, action):
            state = env.step(task, state, action)
            return state, state

        return start, jax.lax.scan(step, start, actions)[1]

    start, states = play(task, jax.random.key(0))
    states = jax.tree.map(lambda first, rest: np.stack([first, *rest]), start, states)
    return env, task, states, np.asarray(actions)


@where_installed
def test_playground_moves_as_mujoco_does(episode):
    """MuJoCo's own engine, in C, from the same state and with the same torques."""
    import mujoco

    env, _, states, actions = episode
    model = env.physics.env.sys.mj_model
    assert model.opt.timestep == pytest.approx(0.01)
    simulator = states.simulator.data
    for t in range(NUM_STEPS):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = simulator.qpos[t], simulator.qvel[t]
        data.qacc_warmstart[:] = simulator.qacc_warmstart[t]
        data.ctrl[:] = np.clip(actions[t], -1, 1)
        mujoco.mj_step(model, data, nstep=5)
        np.testing.assert_allclose(simulator.qpos[t + 1], data.qpos, atol=2e-3)
        np.testing.assert_allclose(simulator.qvel[t + 1], data.qvel, atol=0.2)
        np.testing.assert_allclose(states.observation[t + 1][:8], simulator.qpos[t + 1][1:])
        np.testing.assert_allclose(states.observation[t + 1][8:], simulator.qvel[t + 1])
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(states.simulator.x.pos[t + 1], data.xpos[1:], atol=2e-3)


@where_installed
def test_playground_rewards_the_speed_over_a_step(episode):
    _, task, states, actions = episode
    x = states.simulator.data.qpos[:, 0]
    for t in range(NUM_STEPS):
        speed = (x[t + 1] - x[t]) / DT
        cost = 0.05 * np.sum(np.clip(actions[t], -1, 1) ** 2)
        assert states.reward[t + 1] == pytest.approx(-abs(speed - task) - cost, abs=1e-3)
    assert np.abs(np.diff(x)[:NUM_STEPS]).max() > 1e-3


@where_installed
def test_playground_that_diverges_ends_the_episode_and_stays_finite(episode):
    _, _, states, _ = episode
    assert states.done.tolist() == [False] * (NUM_STEPS + 1) + [True]
    assert states.reward[-1] == 0
    for leaf in jax.tree.leaves(states):
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(states.observation[-1], states.observation[-2])


@where_installed
def test_playground_keeps_strong_types_and_draws_itself(episode):
    env, task, states, _ = episode
    start = jax.eval_shape(env.reset, task, jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(start))
    assert start.observation.shape == (env.observation_size,)
    assert env.physics.env.action_size == env.action_space.size
    assert env.physics.dt == pytest.approx(DT)
    scene = env.render(np.asarray(task), states)
    assert len(scene.frames) == len(states.reward)
