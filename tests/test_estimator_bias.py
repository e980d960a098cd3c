"""`metarl bias`: the estimators of the library, sampled, against exact meta-gradients."""

import json

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from metarl_jax import envs
from metarl_jax.analysis.estimator_bias import (
    BiasConfig,
    estimator_spec,
    exact_meta_gradient_of,
    make_sampler,
    measure,
    random_weights,
    summarize,
)
from metarl_jax.analysis.exact_gradients import sampled_bandit_objective
from metarl_jax.cli.bias import print_report
from metarl_jax.cli.main import main

SEEDS = (1, 4)


def random_mdp(horizon):
    """Nearly deterministic, so that an action decides what later ones can earn."""
    return envs.make(
        "random_mdp",
        num_states=3,
        num_actions=2,
        horizon=horizon,
        discount=1.0,
        concentration=0.1,
        uniform_start=horizon == 1,
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((5, 1), id="T5"),
        pytest.param((5, 2), id="T5K2", marks=pytest.mark.slow),
        pytest.param((1, 1), id="T1", marks=pytest.mark.slow),
    ],
)
def compared(request):
    """(horizon, summaries of every estimator on each of two random MDPs) with many trajectories an estimate."""
    horizon, num_inner_steps = request.param
    config = BiasConfig(
        random_mdp(horizon),
        estimators=("first_order", "log_likelihood", "lvc", "loaded_dice", "dice"),
        num_estimates=200,
        num_tasks=1,
        num_inner_steps=num_inner_steps,
        inner_lr=2.0 / num_inner_steps,
        baseline="none",
    )
    sample = make_sampler(config, num_episodes=1000)
    learner = estimator_spec(config, "dice", 1).learner
    summaries = []
    for seed in SEEDS:
        task_key, weights_key, sample_key = jax.random.split(jax.random.key(seed), 3)
        task = config.env.sample(task_key)
        meta_params = random_weights(learner, weights_key, 1.0)
        exact = exact_meta_gradient_of(config, config.env, task, learner, meta_params)
        exact = np.asarray(ravel_pytree(exact["meta_gradient"])[0])
        estimates = sample(sample_key, meta_params, task)
        summaries.append({name: summarize(np.asarray(x), exact) for name, x in estimates.items()})
    return horizon, summaries


def is_unbiased(summary):
    return summary["bias"] < 3 * summary["bias_se"]


def test_dice_is_unbiased(compared):
    _, summaries = compared
    assert all(is_unbiased(summary["dice"]) for summary in summaries)
    assert all(summary["dice"]["bias"] < 0.1 for summary in summaries)


def test_lvc_is_biased_beyond_one_step(compared):
    horizon, summaries = compared
    for summary in summaries:
        for name in ("lvc", "loaded_dice"):
            assert is_unbiased(summary[name]) == (horizon == 1)
        if horizon > 1:
            assert summary["lvc"]["bias"] > summary["loaded_dice"]["bias"] > 0.05


def test_plain_autodiff_is_biased_at_any_horizon(compared):
    horizon, summaries = compared
    for summary in summaries:
        assert summary["log_likelihood"]["bias"] > 5 * summary["log_likelihood"]["bias_se"]
        if horizon > 1:  # With one step, the Hessian is small, and first order nearly exact.
            assert not is_unbiased(summary["first_order"])
            assert summary["log_likelihood"]["cosine"] < summary["dice"]["cosine"]


def test_sampling_correction_meets_the_objective_of_sampled_inner_steps():
    """Two trajectories an inner step: E-MAML has the gradient of E[J(θ + αĝ)], and plain autodiff has not."""
    config = BiasConfig(
        envs.make("softmax_bandit"),
        estimators=("e_maml", "log_likelihood"),
        num_estimates=20_000,
        num_tasks=2,
        inner_lr=2.0,
        baseline="none",
    )
    learner = estimator_spec(config, "e_maml", 2).learner
    meta_params = random_weights(learner, jax.random.key(0), 1.0)
    logits, reward = ravel_pytree(meta_params)[0], jnp.asarray(config.env.rewards)
    estimates = make_sampler(config, 2)(jax.random.key(1), meta_params, reward)
    for name, samples in estimates.items():
        corrected = name == "e_maml"
        exact = jax.grad(
            lambda logits, corrected=corrected: sampled_bandit_objective(
                logits, reward, config.inner_lr, 2, sampling_correction=corrected
            )
        )(logits)
        assert is_unbiased(summarize(np.asarray(samples), np.asarray(exact)))
    wrong = summarize(
        np.asarray(estimates["log_likelihood"]),
        np.asarray(jax.grad(sampled_bandit_objective)(logits, reward, config.inner_lr, 2)),
    )
    assert wrong["bias"] > 5 * wrong["bias_se"]


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_summary_of_known_samples(bias):
    exact = np.array([3.0, -4.0, 0.0])
    centre = exact + np.array([0.0, 0.0, 5.0 * bias])
    samples = centre + 2.0 * np.random.default_rng(0).normal(size=(10_000, 3))
    summary = summarize(samples, exact)
    assert abs(summary["bias"] - bias) < 3 * summary["bias_se"] < 0.1
    assert summary["std"] == pytest.approx(2.0 * np.sqrt(3.0) / 5.0, rel=0.02)
    assert summary["cosine"] == pytest.approx(0.9 if bias == 0 else 0.8, abs=0.1)


TINY = "bias --num-episodes 2 4 --num-estimates 8 --num-tasks 2 --estimators dice e_maml"


def test_command_prints_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    plot = tmp_path / "bias.png"
    assert main([*TINY.split(), "--env", "softmax_bandit", "--json", "--plot", str(plot)]) == 0
    out, err = capsys.readouterr()
    assert str(plot) in err
    report = json.loads(out)
    assert list(report["estimators"]) == ["dice", "e_maml"]
    assert all(len(x) == 2 for x in report["estimators"]["dice"].values())
    assert report["return_after"] > report["return_before"]
    assert matplotlib.image.imread(plot).std() > 0
    print_report(report)
    printed = capsys.readouterr().out
    assert "e_maml" in printed
    assert f"{report['estimators']['dice']['std'][1]:.3f}" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--env bandit", "env.name='bandit' has no tables"),
        ("--estimators dcie", "estimators='dcie'"),
        ("--num-estimates 1", "num_estimates=1 must be at least 2"),
        ("--num-episodes 0", "num_episodes=0 must be at least 1"),
        ("--plot nowhere/x.png", "plot='nowhere/x.png'"),
        ("--plot x.abacus", "plot='x.abacus'"),
        ("--plot /", "plot='/'"),
    ],
)
def test_bad_options_are_refused(flags, message, capsys):
    assert main(["bias", *flags.split()]) == 2
    assert message in capsys.readouterr().err


def test_measure_refuses_what_has_no_tables():
    with pytest.raises(ValueError, match="no tables"):
        measure(BiasConfig(envs.make("bandit")))
