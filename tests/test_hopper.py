"""The hopper of uncertain body: what a task changes in the physics, and what it is paid for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.envs.brax.base import Torso
from metarl_jax.envs.brax.hopper import SOURCE, HopperBody

NOMINAL = {"torso_mass": 3.6651914, "friction": 2.0, "damping": 1.0, "armature": 1.0}
NUM_STEPS = 25  # until the foot has slid


def body(**changes):
    return HopperBody(**{name: jnp.float32(x) for name, x in (NOMINAL | changes).items()})


def stack(bodies):
    return jax.tree.map(lambda *x: jnp.stack(x), *bodies)


@pytest.fixture(scope="module")
def env():
    return envs.make("hopper_ensemble", horizon=NUM_STEPS)


@pytest.fixture(scope="module")
def rollout(env):
    """(tasks, actions `[T, A]`) to states `[N, T]`, all from the same start."""

    @jax.jit
    def rollout(tasks, actions):
        def one(task):
            def step(state, action):
                state = env.step(task, state, action)
                return state, state

            start = env.reset(task, jax.random.key(0))
            return jax.lax.scan(step, start, actions)[1]

        return jax.vmap(one)(tasks)

    return rollout


def test_every_part_of_a_task_changes_the_motion_in_one_executable(env, rollout):
    changed = [body(**{name: source.high}) for name, source in SOURCE.items()]
    actions = jax.random.uniform(jax.random.key(1), (NUM_STEPS, 3), minval=-1.0)
    states = rollout(stack([body(), *changed]), actions)
    nominal, *others = np.asarray(states.observation)
    for name, other in zip(SOURCE, others, strict=True):
        assert np.abs(other - nominal).max() > 1e-3, name
    drawn = jax.vmap(env.sample)(jax.random.split(jax.random.key(2), 5))
    more = rollout(drawn, actions)
    assert rollout._cache_size() == 1
    assert np.isfinite(more.observation).all()
    speed = np.diff(np.asarray(states.simulator.x.pos)[:, :, 0, 0], axis=1) / 0.008
    cost = 0.001 * np.square(np.asarray(actions)[1:]).sum(-1)
    np.testing.assert_allclose(states.reward[:, 1:], speed - cost + 1.0, atol=2e-3)


def test_the_nominal_body_is_brax_s_own(env):
    own, nominal = env.physics.env.sys, env.physics_of(body()).env.sys
    for mine, theirs in zip(jax.tree.leaves(nominal), jax.tree.leaves(own), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_a_body_is_put_where_it_belongs(env):
    own = env.physics.env.sys
    task = body(torso_mass=7.3303828, friction=1.7, damping=3.0, armature=0.6)
    system = env.physics_of(task).env.sys
    np.testing.assert_allclose(system.link.inertia.mass[0], 7.3303828, rtol=1e-6)
    np.testing.assert_array_equal(system.link.inertia.mass[1:], own.link.inertia.mass[1:])
    np.testing.assert_allclose(system.link.inertia.i[0], 2.0 * own.link.inertia.i[0], rtol=1e-6)
    np.testing.assert_allclose(system.body_mass[1:], system.link.inertia.mass, rtol=1e-6)
    np.testing.assert_allclose(system.geom_friction[:, 0], [1.0, 0.9, 0.9, 0.9, 1.7], rtol=1e-6)
    for damping in (system.dof.damping, system.dof_damping):
        np.testing.assert_array_equal(damping, [0, 0, 0, 3, 3, 3])
    for armature in (system.dof.armature, system.dof_armature):
        np.testing.assert_allclose(armature, [0, 0, 0, 0.6, 0.6, 0.6], rtol=1e-6)
    np.testing.assert_allclose(env.physics.env.sys.link.inertia.mass[0], 3.6651914, rtol=1e-6)


def test_bodies_are_drawn_from_the_source_distribution(env):
    for split in ("train", "test"):
        keys = jax.random.split(jax.random.key(0), 4000)
        bodies = jax.vmap(lambda key, split=split: env.sample(key, split))(keys)
        for name, source in SOURCE.items():
            values = np.asarray(getattr(bodies, name))
            assert source.low <= values.min() < values.max() <= source.high
            # All are cut symmetrically, so that the mean is that of the whole normal.
            assert values.mean() == pytest.approx(source.mean, abs=0.06 * source.std)
            assert 0.6 * source.std < values.std() < source.std
    assert env.oracle_observation(env.sample(jax.random.key(0))).shape == (4,)
    outside = jax.vmap(lambda key: env.sample(key, "ood"))(keys)
    for name, source in SOURCE.items():
        values = np.asarray(getattr(outside, name))
        beyond = np.maximum(source.low - values, values - source.high)
        assert 0.0 <= beyond.min() < 0.1 * source.std
        assert 0.9 * source.std < beyond.max() <= source.std * (1 + 1e-5)


@pytest.mark.parametrize(
    ("height", "pitch", "fallen"),
    [
        (1.2, 0.0, False),
        (0.69, 0.0, True),
        (1.2, 0.19, False),
        (1.2, 0.21, True),
        (1.2, -0.21, True),
    ],
)
def test_termination_by_height_and_pitch(env, height, pitch, fallen):
    rotation = jnp.array([np.cos(pitch / 2), 0.0, np.sin(pitch / 2), 0.0])
    torso = Torso(jnp.array([3.0, 0.0, height]), jnp.zeros(3), rotation)
    assert bool(env.terminates(torso)) == fallen


def test_physics_that_ignores_the_task_is_refused():
    with pytest.raises(ValueError, match="backend='spring': choose one of generalized, mjx"):
        envs.make("hopper_ensemble", backend="spring").validate()


@pytest.mark.parametrize("backend", ["generalized", pytest.param("mjx", marks=pytest.mark.slow)])
def test_a_step_keeps_shapes_and_types(backend):
    env = envs.make("hopper_ensemble", backend=backend)
    env.validate()
    before = jax.eval_shape(env.reset, body(), jax.random.key(0))
    after = jax.eval_shape(env.step, body(), before, jnp.zeros(3))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)
    assert before.observation.shape == (env.observation_size,)
    assert env.physics.env.action_size == env.action_space.size
    assert env.physics.dt == pytest.approx(0.008)
