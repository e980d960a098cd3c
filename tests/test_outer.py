"""Outer methods: what TRPO promises of a step, and what Reptile and evolution follow."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from metarl_jax.core.advantages import AdvantageConfig, make_estimator
from metarl_jax.core.trees import padded_mean
from metarl_jax.learners.base import ParameterGroup
from metarl_jax.outer.base import AdamOptions
from metarl_jax.outer.credit import (
    counted_trials,
    last_round_credit,
    standardized_credit,
    worst_quantile,
)
from metarl_jax.outer.es import ES, _weighted_noise
from metarl_jax.outer.objective import entropy_coefficient, take_rounds, task_loss
from metarl_jax.outer.policy_gradient import counted_gradient
from metarl_jax.outer.ppo import PPO
from metarl_jax.outer.trpo import TRPO, _line_search, conjugate_gradient, fisher_vector_product
from metarl_jax.program import build as programs
from metarl_jax.program.step import make_init, make_meta_batch, make_step, sample_tasks


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
        trials = jax.jit(batch.collect)(state.meta.params, jax.random.key(2))
        return config.outer, state.meta.params, batch, trials

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
            return padded_mean(kl, rollout.timestep.valid)

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


def test_the_trust_region_falls_geometrically():
    config = TRPO(max_kl=0.01, final_max_kl=0.0001)
    found = [float(config.max_kl_at(jnp.float32(p))) for p in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(found, [0.01, 0.001, 0.0001], rtol=1e-5)
    assert float(TRPO(max_kl=0.01).max_kl_at(jnp.float32(0.7))) == pytest.approx(0.01)


def test_trpo_stays_where_no_step_is_good(collected):
    """Uphill every length is worse: the parameters stay to the bit, and the metric says so."""
    config, meta_params, batch, trials = collected("trpo", num_backtracks=5)
    counted = counted_trials(config, batch, trials)
    gradient, metrics = jax.jit(partial(counted_gradient, config, batch=batch))(
        meta_params, counted=counted
    )
    uphill = jax.tree.map(lambda g: 0.1 * g, gradient)
    search = jax.jit(partial(_line_search, config, batch=batch, max_kl=jnp.float32(config.max_kl)))
    kept, found = search(meta_params, uphill, counted=counted, loss_before=metrics["loss"])
    jax.tree.map(np.testing.assert_array_equal, kept, meta_params)
    assert float(found["step_size"]) == 0.0
    assert float(found["kl"]) == 0.0
    downhill = jax.tree.map(jnp.negative, uphill)
    moved, found = search(meta_params, downhill, counted=counted, loss_before=metrics["loss"])
    assert float(found["step_size"]) > 0.0
    assert np.abs(ravel_pytree(moved)[0] - ravel_pytree(meta_params)[0]).max() > 0.0


@pytest.mark.parametrize("scaling", [1.0, 0.1])
def test_last_round_credit_has_the_units_of_advantages(collected, scaling):
    """Against the other tasks, discounted and scaled as advantages are."""
    _, _, _, trials = collected("policy_gradient")
    reward = np.asarray(trials.rollout.reward[:, -1])
    returns = scaling * (0.9 ** np.arange(reward.shape[1]) @ reward).mean(-1)
    expected = [r - np.delete(returns, i).mean() for i, r in enumerate(returns)]
    estimator = make_estimator(AdvantageConfig(discount=0.9, reward_scaling=scaling))
    np.testing.assert_allclose(last_round_credit(estimator, trials), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fraction", "quantile"),
    [(0.25, -2.0), (0.1, -3.0), (0.375, -1.0), (1.0, np.inf), (0.0001, -3.0)],
)
def test_the_quantile_of_the_worst_returns(fraction, quantile):
    returns = jnp.array([[-1.0, -2.0, 3.0, 0.0], [2.0, 1.0, -3.0, 4.0]])
    assert float(jax.jit(worst_quantile)(returns, fraction)) == quantile


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
        return float(task_loss(weighed, batch, meta_params, (), trial, jnp.zeros(()))[0])

    more = 0.2 * 2.0 * jnp.where(valid[0], entropy[0], 0.0).sum() / valid.size
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


@pytest.mark.parametrize("num_meta_steps", [1, 2, 10])
def test_the_step_size_ends_with_the_last_meta_step(num_meta_steps):
    """Adam on a constant gradient moves by its step size. Meta-steps of several updates, or of none, are one each."""
    options = AdamOptions(learning_rate=1.0, final_learning_rate=0.1, max_gradient_norm=1e9)
    optimizer = options.make_optimizer(num_meta_steps)
    state, gradient = optimizer.init(jnp.ones(())), jnp.ones(())
    sizes = []
    for _ in range(num_meta_steps):
        update, state = optimizer.update(gradient, state, gradient)
        sizes.append(-float(update))
    expected = np.linspace(1.0, 0.1, num_meta_steps) if num_meta_steps > 1 else [0.1]
    np.testing.assert_allclose(sizes, expected, rtol=1e-4)
    for meta_step in (0, num_meta_steps - 1):
        for _ in range(2):
            update, state = optimizer.update(gradient, state, gradient, meta_step=meta_step)
            assert -float(update) == pytest.approx(expected[meta_step], rel=1e-4)


def test_groups_of_parameters_do_not_starve_each_other():
    """Each has a norm, an Adam and, where it wants, a step size of its own; schedules keep their ratio."""
    groups = (ParameterGroup("belief", "^params/encoder/", 0.1), ParameterGroup("all", "encoder"))
    options = AdamOptions(learning_rate=1.0, final_learning_rate=0.5, max_gradient_norm=1e-3)
    optimizer = options.make_optimizer(2, groups)
    params = {"params": {"encoder": {"a": jnp.ones(2)}, "policy": {"encoder": jnp.ones(2)}}}
    params["params"]["head"] = jnp.ones(3)

    def update(scale, meta_step=0):
        gradient = jax.tree.map(lambda x: 1e-2 * x, params)
        gradient["params"]["encoder"]["a"] *= scale
        found, _ = optimizer.update(gradient, optimizer.init(params), params, meta_step=meta_step)
        return found["params"]

    for scale in (1.0, 1e4):
        np.testing.assert_array_equal(update(scale)["head"], update(0.0)["head"])
        np.testing.assert_array_equal(
            update(scale)["policy"]["encoder"], update(0.0)["policy"]["encoder"]
        )
        np.testing.assert_allclose(update(scale)["encoder"]["a"], -0.1, rtol=0.05)
    np.testing.assert_allclose(update(1.0, meta_step=1)["encoder"]["a"], -0.05, rtol=0.05)
    np.testing.assert_allclose(update(1.0)["head"], -1.0, rtol=0.05)


@pytest.mark.parametrize(("step", "progress"), [(0, 0.0), (6, 0.75), (8, 1.0), (9, 1.0)])
def test_progress_ends_with_the_last_meta_step(small_config, step, progress):
    spec = programs.make_spec(small_config("rl2", "bandit", num_meta_steps=9))
    state = jax.eval_shape(make_init(spec), jax.random.key(0)).replace(step=jnp.int32(step))
    assert float(make_meta_batch(spec, state, ()).progress) == progress


@pytest.mark.parametrize("learner", ["maml", "rl2"])
def test_only_the_worst_trials_contribute(small_config, learner):
    """With γ = λ = 1 and no baseline, a step counts (min(R, q) − min(S, q))/ε, with S what its trial had earned before.
    The data of inner steps and the targets of the value function stay as they were."""
    config = small_config(learner, "point_robot", "policy_gradient", num_rounds=2)
    options = {"worst_fraction": 0.25, "worst_fraction_anneal_steps": 3}
    outer = dataclasses.replace(config.outer, **options)
    plain = dataclasses.replace(
        config.advantage, baseline="none", normalization="none", discount=1.0, reward_scaling=0.5
    )
    spec = programs.make_spec(dataclasses.replace(config, outer=outer, advantage=plain))
    state = jax.jit(make_init(spec))(jax.random.key(0))
    batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(1), 8, "train"))
    trials = jax.jit(batch.collect)(state.meta.params, jax.random.key(2))
    first, _ = outer.counted_rounds(2)
    reward = 0.5 * np.asarray(trials.rollout.reward[:, first:])
    in_time = reward.reshape(8, -1, reward.shape[-1])
    returns, before = in_time.sum(1), np.cumsum(in_time, axis=1) - in_time

    for step, fraction in ((3, 0.25), (1, 0.625)):  # half-way, 1 − 0.75 / 2
        at = batch._replace(step=jnp.int32(step))
        counted, _ = jax.jit(partial(counted_trials, outer, at))(trials)
        quantile = np.sort(returns.ravel())[round(fraction * returns.size) - 1]
        short = np.minimum(returns, quantile)[:, None] - np.minimum(before, quantile)
        found = counted.rollout.advantage[:, first:].reshape(in_time.shape)
        np.testing.assert_allclose(found, short / fraction, rtol=1e-3, atol=1e-3)
        assert np.abs(found).max() > 1e-3
        np.testing.assert_array_equal(
            trials.rollout.advantage[:, :first], counted.rollout.advantage[:, :first]
        )
        for name in ("target", "reward", "training_reward"):
            now, then = (getattr(x.rollout, name) for x in (counted, trials))
            np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("outer_method", ["ppo", pytest.param("trpo", marks=pytest.mark.slow)])
def test_a_whole_worst_fraction_changes_nothing(small_config, outer_method):
    """Also where it is traced, and happens to be 1."""
    plain = AdvantageConfig(normalization="none")
    config = small_config("maml", "point_robot", outer_method, num_tasks=4, advantage=plain)

    @jax.jit
    def step(fraction):
        outer = dataclasses.replace(config.outer, worst_fraction=fraction)
        spec = programs.make_spec(dataclasses.replace(config, outer=outer))
        return make_step(spec)(make_init(spec)(jax.random.key(0)))[0].meta.params

    @jax.jit
    def plain_step():
        spec = programs.make_spec(config)
        return make_step(spec)(make_init(spec)(jax.random.key(0)))[0].meta.params

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, step(jnp.float32(1.0)), plain_step())
    moved, plain = ravel_pytree(step(jnp.float32(0.25)))[0], ravel_pytree(plain_step())[0]
    assert np.abs(moved - plain).max() > 1e-4


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
    assert batch.to_meta_params is not None
    moved = batch.to_meta_params(meta_params, adapted)
    again = jax.jit(lambda p: batch.replay(p, (), trial.replace(rollout=first), 0))(moved)
    np.testing.assert_allclose(again.distribution.mean[0], answers, atol=1e-6)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (2, 0.5), (4, 0.0)])
def test_reptile_interpolates_by_a_share_that_falls(collected, trees_close, step, share):
    """θ + ε (mean θ_K − θ), with ε from 1 at the first of five meta-steps to 0 at the last."""
    options = {"step": "interpolate", "learning_rate": 1.0, "final_learning_rate": 0.0}
    config, meta_params, batch, trials = collected("reptile", **options)
    batch = batch._replace(collect=lambda params, key: trials, step=jnp.int32(step))
    outer = config.make(5)
    state = outer.init(meta_params)
    found = jax.jit(lambda p: outer.update(jax.random.key(0), p, state, batch)[0])(meta_params)
    to_params = batch.to_meta_params
    assert to_params is not None

    @jax.jit
    def mean_adapted(params):
        adapted = jax.vmap(lambda t: to_params(params, batch.adapted(params, (), t)))(trials)
        return jax.tree.map(lambda x: x.mean(axis=0), adapted)

    mean = mean_adapted(meta_params)
    wanted = jax.tree.map(lambda p, m: p + share * (m - p), meta_params, mean)
    trees_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert np.abs(ravel_pytree(mean)[0] - ravel_pytree(meta_params)[0]).max() > 1e-3


def test_reptile_does_not_go_beyond_the_adapted_parameters(small_config):
    config = small_config("maml", "point_robot", "reptile")
    outer = dataclasses.replace(config.outer, step="interpolate", learning_rate=1.5)
    with pytest.raises(ValueError, match=r"outer.learning_rate=1.5 .* choose 1 or less"):
        outer.validate(config.learner, config.advantage)


@pytest.mark.parametrize("scaling", [1.0, 0.1])
def test_standardized_credit_does_not_depend_on_the_scale_of_rewards(collected, scaling):
    """The mean over a task of rewards of mean 0 and deviation 1 over all tasks, as `adj_avg_rewards` of ProMP."""
    _, _, _, trials = collected("policy_gradient")
    reward, valid = (
        np.asarray(x[:, -1]) for x in (trials.rollout.reward, trials.rollout.timestep.valid)
    )
    standard = (reward - reward[valid].mean()) / reward[valid].std()
    expected = [r[v].mean() for r, v in zip(standard, valid, strict=True)]
    estimator = make_estimator(AdvantageConfig(discount=0.9, reward_scaling=scaling))
    np.testing.assert_allclose(
        standardized_credit(estimator, trials), expected, rtol=1e-3, atol=1e-4
    )


def test_standardized_credit_weighs_the_mean_score(collected):
    """The correction is −c · r̄ · mean ρ over the steps of the rounds before the last: its value where ρ = 1."""
    config, meta_params, batch, trials = collected("policy_gradient")
    options = {"sampling_correction": 0.5, "sampling_credit": "standardized"}
    config = dataclasses.replace(config, **options)
    trial = jax.tree.map(lambda x: x[0], trials)

    def loss(credit):
        return task_loss(config, batch, meta_params, (), trial, jnp.float32(credit))[0]

    with_credit, without = jax.jit(jax.vmap(loss))(jnp.array([2.0, 0.0]))
    share = trial.rollout.timestep.valid[:-1].mean()
    assert float(with_credit - without) == pytest.approx(-0.5 * 2.0 * float(share), rel=1e-3)


def test_a_credit_without_its_correction_is_refused(small_config):
    config = small_config("maml", "point_robot")
    outer = dataclasses.replace(config.outer, sampling_credit="standardized")
    with pytest.raises(ValueError, match=r"sampling_credit='standardized' has no effect"):
        outer.validate(config.learner, config.advantage)


def test_evolution_draws_the_same_noise_again():
    meta_params = {"a": jnp.ones((3, 2)), "b": jnp.ones(4)}
    keys = jax.random.split(jax.random.key(0), 3)
    weights = jnp.array([1.0, -2.0, 0.5])
    found = _weighted_noise(keys, weights, meta_params)
    noise = [optax.tree.random_like(jax.random.split(key)[0], meta_params) for key in keys]
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
