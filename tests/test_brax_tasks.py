"""Goals, speeds and headings of ants and humanoids, and robots of random physics: tasks, rewards, termination."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.envs.brax.base import Torso
from metarl_jax.envs.brax.random_physics import PhysicsFactors

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0], np.float32)


def draw(env, split="train", count=2000):
    keys = jax.random.split(jax.random.key(1), count)
    return jax.vmap(lambda key: env.sample(key, split))(keys)


def torso(position=(0.0, 0.0, 0.5), velocity=(0.0, 0.0, 0.0), rotation=UPRIGHT):
    return Torso(*(jnp.asarray(x, jnp.float32) for x in (position, velocity, rotation)))


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("finn17", -(2.5 + 3.0) - 0.005 * 2.0 + 4.05), ("pearl19", -(2.5 + 3.0) - 0.1 * 2.0)],
)
def test_ant_goal_reward(variant, expected):
    env = envs.make("ant_goal", variant=variant)
    state = torso(position=(1.5, -2.0, 0.5), velocity=(9.0, 9.0, 9.0))
    reward = env.reward(jnp.array([-1.0, 1.0]), state, 0.5 * jnp.ones(8))
    assert float(reward) == pytest.approx(expected, rel=1e-6)
    assert bool(env.terminates(torso(position=(0.0, 0.0, 0.1)))) == (variant == "finn17")
    assert not env.terminates(torso(position=(9.0, 9.0, 0.99)))


def test_ant_vel_reward():
    env = envs.make("ant_vel")
    state = torso(velocity=(0.5, 7.0, 9.0))
    reward = env.reward(jnp.float32(2.0), state, 0.5 * jnp.ones(8))
    assert float(reward) == pytest.approx(-1.5 + 1.0 - 0.005 * 2.0 + 0.05, rel=1e-6)
    assert env.terminates(torso(position=(0.0, 0.0, 1.01)))
    assert not env.terminates(torso(position=(0.0, 0.0, 0.21)))


def test_humanoid_dir_reward():
    env = envs.make("humanoid_dir")
    heading = jnp.array([0.6, 0.8])
    reward = env.reward(heading, torso(velocity=(2.0, -1.0, 5.0)), 0.5 * jnp.ones(17))
    expected = 1.25 * (0.6 * 2.0 - 0.8) - 0.1 * 17 * 0.2**2 + 5.0
    assert float(reward) == pytest.approx(expected, rel=1e-6)
    for height, fallen in ((0.99, True), (1.01, False), (1.99, False), (2.01, True)):
        assert bool(env.terminates(torso(position=(0.0, 0.0, height)))) == fallen


@pytest.mark.parametrize(
    ("name", "height", "pitch", "fallen"),
    [
        ("walker2d_params", 0.79, 0.0, True),
        ("walker2d_params", 0.81, 0.99, False),
        ("walker2d_params", 1.99, -0.99, False),
        ("walker2d_params", 2.01, 0.0, True),
        ("walker2d_params", 1.2, 1.01, True),
        ("walker2d_params", 1.2, -1.01, True),
        ("hopper_params", 0.69, 0.0, True),
        ("hopper_params", 0.71, 0.19, False),
        ("hopper_params", 1.2, -0.21, True),
    ],
)
def test_walkers_and_hoppers_fall(name, height, pitch, fallen):
    rotation = [np.cos(pitch / 2), 0.0, np.sin(pitch / 2), 0.0]
    state = torso(position=(3.0, 0.0, height), rotation=rotation)
    assert bool(envs.make(name).terminates(state)) == fallen


def test_goals_and_speeds_of_ants():
    for split, low, high in (("train", 0.0, 3.0), ("ood", 3.0, 4.5)):
        speeds = np.asarray(draw(envs.make("ant_vel"), split))
        assert low <= speeds.min() < low + 0.1
        assert high - 0.1 < speeds.max() <= high
        square = np.abs(np.asarray(draw(envs.make("ant_goal"), split))).max(axis=1)
        assert low <= square.min()
        assert high - 0.1 < square.max() <= high
        disc = np.linalg.norm(draw(envs.make("ant_goal", variant="pearl19"), split), axis=1)
        assert low <= disc.min() + 1e-5
        assert high - 0.1 < disc.max() <= high + 1e-5
        # Uniform on the disc or the ring: the squared radius is uniform.
        assert (disc**2).mean() == pytest.approx((low**2 + high**2) / 2, rel=0.05)


def test_points_of_the_frame_are_outside_the_square():
    for name in ("point_robot", "rotated_point_robot"):
        env = envs.make(name)
        tasks = draw(env, "ood")
        goals = np.abs(np.asarray(getattr(tasks, "goal", tasks)))
        assert goals.max(axis=1).min() >= 0.5
        assert 0.99 < goals.max() <= 1.0
        assert (goals.min(axis=1) < 0.5).any()


@pytest.mark.parametrize(("name", "num_links"), [("walker2d_params", 7), ("hopper_params", 4)])
def test_factors_are_drawn_within_their_ranges(name, num_links):
    env = envs.make(name)
    for split, low, high in (("train", 0.0, 3.0), ("ood", 3.0, 3.75)):
        tasks = draw(env, split)
        assert tasks.mass.shape == (2000, num_links)
        assert tasks.inertia.shape == (2000, num_links, 3)
        for field, base in (("mass", 1.5), ("inertia", 1.5), ("friction", 1.5), ("damping", 1.3)):
            exponents = np.log(np.asarray(getattr(tasks, field))) / np.log(base)
            assert low <= np.abs(exponents).min() + 1e-4
            assert high - 0.1 < np.abs(exponents).max() <= high + 1e-4
            assert abs(exponents.mean()) < 0.1
    told = env.oracle_observation(jax.tree.map(lambda x: x[0], draw(env)))
    assert float(jnp.abs(told).max()) <= 3.0 * np.log(1.5) + 1e-5


@pytest.mark.parametrize("name", ["walker2d_params", "hopper_params"])
def test_factors_are_put_where_they_belong(name):
    env = envs.make(name)
    own = env.physics.env.sys
    ones = jax.tree.map(jnp.ones_like, env.sample(jax.random.key(0)))
    nominal = env.physics_of(ones).env.sys
    for mine, theirs in zip(jax.tree.leaves(nominal), jax.tree.leaves(own), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    task = PhysicsFactors(
        mass=ones.mass.at[1].set(2.0),
        inertia=ones.inertia.at[1, 2].set(3.0),
        damping=ones.damping.at[0].set(4.0),
        friction=ones.friction.at[-1, 0].set(5.0),
    )
    system = env.physics_of(task).env.sys

    def ratio(read):
        mine, theirs = np.asarray(read(system)), np.asarray(read(own))
        return np.where(theirs == 0, mine, mine / np.where(theirs == 0, 1.0, theirs))

    mass, body_mass = ratio(lambda s: s.link.inertia.mass), ratio(lambda s: s.body_mass)
    assert mass[1] == body_mass[2] == 2.0
    assert (np.delete(mass, 1) == 1.0).all()
    assert ratio(lambda s: s.link.inertia.i)[1, 2, 2] == pytest.approx(3.0)
    assert ratio(lambda s: s.body_inertia)[2].tolist() == pytest.approx([1.0, 1.0, 3.0])
    for damping in (ratio(lambda s: s.dof.damping), ratio(lambda s: s.dof_damping)):
        assert damping[3] == pytest.approx(4.0)
        np.testing.assert_allclose(damping[4:], 1.0)
    assert ratio(lambda s: s.geom_friction)[-1, 0] == pytest.approx(5.0)


def rollout(env, num_steps=3, num_tasks=3):
    """Tasks, the start, actions `[T, A]` and states `[N, T]` of random actions, and the compiled function."""

    @jax.jit
    def run(tasks, actions):
        def one(task):
            start = env.reset(task, jax.random.key(0))

            def step(state, action):
                state = env.step(task, state, action)
                return state, state

            return start, jax.lax.scan(step, start, actions)[1]

        return jax.vmap(one)(tasks)

    tasks = draw(env, count=num_tasks)
    shape = (num_steps, env.action_space.size)
    actions = jax.random.uniform(jax.random.key(2), shape, minval=-2.0, maxval=2.0)
    return tasks, actions, *jax.device_get(run(tasks, actions)), run


def velocity(start, states, dt):
    """The torso's mean velocity over each step, `[N, T, 3]` m/s, from recorded positions."""
    first, rest = start.simulator.x.pos[:, None, 0], states.simulator.x.pos[:, :, 0]
    return np.diff(np.concatenate([first, rest], axis=1), axis=1) / dt


@pytest.mark.parametrize(
    "name", ["hopper_params", pytest.param("walker2d_params", marks=pytest.mark.slow)]
)
def test_random_physics_move_by_their_factors_in_one_executable(name):
    env = envs.make(name)
    _, actions, start, states, run = rollout(env)
    speed = velocity(start, states, 0.008)[..., 0]
    cost = 1e-3 * (np.clip(actions, -1, 1) ** 2).sum(-1)
    np.testing.assert_allclose(states.reward, speed - cost + 1.0, atol=2e-3)
    assert np.abs(np.diff(states.observation[:, -1], axis=0)).max() > 1e-3  # bodies differ
    run(draw(env, "ood", count=3), actions)
    assert run._cache_size() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ant_goal", "ant_vel", "humanoid_dir"])
def test_rewards_of_recorded_motion(name):
    env = envs.make(name)
    tasks, actions, start, states, _ = rollout(env)
    assert states.observation.shape == (3, 3, env.observation_size)
    dt = {"humanoid_dir": 0.015}.get(name, 0.05)
    moved = velocity(start, states, dt)
    squares = (np.clip(actions, -1, 1) ** 2).sum(-1)
    goals = np.asarray(tasks).reshape(3, 1, -1)
    position = states.simulator.x.pos[:, :, 0]
    if name == "ant_goal":
        expected = -np.abs(position[..., :2] - goals).sum(-1) - 0.005 * squares + 4.05
        np.testing.assert_allclose(states.observation[..., :2], position[..., :2], atol=1e-4)
    elif name == "ant_vel":
        expected = -np.abs(moved[..., 0] - goals[..., 0]) - 0.005 * squares + 1.05
    else:
        expected = 1.25 * (moved[..., :2] * goals).sum(-1) - 0.1 * 0.16 * squares + 5.0
    np.testing.assert_allclose(states.reward, expected, atol=2e-3)
