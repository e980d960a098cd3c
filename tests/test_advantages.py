"""Advantages against slow references written out step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core import advantages, linear_baseline
from metarl_jax.core.trees import masked_mean, padded_mean, standardize
from metarl_jax.core.types import TimeStep, Transition

pytestmark = pytest.mark.usefixtures("strict_ranks")


def reference_gae(reward, value, valid, discount, gae_lambda):
    """The definition on the list of valid steps of one trajectory."""
    steps = [t for t in range(len(reward)) if valid[t]]
    advantage = np.zeros(len(reward))
    for i, t in enumerate(steps):
        for j, s in enumerate(steps[i:]):
            after = steps[i + j + 1] if i + j + 1 < len(steps) else None
            next_value = value[after] if after is not None else 0.0
            delta = reward[s] + discount * next_value - value[s]
            advantage[t] += (discount * gae_lambda) ** j * delta
    return advantage


@pytest.mark.parametrize("valid", [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]])
@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.9, 0.8), (1.0, 1.0), (0.99, 0.0)])
def test_gae(valid, discount, gae_lambda):
    rng = np.random.default_rng(0)
    valid = np.array(valid, bool)
    reward = np.where(valid, rng.normal(size=6), 0.0)
    value = rng.normal(size=6)
    expected = reference_gae(reward, value, valid, discount, gae_lambda)
    actual = advantages.gae(
        jnp.asarray(reward, jnp.float32),
        jnp.asarray(value, jnp.float32),
        jnp.asarray(valid),
        discount,
        gae_lambda,
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("bound", [0.5, np.inf])
def test_gae_up_to_a_quantile(bound):
    """For γ = λ = 1 it is min(R, q) less min(S + v, q), with S what was earned before, and v of any size."""
    rng = np.random.default_rng(1)
    valid = np.array([1, 1, 0, 1, 1, 0], bool)
    reward = np.where(valid, rng.normal(size=6), 0.0).astype(np.float32)
    value = rng.normal(size=6).astype(np.float32)
    earned = np.cumsum(reward) - reward
    quantile = advantages.Quantile(jnp.asarray(earned), jnp.float32(bound))
    found = advantages.gae(reward, value, valid, 1.0, 1.0, quantile)
    expected = min(reward.sum(), bound) - np.minimum(earned + value, bound)
    np.testing.assert_allclose(found, np.where(valid, expected, 0.0), atol=1e-5)
    if bound == np.inf:
        for scopes in ((1.0, 1.0), (0.9, 0.8)):
            np.testing.assert_array_equal(
                advantages.gae(reward, value, valid, *scopes, quantile),
                advantages.gae(reward, value, valid, *scopes),
            )


def test_discounted_returns_frozen_numbers():
    reward = jnp.array([1.0, 0.0, 2.0])
    actual = advantages.discounted_returns(reward, jnp.ones(3, bool), 0.5)
    np.testing.assert_allclose(actual, [1.5, 1.0, 2.0])


def test_linear_feature_baseline_fits_what_it_can_express():
    """Returns that are linear in the features, with invalid entries of nonsense."""
    key = jax.random.key(0)
    observation = jax.random.normal(key, (50, 10, 2))
    time = (jnp.arange(50.0) / 50)[:, None]
    target = 3.0 * observation[..., 0] - observation[..., 1] ** 2 + 5.0 * time**3 - 2.0
    valid = jnp.arange(50)[:, None] < jnp.arange(5, 55, 5)[None, :]
    nonsense = jnp.where(valid, target, 1e3)
    predicted = linear_baseline.linear_feature_baseline(observation, nonsense, valid)
    np.testing.assert_allclose(predicted[valid], target[valid], atol=0.02)


def test_linear_feature_baseline_survives_constant_observations():
    """A robot that has reached its goal sees one observation, so that the features are dependent."""
    observation = jnp.zeros((20, 3, 4))
    target = jnp.broadcast_to(jnp.arange(20.0)[:, None], (20, 3))
    predicted = linear_baseline.linear_feature_baseline(
        observation, target, jnp.ones((20, 3), bool)
    )
    np.testing.assert_allclose(predicted, target, atol=0.05)


@pytest.mark.parametrize("case", ["saturated", "nearly constant", "few valid steps"])
def test_linear_feature_baseline_stays_finite(case):
    """Observations whose Gram matrix is far from regular in float32."""
    noise = jax.random.normal(jax.random.key(0), (200, 20, 27))
    observation, valid = 50.0 * noise, jnp.ones((200, 20), bool)
    if case == "nearly constant":
        observation = 9.0 + 0.01 * noise
    if case == "few valid steps":
        observation, valid = 5.0 * noise, jnp.broadcast_to(jnp.arange(200)[:, None] < 2, (200, 20))
    target = jax.random.normal(jax.random.key(1), (200, 20))
    predicted = linear_baseline.linear_feature_baseline(observation, target, valid)
    assert np.isfinite(predicted).all()
    assert np.var((target - predicted)[valid]) <= np.var(target[valid]) + 1e-3


def test_standardize_counts_valid_entries_only():
    values = jnp.array([1.0, 3.0, 100.0])
    valid = jnp.array([True, True, False])
    np.testing.assert_allclose(standardize(values, valid), [-1.0, 1.0, 0.0], atol=1e-6)
    nothing = standardize(values, jnp.zeros(3, bool))
    np.testing.assert_array_equal(nothing, jnp.zeros(3))


@pytest.mark.parametrize("value", [0.1, -0.3, 100.1, 3333.3])
def test_equal_advantages_are_no_credit(value):
    """Nor are differences by rounding, which would otherwise have deviation 1."""
    valid = jnp.arange(100)[:, None] < jnp.arange(5, 105, 5)[None, :]
    found = standardize(jnp.full((100, 20), value), valid)
    np.testing.assert_array_equal(found, jnp.zeros((100, 20)))
    small = standardize(value * jnp.array([1.0, 1.001]), jnp.ones(2, bool), 0.0)
    np.testing.assert_allclose(small, np.sign(value) * np.array([-1, 1]), rtol=1e-2)


def test_equal_rewards_are_no_credit_beside_a_baseline():
    """Of episodes that walk about and earn the same everywhere, whatever the scale of the rewards."""
    seen = jax.nn.one_hot(jax.random.randint(jax.random.key(0), (15, 20), 0, 25), 25)
    zeros = jnp.zeros((15, 20))
    for reward in (-0.1, -1e-4):
        rollout = Transition(
            timestep=TimeStep(seen, zeros, zeros, zeros == 1, zeros == 0),
            action=zeros,
            policy=None,
            log_prob=zeros,
            reward=zeros + reward,
            terminated=zeros == 1,
            training_reward=zeros + reward,
            advantage=zeros,
            target=zeros,
        )
        estimator = advantages.make_estimator(advantages.AdvantageConfig())
        np.testing.assert_array_equal(estimator.on_round_end(rollout).advantage, zeros)
        told = rollout.replace(training_reward=reward * (1 + seen[..., 0]))
        assert float(estimator.on_round_end(told).advantage.std()) > 0.9


def test_a_padded_mean_is_the_same_for_short_episodes():
    valid = jnp.array([True, True, False, False])
    values = jnp.array([1.0, 2.0, jnp.nan, jnp.inf])
    assert float(padded_mean(values, valid)) == 0.75
    gradient = jax.grad(lambda x: padded_mean(x, valid))(values)
    np.testing.assert_array_equal(gradient, [0.25, 0.25, 0.0, 0.0])


def test_masked_mean_of_nothing_is_zero():
    assert float(masked_mean(jnp.array([jnp.nan]), jnp.array([False]))) == 0.0


def test_small_systems_are_solved():
    noise = jax.random.normal(jax.random.key(0), (50, 6, 6))
    matrices = noise @ noise.swapaxes(1, 2) + 0.1 * jnp.eye(6)[None]
    targets = jax.random.normal(jax.random.key(1), (50, 6))
    found = jax.jit(jax.vmap(linear_baseline.solve_positive_definite))(matrices, targets)
    expected = np.linalg.solve(np.float64(matrices), np.float64(targets)[..., None])[..., 0]
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=1e-3)
