"""An accelerator does what a CPU does: `pytest -m gpu` where there is one."""

import dataclasses

import jax
import numpy as np
import pytest

import metarl_jax
from metarl_jax import experiments
from metarl_jax.config import EvaluationConfig, RuntimeConfig
from metarl_jax.runs import train
from metarl_jax.runs.evaluate import evaluate_run

pytestmark = pytest.mark.gpu

LEARNERS = (
    "maml",
    "rl2-gru",
    "rl2-min_gru",
    "rl2-transformer",
    "key_value",
    "episodic",
    "varibad",
    "hypernetwork",
    "tuned_modular",
)


@pytest.fixture(autouse=True)
def accelerator():
    if jax.default_backend() == "cpu":
        pytest.fail("these tests need an accelerator, and JAX finds none (see `metarl doctor`)")


def first_step(config, platform):
    """The state and the metrics after one meta-step on one device of a platform."""
    runtime = RuntimeConfig(platform=platform, num_devices=1)
    device = jax.devices()[0] if platform == "auto" else jax.devices(platform)[0]
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        program = metarl_jax.build(dataclasses.replace(config, runtime=runtime))
        state = jax.jit(program.init)(jax.random.key(0))
        found = jax.block_until_ready(jax.jit(program.step)(state))
        assert next(iter(found[1]["episode_return"].devices())) == device
        return found


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_meta_step_is_that_of_a_cpu(small_config, trees_close, learner):
    name, *core = learner.split("-")
    config = small_config(name, "point_robot")
    if core:
        config = dataclasses.replace(
            config, learner=dataclasses.replace(config.learner, core=core[0])
        )
    trees_close(first_step(config, "auto"), first_step(config, "cpu"), rtol=2e-3, atol=3e-4)


def test_a_run_is_trained_evaluated_and_opened_again(tmp_path):
    config = dataclasses.replace(
        experiments.get("rl2-bandit"),
        num_meta_steps=2,
        num_tasks=64,
        evaluation=EvaluationConfig(every=1, num_tasks=64),
    )
    train.train(config, tmp_path / "run")
    evaluation = evaluate_run(tmp_path / "run", num_tasks=128)
    assert evaluation["num_tasks"] == 128
    assert np.isfinite(evaluation["return_mean"]).all()
    again = train.resume(tmp_path / "run")
    assert np.isfinite(again["return_mean"]).all()


def test_the_simulator_runs(small_config):
    config = small_config("rl2", "half_cheetah_vel", num_rounds=1, num_episodes=1)
    _, metrics = first_step(config, "auto")
    assert np.isfinite(metrics["episode_return"]).all()
    assert metrics["skipped"] == 0
