"""The Brax families: rewards, splits, termination, divergence, and the seams to the physics."""

import subprocess
import sys

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.envs.brax import base
from metarl_jax.envs.brax.base import Torso

DT = 0.05  # s, of a step
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
NUM_EPISODES, NUM_STEPS = 4, 3
NAMES = ["half_cheetah_dir", "half_cheetah_vel", "ant_dir"]


def make_rollout(env):
    """Compiles `(tasks, states, actions [N, T, A]) -> states [N, T]`, once for each family."""

    def rollout(task, state, actions):
        def step(state, action):
            state = env.step(task, state, action)
            return state, state

        return jax.lax.scan(step, state, actions)[1]

    return jax.jit(jax.vmap(rollout))


class Family:
    """A family with its compiled functions and one recorded batch of episodes."""

    def __init__(self, name, **options):
        self.env = envs.make(name, **options)
        keys = jax.random.split(jax.random.key(0), NUM_EPISODES)
        self.tasks = jax.vmap(self.env.sample)(keys)
        self.reset = jax.jit(jax.vmap(self.env.reset))
        self.rollout = make_rollout(self.env)
        self.start = self.reset(self.tasks, keys)
        shape = (NUM_EPISODES, NUM_STEPS, self.env.action_space.size)
        # Beyond ±1, so that clipping shows in the control cost.
        self.actions = 2.0 * jax.random.uniform(keys[0], shape, minval=-1.0)
        self.states = self.rollout(self.tasks, self.start, self.actions)

    def velocities(self):
        """The torso's mean velocity over each step, `[N, T, 3]` m/s, from recorded positions."""
        first = np.asarray(self.start.simulator.x.pos)[:, None, 0]
        rest = np.asarray(self.states.simulator.x.pos)[:, :, 0]
        return np.diff(np.concatenate([first, rest], axis=1), axis=1) / DT


@pytest.fixture(scope="module")
def cheetah_dir():
    return Family("half_cheetah_dir")


@pytest.fixture(scope="module")
def ant():
    return Family("ant_dir", variant="pearl19")


def squared_norm(actions):
    return np.sum(np.clip(np.asarray(actions), -1.0, 1.0) ** 2, axis=-1)


def test_half_cheetah_dir_reward(cheetah_dir):
    forward = np.asarray(cheetah_dir.tasks)[:, None] * cheetah_dir.velocities()[..., 0]
    expected = forward - 0.05 * squared_norm(cheetah_dir.actions)
    np.testing.assert_allclose(cheetah_dir.states.reward, expected, atol=1e-4)


def test_half_cheetah_vel_reward(cheetah_dir):
    """On recorded motion: the step itself is that of `half_cheetah_dir`, and dear to compile."""
    env = envs.make("half_cheetah_vel", variant="pearl19")
    velocities, actions = cheetah_dir.velocities()[:, 0], cheetah_dir.actions[:, 0].clip(-1.0, 1.0)
    tasks = jax.vmap(env.sample)(jax.random.split(jax.random.key(3), NUM_EPISODES))
    torso = Torso(
        jnp.zeros((NUM_EPISODES, 3)), jnp.asarray(velocities), jnp.tile(UPRIGHT, (NUM_EPISODES, 1))
    )
    expected = -np.abs(velocities[:, 0] - np.asarray(tasks)) - 0.05 * squared_norm(actions)
    np.testing.assert_allclose(jax.vmap(env.reward)(tasks, torso, actions), expected, rtol=1e-5)


def test_ant_dir_reward(ant):
    forward = np.sum(np.asarray(ant.tasks)[:, None] * ant.velocities()[..., :2], axis=-1)
    expected = forward - 0.5 * squared_norm(ant.actions) + 1.0
    np.testing.assert_allclose(ant.states.reward, expected, atol=1e-4)


def test_ant_dir_finn17_terms():
    env = envs.make("ant_dir", variant="finn17")
    torso = Torso(jnp.array([0.0, 0.0, 0.5]), jnp.array([2.0, 7.0, 9.0]), UPRIGHT)
    reward = env.reward(jnp.array([-1.0, 0.0]), torso, 0.5 * jnp.ones(8))
    np.testing.assert_allclose(reward, -2.0 - 0.005 * 2.0 + 0.05, rtol=1e-6)


def test_direction_flips_the_forward_term_only(cheetah_dir):
    flipped = cheetah_dir.rollout(-cheetah_dir.tasks, cheetah_dir.start, cheetah_dir.actions)
    cost = 0.05 * squared_norm(cheetah_dir.actions)
    np.testing.assert_allclose(
        flipped.reward + cost, -(cheetah_dir.states.reward + cost), atol=1e-5
    )
    np.testing.assert_array_equal(flipped.observation, cheetah_dir.states.observation)


def test_reset_is_determined_by_the_key(cheetah_dir):
    keys = jax.random.split(jax.random.key(0), NUM_EPISODES)
    again = cheetah_dir.reset(cheetah_dir.tasks, keys)
    np.testing.assert_array_equal(again.observation, cheetah_dir.start.observation)
    assert len(np.unique(np.asarray(again.observation)[:, 0])) == NUM_EPISODES
    assert not again.done.any()
    assert not again.reward.any()


def test_episodes_do_not_depend_on_their_batch(cheetah_dir):
    """The same episodes in another order; a batch of one would be a second compilation."""
    order = np.array([2, 0, 3, 1])
    arguments = (cheetah_dir.tasks, cheetah_dir.start, cheetah_dir.actions)
    shuffled = cheetah_dir.rollout(*jax.tree.map(lambda leaf: leaf[order], arguments))
    np.testing.assert_array_equal(shuffled.reward, np.asarray(cheetah_dir.states.reward)[order])


def test_vmapped_equals_single(cheetah_dir):
    single = jax.jit(cheetah_dir.env.step)
    task, start, actions = jax.tree.map(
        lambda leaf: leaf[0], (cheetah_dir.tasks, cheetah_dir.start, cheetah_dir.actions)
    )
    state = single(task, start, actions[0])
    np.testing.assert_allclose(
        state.observation, cheetah_dir.states.observation[0, 0], rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(state.reward, cheetah_dir.states.reward[0, 0], atol=1e-3)


@pytest.mark.parametrize("family", ["cheetah_dir", "ant"])
def test_divergence_ends_the_episode_and_stays_finite(family, request):
    family = request.getfixturevalue(family)
    actions = family.actions.at[0, 1].set(jnp.nan)
    states = family.rollout(family.tasks, family.start, actions)
    assert states.done[0, 1]
    assert states.reward[0, 1] == 0.0
    for leaf in jax.tree.leaves(states):
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(states.observation[0, 1], states.observation[0, 0])
    np.testing.assert_array_equal(states.reward[1:], family.states.reward[1:])
    np.testing.assert_array_equal(states.done[1:], family.states.done[1:])


def test_divergence_of_the_physics_itself(cheetah_dir):
    """Speeds that overflow inside the integrator, with actions that are fine."""
    simulator = cheetah_dir.start.simulator
    fast = simulator.xd_i.replace(vel=simulator.xd_i.vel.at[0].set(1e38))
    start = cheetah_dir.start.replace(simulator=simulator.replace(xd_i=fast))
    states = cheetah_dir.rollout(cheetah_dir.tasks, start, cheetah_dir.actions)
    assert states.done[0].all()
    assert np.isfinite(states.reward).all()
    assert np.isfinite(states.observation).all()
    assert not states.done[1:].any()


@pytest.mark.parametrize(
    ("height", "fallen"), [(0.19, True), (0.21, False), (0.99, False), (1.01, True)]
)
def test_ant_terminates_by_height(height, fallen):
    env = envs.make("ant_dir")
    torso = Torso(jnp.array([0.0, 0.0, height]), jnp.zeros(3), UPRIGHT)
    assert bool(env.terminates(torso)) == fallen


def test_ant_that_is_thrown_up_is_done(ant):
    def lift(transform):
        return transform.replace(pos=transform.pos.at[0, :, 2].add(1.0))

    simulator = ant.start.simulator
    simulator = simulator.replace(x=lift(simulator.x), x_i=lift(simulator.x_i))
    states = ant.rollout(ant.tasks, ant.start.replace(simulator=simulator), ant.actions)
    assert states.done[0].all()
    assert not states.done[1:].any()


@pytest.mark.parametrize("name", ["half_cheetah_dir", "half_cheetah_vel"])
def test_half_cheetah_never_falls(name):
    torso = Torso(jnp.array([0.0, 0.0, -5.0]), jnp.zeros(3), UPRIGHT)
    assert not envs.make(name).terminates(torso)


@pytest.mark.parametrize("name", NAMES)
def test_no_implicit_rank_promotion(name):
    """In our own code: Brax itself relies on it."""
    env = envs.make(name)
    with jax.numpy_rank_promotion("raise"):
        task = env.sample(jax.random.key(0))
        torso = Torso(jnp.zeros(3), jnp.ones(3), UPRIGHT)
        reward = env.reward(task, torso, jnp.ones(env.action_space.size))
        assert reward.shape == env.terminates(torso).shape == ()
        assert env.oracle_observation(task).ndim == 1


@pytest.mark.parametrize(
    ("variant", "split", "low", "high"),
    [
        ("finn17", "train", 0.0, 2.0),
        ("finn17", "test", 0.0, 2.0),
        ("finn17", "ood", 2.0, 3.0),
        ("pearl19", "train", 0.0, 3.0),
        ("pearl19", "ood", 3.0, 4.5),
    ],
)
def test_half_cheetah_vel_ranges(variant, split, low, high):
    env = envs.make("half_cheetah_vel", variant=variant)
    keys = jax.random.split(jax.random.key(1), 1000)
    tasks = np.asarray(jax.vmap(lambda key: env.sample(key, split))(keys))
    assert low <= tasks.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < tasks.max() <= high


@pytest.mark.parametrize("split", ["train", "test"])
def test_direction_tasks(split):
    keys = jax.random.split(jax.random.key(2), 1000)

    def draw(name, **options):
        env = envs.make(name, **options)
        return np.asarray(jax.vmap(lambda key: env.sample(key, split))(keys))

    directions = draw("half_cheetah_dir")
    assert set(directions.tolist()) == {-1.0, 1.0}
    assert abs(directions.mean()) < 0.1
    headings = draw("ant_dir", variant="finn17")
    assert {tuple(heading) for heading in headings.tolist()} == {(-1.0, 0.0), (1.0, 0.0)}
    headings = draw("ant_dir", variant="pearl19")
    np.testing.assert_allclose(np.linalg.norm(headings, axis=-1), 1.0, rtol=1e-5)
    assert np.abs(headings.mean(axis=0)).max() < 0.1


@pytest.mark.parametrize("name", ["half_cheetah_dir", "ant_dir"])
def test_families_without_held_out_tasks_say_so(name):
    env = envs.make(name)
    assert "training tasks again" in env.note
    with pytest.raises(ValueError, match="ood"):
        env.sample(jax.random.key(0), "ood")


@pytest.mark.parametrize("name", NAMES)
def test_oracle_observation(name):
    env = envs.make(name)
    task = env.sample(jax.random.key(0))
    observation = env.oracle_observation(task)
    assert observation.ndim == 1
    assert observation.dtype == jnp.float32
    np.testing.assert_array_equal(observation, np.ravel(task))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("half_cheetah_dir", {"backend": "sprng"}, "env.backend='sprng'.*mean 'spring'"),
        ("half_cheetah_vel", {"variant": "finn71"}, "env.variant='finn71'.*mean 'finn17'"),
        ("ant_dir", {"variant": "pearl"}, "env.variant='pearl'.*mean 'pearl19'"),
        ("ant_dir", {"horizon": 0}, "env.horizon=0.*at least 1"),
    ],
)
def test_validate_names_field_value_and_remedy(name, options, message):
    with pytest.raises(ValueError, match=message):
        envs.make(name, **options).validate()


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("half_cheetah_dir", "spring"),
        ("ant_dir", "spring"),
        pytest.param("half_cheetah_dir", "generalized", marks=pytest.mark.slow),
        pytest.param("half_cheetah_dir", "mjx", marks=pytest.mark.slow),
        pytest.param("ant_dir", "generalized", marks=pytest.mark.slow),
        pytest.param("ant_dir", "positional", marks=pytest.mark.slow),
        pytest.param("ant_dir", "mjx", marks=pytest.mark.slow),
    ],
)
def test_a_step_keeps_shapes_and_strong_types(name, backend):
    env = envs.make(name, backend=backend)
    env.validate()
    key = jax.random.key(0)
    before = jax.eval_shape(env.reset, env.sample(key), key)
    action = jnp.zeros(env.action_space.size)
    after = jax.eval_shape(env.step, env.sample(key), before, action)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)
        assert not old.weak_type
    assert before.observation.shape == (env.observation_size,)
    assert env.physics.env.action_size == env.action_space.size
    np.testing.assert_allclose(env.physics.dt, DT, rtol=1e-6)


def test_physics_first_built_inside_a_trace_is_usable_after_it(monkeypatch):
    fresh = base.functools.cache(base.make_physics.__wrapped__)
    monkeypatch.setattr(base, "make_physics", fresh)
    env = envs.make("half_cheetah_dir")
    jax.eval_shape(env.reset, jnp.ones(()), jax.random.key(0))
    leaves = jax.tree.leaves(env.physics.env.sys)
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    assert env.physics is envs.make("half_cheetah_vel").physics


def test_import_is_lazy_and_building_is_silent(tmp_path):
    code = (
        "import sys\n"
        "from metarl_jax import envs\n"
        "env = envs.make('half_cheetah_dir')\n"
        "assert 'brax' not in sys.modules and 'mujoco' not in sys.modules\n"
        "env.physics\n"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
