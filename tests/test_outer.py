"""Outer methods: what TRPO promises of a step, and what Reptile and evolution follow."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from metarl_jax import program as programs
from metarl_jax.outer.es import ES, _weighted_noise
from metarl_jax.outer.objective import (
    TaskWeights,
    entropy_coefficient,
    last_round_credit,
    take_rounds,
    task_loss,
    worst_share,
)
from metarl_jax.outer.policy_gradient import replayed_gradient
from metarl_jax.outer.ppo import PPO
from metarl_jax.outer.trpo import TRPO, _line_search, conjugate_gradient, fisher_vector_product
from metarl_jax.returns import masked_mean
from metarl_jax.step import make_init, make_meta_batch, make_step, sample_tasks
from metarl_jax.trees import normal_like


@pytest.fixture
def collected(small_config):
    """`collected(outer_method, learner)`: the parts of a meta-step whose trials are there."""

    def make(outer_method, learner="maml", **options):
        config = small_config(learner, "point_robot", outer_method, num_tasks=3, num_rounds=2)
        config = dataclasses.replace(
            config,
            learner=dataclasses.replace(config.learner, hidden_sizes=(3,)),
            outer=dataclasses.replace(config.outer, **options),
        )
        spec = programs.make_spec(config)
        state = jax.jit(make_init(spec))(jax.random.key(0))
        batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(1), 3, "train"))
        trials = jax.jit(batch.collect)(state.meta_params, jax.random.key(2))
        return config.outer, state.meta_params, batch, trials

    return make


def test_conjugate_gradient_solves():
    noise = jax.random.normal(jax.random.key(0), (6, 6))
    matrix = noise @ noise.T + jnp.eye(6)
    target = jax.random.normal(jax.random.key(1), (6,))
    x, residual = conjugate_gradient(lambda v: matrix @ v, target, 12)
    np.testing.assert_allclose(matrix @ x, target, atol=1e-3)
    np.testing.assert_allclose(target - matrix @ x, residual, atol=1e-3)


def test_fisher_vector_product_is_the_hessian_of_the_divergence(collected):
    """Through the inner step, and over all tasks."""
    config, meta_params, batch, trials = collected("trpo")
    flat, unravel = ravel_pytree(meta_params)

    def divergence(flat):
        def one(trial):
            out, rollout = take_rounds(batch.replay(unravel(flat), (), trial, 1), trial, 1, 2)
            kl = rollout.policy.distribution.kl(out.distribution)
            return masked_mean(kl, rollout.timestep.valid)

        return jax.vmap(one)(trials).mean()

    vector = jax.random.normal(jax.random.key(3), flat.shape)
    product = jax.jit(partial(fisher_vector_product, config, batch=batch))
    found = ravel_pytree(product(meta_params, trials=trials, vector=unravel(vector)))[0]
    expected = jax.jit(jax.grad(lambda flat: jax.grad(divergence)(flat) @ vector))(flat)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


def test_trpo_keeps_the_divergence_in_bounds(small_config):
    config = small_config(outer_method="trpo", num_tasks=8, num_episodes=10)
    config = dataclasses.replace(config, outer=TRPO(max_kl=0.005))
    spec = programs.make_spec(config)
    state, step = jax.jit(make_init(spec))(jax.random.key(0)), jax.jit(make_step(spec))
    for _ in range(4):
        state, metrics = step(state)
        assert 0.0 < float(metrics["step_size"]) <= 1.0
        assert 0.0 < float(metrics["kl"]) <= 0.005
        assert float(metrics["loss_change"]) < 0.0


def test_trpo_stays_where_no_step_is_good(collected):
    """Uphill every length is worse: the parameters stay to the bit, and the metric says so."""
    config, meta_params, batch, trials = collected("trpo", num_backtracks=5)
    gradient, metrics = jax.jit(partial(replayed_gradient, config, batch=batch))(
        meta_params, trials=trials
    )
    uphill = jax.tree.map(lambda g: 0.1 * g, gradient)
    search = jax.jit(partial(_line_search, config, batch=batch))
    kept, found = search(meta_params, uphill, trials=trials, loss_before=metrics["loss"])
    jax.tree.map(np.testing.assert_array_equal, kept, meta_params)
    assert float(found["step_size"]) == 0.0
    assert float(found["kl"]) == 0.0
    downhill = jax.tree.map(jnp.negative, uphill)
    moved, found = search(meta_params, downhill, trials=trials, loss_before=metrics["loss"])
    assert float(found["step_size"]) > 0.0
    assert np.abs(ravel_pytree(moved)[0] - ravel_pytree(meta_params)[0]).max() > 0.0


def test_last_round_credit_is_against_the_other_tasks(collected):
    _, _, _, trials = collected("policy_gradient")
    returns = np.asarray(trials.episode_returns()[:, -1].mean(-1))
    expected = [r - np.delete(returns, i).mean() for i, r in enumerate(returns)]
    np.testing.assert_allclose(last_round_credit(trials), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fraction", "counted"),
    [(0.25, [1, 6]), (0.1, [6]), (0.375, [0, 1, 6]), (1.0, range(8)), (0.0001, [6])],
)
def test_worst_share_counts_the_worst_tasks(fraction, counted):
    returns = jnp.array([-1.0, -2.0, 3.0, 0.0, 2.0, 1.0, -3.0, 4.0])
    share = jax.jit(worst_share)(returns, fraction)
    expected = np.zeros(8)
    expected[list(counted)] = 8 / len(counted)
    np.testing.assert_allclose(share, expected, rtol=1e-6)


def test_the_entropy_of_the_first_round_may_count_for_more(collected):
    """The loss of two rounds that both count, with the factor and without."""
    options = {"rounds": "all", "entropy_coefficient": 0.2}
    config, meta_params, batch, trials = collected("policy_gradient", **options)
    trial = jax.tree.map(lambda x: x[0], trials)
    out = batch.replay(meta_params, (), trial, 0)
    entropy, valid = out.distribution.entropy(), trial.rollout.timestep.valid
    assert valid[0].any()
    assert valid[1].any()

    def loss(factor):
        weighed = dataclasses.replace(config, first_round_entropy_factor=factor)
        weights = TaskWeights(jnp.zeros(()))
        return float(task_loss(weighed, batch, meta_params, (), trial, weights)[0])

    more = 0.2 * 2.0 * jnp.where(valid[0], entropy[0], 0.0).sum() / valid.sum()
    assert abs(more) > 0.01
    assert loss(1.0) - loss(3.0) == pytest.approx(float(more), rel=1e-4)


def test_the_weight_of_the_entropy_ends_where_it_should():
    falling = PPO(entropy_coefficient=0.1, final_entropy_coefficient=0.02)
    weights = [float(entropy_coefficient(falling, jnp.float32(share))) for share in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(weights, [0.1, 0.06, 0.02], rtol=1e-5)
    assert entropy_coefficient(PPO(entropy_coefficient=0.1), jnp.float32(0.7)) == 0.1
    geometric = dataclasses.replace(
        falling, final_entropy_coefficient=0.001, entropy_schedule="geometric"
    )
    weights = [float(entropy_coefficient(geometric, jnp.float32(share))) for share in (0, 0.5, 1)]
    np.testing.assert_allclose(weights, [0.1, 0.01, 0.001], rtol=1e-5)


def test_progress_is_the_share_of_meta_steps_done(small_config):
    spec = programs.make_spec(small_config("rl2", "bandit", num_meta_steps=8))
    state = jax.jit(make_init(spec))(jax.random.key(0)).replace(step=jnp.int32(6))
    tasks = sample_tasks(spec, jax.random.key(1), 8, "train")
    assert float(make_meta_batch(spec, state, tasks).progress) == 0.75


def test_worst_share_counts_ties():
    share = worst_share(jnp.array([1.0, 0.0, 0.0, 1.0]), 0.25)
    np.testing.assert_allclose(share, [0.0, 2.0, 2.0, 0.0])


@pytest.mark.parametrize("learner", ["maml", "rl2"])
def test_only_the_worst_tasks_contribute(small_config, trees_close, learner):
    """The policy's gradient is that of a meta-batch of the worst quarter alone, after so many meta-steps, and of more
    before; the value function learns from all tasks."""
    config = small_config(learner, "point_robot", "policy_gradient", num_rounds=2)
    options = {"worst_fraction": 0.25, "worst_fraction_after": 3, "value_coefficient": 0.0}
    risk_averse = dataclasses.replace(config.outer, **options)
    plain = dataclasses.replace(config.outer, value_coefficient=0.0)
    spec = programs.make_spec(config)
    state = jax.jit(make_init(spec))(jax.random.key(0))
    batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(1), 8, "train"))
    trials = jax.jit(batch.collect)(state.meta_params, jax.random.key(2))

    @partial(jax.jit, static_argnums=0)
    def gradient(outer, trials, step):
        at = batch._replace(step=step)
        return replayed_gradient(outer, state.meta_params, at, trials)[0]

    start, stop = plain.counted_rounds(2)
    returns = trials.episode_returns()[:, start:stop].mean(axis=(1, 2))
    worst = jax.tree.map(lambda x: x[jnp.argsort(returns)[:2]], trials)
    found = gradient(risk_averse, trials, jnp.int32(3))
    trees_close(found, gradient(plain, worst, jnp.int32(0)), rtol=1e-3, atol=1e-6)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found)) > 1e-3
    five = jax.tree.map(lambda x: x[jnp.argsort(returns)[:5]], trials)  # half-way, of 1 − 0.75 / 2
    halfway = gradient(risk_averse, trials, jnp.int32(1))
    trees_close(halfway, gradient(plain, five, jnp.int32(0)), rtol=1e-3, atol=1e-6)

    if learner == "rl2":

        def of_value(outer):
            with_value = dataclasses.replace(outer, value_coefficient=1.0)
            both, policy = (gradient(o, trials, jnp.int32(3)) for o in (with_value, outer))
            return jax.tree.map(jnp.subtract, both, policy)

        trees_close(of_value(risk_averse), of_value(plain), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("outer_method", ["ppo", pytest.param("trpo", marks=pytest.mark.slow)])
def test_a_whole_worst_fraction_changes_no_bit(small_config, outer_method):
    """Nor does one that is traced, and happens to be 1."""
    config = small_config("maml", "point_robot", outer_method, num_tasks=4)

    @jax.jit
    def step(fraction):
        outer = dataclasses.replace(config.outer, worst_fraction=fraction)
        spec = programs.make_spec(dataclasses.replace(config, outer=outer))
        return make_step(spec)(make_init(spec)(jax.random.key(0)))[0].meta_params

    @jax.jit
    def plain_step():
        spec = programs.make_spec(config)
        return make_step(spec)(make_init(spec)(jax.random.key(0)))[0].meta_params

    jax.tree.map(np.testing.assert_array_equal, step(jnp.float32(1.0)), plain_step())
    moved, plain = ravel_pytree(step(jnp.float32(0.25)))[0], ravel_pytree(plain_step())[0]
    assert np.abs(moved - plain).max() > 1e-5


def test_reptile_follows_all_rounds(collected):
    """The inner state after K rounds is K inner steps from where the trial began."""
    _, meta_params, batch, trials = collected("reptile")
    trial = jax.tree.map(lambda x: x[0], trials)
    adapted = jax.jit(batch.adapted)(meta_params, (), trial)
    first = jax.tree.map(lambda x: x[:1], trial.rollout)
    doubled = trial.replace(
        rollout=jax.tree.map(lambda x, y: jnp.concatenate([x, y]), trial.rollout, first)
    )
    # A replay of one more round answers with the parameters after the rounds before it.
    answers = jax.jit(lambda p: batch.replay(p, (), doubled, 2))(meta_params).distribution.mean[0]
    assert batch.absorb is not None
    moved = batch.absorb(meta_params, adapted)
    again = jax.jit(lambda p: batch.replay(p, (), trial.replace(rollout=first), 0))(moved)
    np.testing.assert_allclose(again.distribution.mean[0], answers, atol=1e-6)


def test_evolution_draws_the_same_noise_again():
    meta_params = {"a": jnp.ones((3, 2)), "b": jnp.ones(4)}
    keys = jax.random.split(jax.random.key(0), 3)
    weights = jnp.array([1.0, -2.0, 0.5])
    found = _weighted_noise(keys, weights, meta_params)
    noise = [normal_like(jax.random.split(key)[0], meta_params) for key in keys]
    expected = jax.tree.map(
        lambda *e: sum(w * x for w, x in zip(weights, e, strict=True)) / 3, *noise
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), found, expected)


def test_evolution_counts_every_step(small_config):
    """The reported steps are those of all perturbed collects and of the one without."""
    config = small_config("rl2", "bandit", "es", num_tasks=2, num_episodes=1)
    config = dataclasses.replace(config, outer=ES(num_perturbations=3))
    spec = programs.make_spec(config)
    _, metrics = jax.jit(make_step(spec))(jax.jit(make_init(spec))(jax.random.key(0)))
    assert metrics["env_steps"] == 2 * 3 * (2 * 3 + 1)
    assert metrics["env_steps"].dtype == jnp.int32  # a float32 is exact up to 2²⁴ only
