"""Training that is told what actions cost: the same objective as that of the rewards, and unseen by the learner."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, experiments, learners
from metarl_jax.analysis.exact_gradients import exact_return
from metarl_jax.core.advantages import AdvantageConfig, make_estimator
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.types import MetaState
from metarl_jax.envs.optional import has_oracle, knows_regret
from metarl_jax.envs.tabular.planning import optimal_action_values
from metarl_jax.program.rollout import collect_trial

THAT_KNOW = [name for name in envs.names() if knows_regret(envs.make(name))]
ON_A_LINE = {"grid_navi": [4, 0], "dark_room": [7, 4]}
"""Goals with one shortest way."""


def regrets_of_all_actions(env, task, state):
    assert isinstance(env.action_space, Discrete)
    return jax.vmap(env.regret(task), (None, 0))(state, jnp.arange(env.action_space.num_actions))


# Where the goal is rewarded once, every action is as good as another while there is time.
@pytest.mark.parametrize(
    "name",
    [name for name in THAT_KNOW if has_oracle(envs.make(name)) and name != "dark_room_hard"],
)
def test_regret_is_zero_for_the_best_action_alone(name):
    env = envs.make(name)
    task = env.sample(jax.random.key(0))
    if name in ON_A_LINE:
        task = jnp.array(ON_A_LINE[name], jnp.int32)
    state = env.reset(task, jax.random.key(1))
    regrets = np.asarray(regrets_of_all_actions(env, task, state))
    assert regrets.min() == pytest.approx(0.0, abs=1e-6)
    assert regrets.argmin() == env.oracle_action(task, state.observation)
    assert (np.sort(regrets)[1:] > 1e-6).all()


def test_regrets_on_the_grid_are_those_of_dynamic_programming():
    """V* − Q* of every cell, time and action, from the steps of the environment alone."""
    env = envs.make("grid_navi", horizon=6)
    task = jnp.array([3, 1], jnp.int32)
    start, num_actions = env.reset(task, jax.random.key(0)), env.action_space.num_actions
    cells = jnp.stack(jnp.meshgrid(*2 * [jnp.arange(env.size)], indexing="ij"), -1).reshape(-1, 2)

    def at(cell, time):
        return start.replace(simulator=start.simulator._replace(cell=cell, time=time))

    def outcome(cell, action):
        after = env.step(task, at(cell, 0), action)
        return after.reward, after.observation.argmax()

    reward, following = jax.vmap(
        lambda cell: jax.vmap(lambda action: outcome(cell, action))(jnp.arange(num_actions))
    )(cells)
    value = jnp.zeros(len(cells))
    for time in reversed(range(env.horizon)):
        action_value = reward + value[following]
        value = action_value.max(axis=1)
        regrets = jax.vmap(
            lambda cell, time=time: regrets_of_all_actions(env, task, at(cell, time))
        )(cells)
        np.testing.assert_allclose(regrets, value[:, None] - action_value, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [("tabular_mdp", {}), ("random_mdp", {"concentration": 0.1, "uniform_start": True})],
)
def test_regrets_add_up_to_what_a_policy_misses(name, options):
    """V* − V^π = E_π Σ_t (V*(s_t) − Q*(s_t, a_t)), exactly (Kakade & Langford 2002, lemma 6.1)."""
    env = envs.make(name, **options)
    task = env.sample(jax.random.key(0))
    mdp, (num_states, num_actions) = env.mdp(task), env.sizes
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(1), env.sizes))
    state = env.reset(task, jax.random.key(2))

    def at(cell, time):
        simulator = state.simulator._replace(
            state=cell, time=time, weight=jnp.asarray(mdp.discount, jnp.float32) ** time
        )
        return regrets_of_all_actions(env, task, state.replace(simulator=simulator))

    visits, missed = mdp.start, 0.0
    for time in range(env.episode_length):
        regrets = jax.vmap(at, (0, None))(jnp.arange(num_states), jnp.int32(time))
        assert regrets.shape == (num_states, num_actions)
        missed += visits @ (policy * regrets).sum(axis=1)
        visits = jnp.einsum("s,sa,sax->x", visits, policy, mdp.transition)
    optimum = mdp.start @ optimal_action_values(mdp, env.episode_length)[0].max(axis=-1)
    lost = optimum - exact_return(policy, mdp, env.episode_length)
    assert float(missed) == pytest.approx(float(lost), rel=1e-4)
    assert float(lost) > 0.1


@pytest.mark.parametrize("name", THAT_KNOW)
def test_only_advantages_are_told(name):
    """With the same key the learner sees the same, does the same and earns the same, whatever it is paid by."""
    env = envs.make(name)
    learner = learners.get("rl2")(hidden_size=8, encoder_sizes=(8,)).make(env)
    meta_params = learner.init(jax.random.key(0))
    task = env.sample(jax.random.key(1))

    def collect(training_reward):
        config = AdvantageConfig(
            training_reward=training_reward, baseline="value", credit="trial", normalization="none"
        )
        estimator, key = make_estimator(config), jax.random.key(2)
        return jax.jit(
            lambda: collect_trial(
                env,
                learner,
                estimator,
                MetaState(meta_params),
                task,
                key,
                num_rounds=4,
                num_episodes=2,
            )
        )()

    by_reward, by_regret = collect("reward").rollout, collect("regret").rollout
    for field in ("timestep", "action", "reward"):
        pair = getattr(by_reward, field), getattr(by_regret, field)
        jax.tree.map(np.testing.assert_array_equal, *pair)
    np.testing.assert_array_equal(by_reward.training_reward, by_reward.reward)
    assert (by_regret.training_reward <= 1e-6).all()
    assert np.abs(np.asarray(by_regret.advantage - by_reward.advantage)).max() > 1e-3


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("maml-point-robot", ["advantage.training_reward='regret'", "maml", "inner step"]),
        ("rl2-point-robot", ["advantage.training_reward='regret'", "point_robot", "'reward'"]),
    ],
)
def test_who_must_not_or_cannot_be_told_is_refused(preset, words):
    from metarl_jax import build

    config = experiments.get(preset)
    told = dataclasses.replace(config.advantage, training_reward="regret")
    with pytest.raises(ValueError, match="training_reward") as error:
        build(dataclasses.replace(config, advantage=told))
    assert all(word in str(error.value) for word in words), str(error.value)
