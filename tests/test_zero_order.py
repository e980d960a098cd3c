"""Zero-order adaptation: which policies act, and the step along perturbations that return more."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.types import MetaState
from metarl_jax.learners.zero_order import ZeroOrder, antithetic_noise
from metarl_jax.program.rollout import collect_trial

NUM_EPISODES = 4


@pytest.fixture(scope="module")
def collected():
    """`collected(**options)`: learner, meta-parameters and a trial of four rounds."""

    def make(**options):
        env = envs.make("point_robot", horizon=3)
        learner = ZeroOrder(**options).make(env)
        meta_params = jax.jit(learner.init)(jax.random.key(0))
        trial = jax.jit(
            partial(
                collect_trial,
                env,
                learner,
                make_estimator(PLAIN_RETURNS),
                num_rounds=4,
                num_episodes=NUM_EPISODES,
            )
        )(MetaState(meta_params), jnp.array([0.3, -0.2]), jax.random.key(1))
        return learner, meta_params, trial

    return make


def test_noise_comes_in_pairs():
    noise = antithetic_noise(jax.random.key(0), {"a": jnp.zeros((2, 3)), "b": jnp.zeros(())}, 6)
    assert noise["a"].shape == (6, 2, 3)
    assert noise["b"].shape == (6,)
    np.testing.assert_array_equal(noise["a"][:3], -noise["a"][3:])
    assert antithetic_noise(jax.random.key(0), {"a": jnp.zeros(2)}, 5)["a"].shape == (5, 2)


def test_the_step_is_the_evolution_strategies_estimate(collected, trees_close):
    """θ + α/(Eσ) Σ F̂ ε with F̂ of mean 0 and deviation 1; the round after next is not perturbed and moves nothing."""
    learner, meta_params, trial = collected(inner_lr=0.3, sigma=0.2)
    state = learner.begin(meta_params, (), trial.key, NUM_EPISODES)
    first = jax.tree.map(lambda x: x[0], trial.rollout)
    after = learner.adapt(meta_params, state, first)
    returns = np.asarray(first.reward).sum(axis=0)
    weights = (returns - returns.mean()) / returns.std()

    def expected(p, noise):
        return p + 0.3 / (NUM_EPISODES * 0.2) * np.tensordot(weights, noise[0], axes=1)

    trees_close(after.policy, jax.tree.map(expected, meta_params, state.noise), rtol=1e-3)
    last = jax.tree.map(lambda x: x[1], trial.rollout)
    trees_close(learner.adapt(meta_params, after, last).policy, after.policy, rtol=0, atol=0)


@pytest.mark.parametrize("num_inner_steps", [1, 2])
def test_rounds_are_perturbed_until_the_last_inner_step(collected, num_inner_steps):
    """At the first state, which all episodes share, policies differ only by their perturbation."""
    _, _, trial = collected(num_inner_steps=num_inner_steps)
    mean = np.asarray(trial.rollout.policy.distribution.mean[:, 0])  # [K, E, A]
    spread = np.ptp(mean, axis=1).max(axis=-1)
    assert (spread > 1e-4).tolist() == [index < num_inner_steps for index in range(4)]
    if num_inner_steps == 2:  # with other noise in the second round
        noise = mean - mean.mean(axis=1, keepdims=True)
        assert np.abs(noise[0] - noise[1]).max() > 1e-4


def test_a_step_increases_the_return():
    """Towards the goal, in the mean over tasks, from a policy that does not move."""
    env = envs.make("point_robot", horizon=20)
    learner = ZeroOrder(inner_lr=0.05, sigma=0.1).make(env)
    meta_params = jax.tree.map(jnp.zeros_like, jax.jit(learner.init)(jax.random.key(0)))
    meta_params["params"]["PolicyHead_0"]["ActionDistribution_0"]["log_std"] -= 4.0

    def returns(key):
        task_key, key = jax.random.split(key)
        trial = collect_trial(
            env,
            learner,
            make_estimator(PLAIN_RETURNS),
            MetaState(meta_params),
            env.sample(task_key),
            key,
            num_rounds=2,
            num_episodes=20,
        )
        return trial.episode_returns().mean(-1)

    before, after = jax.jit(jax.vmap(returns))(jax.random.split(jax.random.key(2), 32)).mean(0)
    assert after > before + 0.5


def test_sizes_that_cannot_adapt_are_refused(small_config):
    config = small_config("zero_order")
    with pytest.raises(ValueError, match=r"num_inner_steps=3 leaves no round .* num_rounds=4"):
        ZeroOrder(num_inner_steps=3).validate(config)
    with pytest.raises(ValueError, match=r"num_episodes=1 is a single perturbation"):
        ZeroOrder().validate(dataclasses.replace(config, num_episodes=1))
