"""The contract of task distributions, over all that cost little, and what is particular to each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.core.spaces import Discrete, encode_action
from metarl_jax.core.validation import check_fields

EXACT = (
    "bandit",
    "recurring_bandit",
    "grid_navi",
    "dark_room",
    "dark_room_hard",
    "dark_key_to_door",
    "point_robot",
    "point_robot_sparse",
    "tabular_mdp",
    "random_mdp",
)
FEW_TASKS = ("softmax_bandit", "point_1d")


def some_action(env, key):
    space = env.action_space
    if isinstance(space, Discrete):
        return jax.random.randint(key, (), 0, space.num_actions)
    return jax.random.uniform(key, (space.size,), minval=space.low, maxval=space.high)


@pytest.mark.parametrize("name", EXACT + FEW_TASKS)
def test_contract(name, strict_ranks):
    """Shapes and types stay the same from step to step, and keys alone decide what happens."""
    env = envs.make(name)
    check_fields(env)

    @jax.jit
    def episode(key):
        task_key, reset_key, *keys = jax.random.split(key, 5)
        task = env.sample(task_key)
        states = [env.reset(task, reset_key)]
        for key in keys:
            states.append(env.step(task, states[-1], some_action(env, key)))
        return states

    states = episode(jax.random.key(0))
    for state in states:
        assert state.observation.shape == (env.observation_size,)
        assert state.observation.dtype == state.reward.dtype == jnp.float32
        assert state.reward.shape == state.done.shape == ()
        assert state.done.dtype == bool
        assert jax.tree.structure(state) == jax.tree.structure(states[0])
    jax.tree.map(np.testing.assert_array_equal, raw(states), raw(episode(jax.random.key(0))))
    action = some_action(env, jax.random.key(0))
    assert encode_action(env.action_space, action).dtype == jnp.float32


def raw(states):
    """States as plain arrays, keys by their data."""
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, states)


@pytest.mark.parametrize("name", EXACT + FEW_TASKS)
def test_splits(name):
    env = envs.make(name)
    keys = jax.random.split(jax.random.key(1), 200)
    for split in env.splits:
        tasks = jax.vmap(lambda key, split=split: env.oracle_observation(env.sample(key, split)))(
            keys
        )
        assert (len(np.unique(np.asarray(tasks), axis=0)) > 10) == (name in EXACT)
    with pytest.raises(ValueError, match="split='nowhere'"):
        env.sample(keys[0], "nowhere")


def test_point_robot_goals():
    env = envs.make("point_robot")
    keys = jax.random.split(jax.random.key(0), 2000)
    train = np.asarray(jax.vmap(env.sample)(keys))
    ood = np.asarray(jax.vmap(lambda key: env.sample(key, "ood"))(keys))
    assert np.abs(train).max() <= 0.5
    assert np.abs(train.mean(axis=0)).max() < 0.03
    assert (np.abs(ood).max(axis=1) >= 0.5).all()
    assert np.abs(ood).max() <= 1.0
    assert np.abs(ood.mean(axis=0)).max() < 0.06


def test_point_robot_step():
    env = envs.make("point_robot")
    goal = jnp.array([0.05, -0.3])
    state = env.step(goal, env.reset(goal, jax.random.key(0)), jnp.array([0.05, -7.0]))
    np.testing.assert_allclose(state.observation, [0.05, -0.1], atol=1e-6)
    assert float(state.reward) == pytest.approx(-0.2, abs=1e-6)
    assert not state.done
    for _ in range(2):
        state = env.step(goal, state, jnp.array([0.0, -0.1]))
    assert state.done


@pytest.mark.parametrize(("horizon", "value"), [(20, 13.23), (100, 93.23)])
def test_point_robot_sparse_straight_line(horizon, value):
    """The known return of the way straight to a known goal, mean over the half circle."""
    env = envs.make("point_robot_sparse", horizon=horizon)

    @jax.jit
    @jax.vmap
    def straight_line(angle):
        goal = jnp.stack([jnp.cos(angle), jnp.sin(angle)])

        def step(state, _):
            state = env.step(goal, state, env.oracle_action(goal, state.observation))
            return state, state.reward

        return jax.lax.scan(step, env.reset(goal, None), length=horizon)[1].sum()

    angles = jnp.pi * (jnp.arange(2000) + 0.5) / 2000
    assert float(straight_line(angles).mean()) == pytest.approx(value, abs=0.01)


def test_point_robot_sparse_pays_near_the_goal_only():
    env = envs.make("point_robot_sparse")
    goal = jnp.array([0.0, 1.0])
    state = env.reset(goal, jax.random.key(0)).replace(observation=jnp.array([0.0, 0.75]))
    near = env.step(goal, state, jnp.array([0.0, 5.0]))
    np.testing.assert_allclose(near.observation, [0.0, 0.85], atol=1e-6)
    assert float(near.reward) == pytest.approx(0.85, abs=1e-6)
    assert float(env.step(goal, state, jnp.array([1.0, 0.0])).reward) == 0.0


def test_point_robot_sparse_goals():
    env = envs.make("point_robot_sparse")
    keys = jax.random.split(jax.random.key(0), 2000)
    train, ood = (
        np.asarray(jax.vmap(lambda key, split=split: env.sample(key, split))(keys))
        for split in ("train", "ood")
    )
    for goals, sign in ((train, 1.0), (ood, -1.0)):
        np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1.0, rtol=1e-5)
        assert (sign * goals[:, 1] >= 0).all()
        assert np.abs(goals[:, 0].mean()) < 0.06


def test_grid_navi_has_21_goals_and_walls():
    env = envs.make("grid_navi")
    goals = {tuple(goal) for goal in env.goals().tolist()}
    assert len(goals) == 21
    assert not goals & {(0, 0), (0, 1), (1, 0), (1, 1)}
    goal = jnp.array([0, 2])
    state = env.reset(goal, jax.random.key(0))
    rewards = []
    for action in (3, 4, 1, 1, 0, 1):  # two walls, two steps up, stay, beyond
        state = env.step(goal, state, jnp.int32(action))
        rewards.append(float(state.reward))
    np.testing.assert_allclose(rewards, [-0.1, -0.1, -0.1, 1.0, 1.0, -0.1], atol=1e-6)
    assert state.simulator.cell.tolist() == [0, 3]


def test_bandit_pays_by_its_arms():
    env = envs.make("bandit", num_arms=3)
    task = jnp.array([0.0, 1.0, 0.3])

    def pull(key, arm):
        return env.step(task, env.reset(task, key), arm).reward

    keys = jax.random.split(jax.random.key(0), 4000)
    means = [float(jax.vmap(pull, (0, None))(keys, jnp.int32(arm)).mean()) for arm in range(3)]
    assert means[:2] == [0.0, 1.0]
    assert means[2] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("name", ["tabular_mdp", "random_mdp", "point_1d", "softmax_bandit"])
def test_tables_are_distributions(name):
    env = envs.make(name)
    mdp = env.mdp(env.sample(jax.random.key(0)))
    num_states, num_actions = env.sizes
    assert mdp.transition.shape == (num_states, num_actions, num_states)
    assert mdp.reward.shape == (num_states, num_actions)
    np.testing.assert_allclose(mdp.transition.sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(mdp.start.sum(), 1.0, rtol=1e-5)
    assert (mdp.transition >= 0).all()


def test_random_mdp_discounts_its_rewards():
    env = envs.make("random_mdp", num_states=1, discount=0.5)
    task = env.sample(jax.random.key(0))
    state, rewards = env.reset(task, jax.random.key(1)), []
    for _ in range(3):
        state = env.step(task, state, jnp.int32(2))
        rewards.append(float(state.reward / task.reward[0, 2]))
    np.testing.assert_allclose(rewards, [1.0, 0.5, 0.25], rtol=1e-6)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'grid_navi'"):
        envs.get("grid_nav")
