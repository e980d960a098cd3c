"""Options of `runtime` that say how to compute: they change results by the rounding of floats at most."""

import dataclasses

import jax
import pytest

import metarl_jax
from metarl_jax.analysis.dry_run import dry_run
from metarl_jax.config import RuntimeConfig


def with_options(config, **options):
    runtime = dataclasses.replace(config.runtime, **options)
    return dataclasses.replace(config, runtime=runtime)


def tiny(small_config, learner, outer="policy_gradient", **changes):
    """A configuration that compiles in a second or two."""
    config = small_config(learner, "point_robot", outer, num_rounds=2, **changes)
    sizes = {"hidden_sizes": (5,)} if learner == "maml" else {"hidden_size": 5}
    env = dataclasses.replace(config.env, horizon=4)
    learner = dataclasses.replace(config.learner, **sizes)
    advantage = dataclasses.replace(config.advantage, baseline="none")
    return dataclasses.replace(config, env=env, learner=learner, advantage=advantage)


def traced(config):
    """The program of a meta-step, as JAX has traced it."""
    program = metarl_jax.build(config)
    return str(jax.make_jaxpr(program.step)(jax.eval_shape(program.init, jax.random.key(0))))


def after_a_step(config):
    """The state and the metrics after one meta-step."""
    program = metarl_jax.build(config)
    state = jax.jit(program.init)(jax.random.key(0))
    return jax.jit(program.step)(state)


def products(config, platform):
    """The matrix products in the program of a platform that need not be there."""
    text = dry_run(config, platform).text
    return [line for line in text.splitlines() if "dot_general" in line]


@pytest.mark.parametrize("num_steps", [None, 7])
def test_unrolled_steps_are_the_same_steps(small_config, trees_close, num_steps):
    config = tiny(small_config, "rl2", num_steps=num_steps)
    plain, unrolled = (with_options(config, unroll=n) for n in (1, 2))
    trees_close(after_a_step(plain), after_a_step(unrolled), rtol=1e-4, atol=1e-5)
    assert "unroll=2" in traced(unrolled)
    assert "unroll=2" not in traced(plain)


@pytest.mark.parametrize(("asked", "lowered"), [("highest", "HIGHEST"), ("default", "DEFAULT")])
def test_products_have_the_precision_that_was_asked_for(small_config, asked, lowered):
    config = with_options(tiny(small_config, "maml"), matmul_precision=asked)
    found = products(config, "gpu")
    assert found
    assert all(f"precision = [{lowered}, {lowered}]" in line for line in found)


def test_float32_is_the_default():
    assert RuntimeConfig().matmul_precision == "highest"
