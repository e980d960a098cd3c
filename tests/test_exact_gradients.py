"""The exact module against closed forms, finite differences, and the library's own simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, learners
from metarl_jax.analysis.exact_gradients import (
    exact_adapted,
    exact_meta_gradient,
    exact_return,
    make_objective,
    policy_matrix,
    sampled_bandit_objective,
)
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.types import MetaState
from metarl_jax.envs.tabular.planning import optimal_action_values
from metarl_jax.program.rollout import collect_trial

LOGITS, REWARD, INNER_LR = jnp.array([0.2, -0.1, 0.3]), jnp.array([1.0, 0.5, 0.0]), 0.5


def bandit_objective():
    env = envs.make("softmax_bandit")
    mdp = env.mdp(env.sample(jax.random.key(0)))
    return make_objective(lambda logits: jax.nn.softmax(logits)[None], mdp, env.episode_length)


def random_objective(horizon, **options):
    """J of the logits `[S, A]` on a random MDP, and logits."""
    env = envs.make("random_mdp", num_states=4, num_actions=3, concentration=1.0, **options)
    mdp = env.mdp(env.sample(jax.random.key(3)))
    return make_objective(jax.nn.softmax, mdp, horizon), jax.random.normal(
        jax.random.key(4), env.sizes
    )


def test_softmax_bandit_meets_its_closed_forms():
    objective = bandit_objective()
    assert float(objective(LOGITS)) == pytest.approx(0.481523, abs=1e-5)
    adapted = exact_adapted(objective, LOGITS, INNER_LR)
    assert float(objective(adapted)) == pytest.approx(0.515616, abs=1e-5)
    exact = exact_meta_gradient(objective, LOGITS, INNER_LR)
    np.testing.assert_allclose(exact, [0.192139, -0.012932, -0.179207], atol=1e-5)
    first = exact_meta_gradient(objective, LOGITS, INNER_LR, first_order=True)
    np.testing.assert_allclose(first, [0.186528, -0.004077, -0.182451], atol=1e-5)


@pytest.mark.parametrize(
    ("sampling_correction", "expected"),
    [
        (True, [0.190786, -0.012032, -0.178754]),
        (False, [0.168743, -0.003466, -0.165276]),
    ],
)
def test_sampled_inner_steps_of_the_bandit(sampling_correction, expected):
    def objective(logits):
        return sampled_bandit_objective(
            logits, REWARD, INNER_LR, 2, sampling_correction=sampling_correction
        )

    np.testing.assert_allclose(jax.grad(objective)(LOGITS), expected, atol=1e-5)


def test_many_samples_are_as_good_as_the_expectation():
    """The gradient of F nears the exact meta-gradient as 1/n."""
    exact = exact_meta_gradient(bandit_objective(), LOGITS, INNER_LR)
    errors = []
    estimate = jax.jit(jax.grad(sampled_bandit_objective), static_argnums=3)
    for num_samples in (1, 2, 4):
        gradient = estimate(LOGITS, REWARD, INNER_LR, num_samples)
        errors.append(float(jnp.linalg.norm(gradient - exact)))
    np.testing.assert_allclose(errors[0] / np.array(errors), [1.0, 2.0, 4.0], rtol=0.1)


def test_many_steps_are_as_good_as_infinitely_many():
    for discount in (0.5, 0.8):
        logits = random_objective(None, discount=discount)[1]
        returns = [
            float(random_objective(horizon, discount=discount)[0](logits))
            for horizon in (None, 100)
        ]
        assert returns[0] == pytest.approx(returns[1], rel=1e-5)


@pytest.mark.parametrize("horizon", [None, 1, 6])
@pytest.mark.parametrize("num_inner_steps", [0, 1, 3])
def test_derivatives_are_those_of_finite_differences(horizon, num_inner_steps):
    with jax.enable_x64(True):
        objective, logits = random_objective(horizon)
        direction = jax.random.normal(jax.random.key(5), logits.shape)
        assert logits.dtype == jnp.float64

        @jax.jit
        def after(step):
            moved = logits + step * direction
            return objective(exact_adapted(objective, moved, 0.7, num_inner_steps))

        meta_gradient = jax.jit(exact_meta_gradient, static_argnums=(0, 3))
        gradient = meta_gradient(objective, logits, 0.7, num_inner_steps)
        difference = (after(1e-5) - after(-1e-5)) / 2e-5
        assert float(jnp.vdot(gradient, direction)) == pytest.approx(float(difference), rel=1e-6)


def test_first_order_leaves_the_derivative_of_the_adaptation_out():
    objective, logits = random_objective(6)
    adapted = exact_adapted(objective, logits, 0.7, 2)
    first = exact_meta_gradient(objective, logits, 0.7, 2, first_order=True)
    np.testing.assert_allclose(first, jax.grad(objective)(adapted), rtol=1e-5)
    assert np.abs(first - exact_meta_gradient(objective, logits, 0.7, 2)).max() > 1e-2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("softmax_bandit", {}),
        ("tabular_mdp", {}),
        ("random_mdp", {"num_states": 4, "horizon": 7, "uniform_start": True}),
        ("random_mdp", {"concentration": 1.0, "discount": 0.95}),
        ("point_1d", {}),
    ],
)
def test_simulation_meets_the_exact_return(name, options):
    """Mean returns of `collect_trial` are the exact ones within three standard errors."""
    env = envs.make(name, **options)
    task = env.sample(jax.random.key(0))
    learner = learners.get("maml")(hidden_sizes=()).make(env)
    meta_params = learner.init(jax.random.key(1))
    meta_params = jax.tree.map(
        lambda x: x + jax.random.normal(jax.random.key(2), x.shape), meta_params
    )
    inner_state = learner.begin(meta_params, (), jax.random.key(3), 1)
    policy = policy_matrix(learner, meta_params, inner_state, env.observations)
    exact = exact_return(policy, env.mdp(task), env.episode_length)
    estimator = make_estimator(PLAIN_RETURNS)

    @jax.jit
    def simulate(key):
        trial = collect_trial(
            env,
            learner,
            estimator,
            MetaState(meta_params),
            task,
            key,
            num_rounds=1,
            num_episodes=4000,
        )
        return trial.episode_returns()

    returns = np.asarray(simulate(jax.random.key(4)))
    error = returns.std() / np.sqrt(returns.size)
    assert error > 0
    assert abs(returns.mean() - float(exact)) < 3 * error


def test_tabular_mdp_has_the_known_optimum():
    """21.80 ± 0.02 per episode for who knows the MDP, and 10.0 at random."""
    env = envs.make("tabular_mdp")

    def one(key):
        mdp = env.mdp(env.sample(key))
        optimum = mdp.start @ optimal_action_values(mdp, env.horizon)[0].max(axis=-1)
        uniform = jnp.full(env.sizes, 1.0 / env.num_actions)
        greedy = jax.vmap(env.oracle_action, (None, 0))(mdp, jnp.eye(env.num_states))
        oracle = jax.nn.one_hot(greedy, env.num_actions)
        return optimum, *(exact_return(x, mdp, env.horizon) for x in (uniform, oracle))

    keys = jax.random.split(jax.random.key(0), 20_000)
    returns = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=1000))(keys)
    optimum, uniform, oracle = (np.asarray(x) for x in returns)
    error = optimum.std() / np.sqrt(len(optimum))
    assert abs(optimum.mean() - 21.80) < 3 * np.hypot(error, 0.02)
    assert abs(uniform.mean() - 10.0) < 3 * uniform.std() / np.sqrt(len(uniform))
    assert (oracle <= optimum + 1e-4).all()
    assert 0.0 < (optimum - oracle).mean() < 0.03


def test_point_1d_is_best_between_its_goals():
    """The meta-gradients of the two goals cancel at (0, 0), where ProMP has its optimum, and nowhere near."""
    env = envs.make("point_1d", num_cells=41)

    @jax.jit
    def meta_gradient(params):
        def one(goal):
            objective = make_objective(env.gaussian_policy, env.mdp(goal), env.episode_length)
            return exact_meta_gradient(objective, params, 0.1)

        return jax.vmap(one)(jnp.array([-1.0, 1.0])).mean(axis=0)

    np.testing.assert_allclose(meta_gradient(jnp.zeros(2)), 0.0, atol=1e-5)
    assert np.all(np.asarray(meta_gradient(jnp.array([0.09, 0.05]))) < -1e-3)


def test_point_1d_does_not_depend_on_its_cells():
    returns = []
    for num_cells in (41, 161):
        env = envs.make("point_1d", num_cells=num_cells)
        policy = env.gaussian_policy(jnp.array([0.09, 0.05]))
        np.testing.assert_allclose(policy.sum(axis=1), 1.0, rtol=1e-5)
        returns.append(float(exact_return(policy, env.mdp(jnp.ones(())), env.horizon)))
    assert returns[0] == pytest.approx(returns[1], rel=2e-3)
