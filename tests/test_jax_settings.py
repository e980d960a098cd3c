"""Settings of JAX that a process may have change nothing of what is computed, and what is not compiled runs too."""

import dataclasses
from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import build, envs, learners, outer
from metarl_jax.baselines import evaluate_control
from metarl_jax.core.jax_settings import SETTINGS, as_fixed_key, make_key
from metarl_jax.learners.maml import MAML
from metarl_jax.program.build import make_spec
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.step import make_init, make_meta_batch, sample_tasks

OTHERS = {
    "enable_x64": True,
    "numpy_dtype_promotion": "strict",
    "numpy_rank_promotion": "raise",
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
}
"""Another value for each of `SETTINGS`."""
ROBOTS = {name for name in envs.names() if envs.registry.entry(name).group == envs.ROBOTS}
DEAR = ROBOTS - {"half_cheetah_vel"}
"""Of the robots one is enough: they share a simulator, and are dear to trace."""
VARIANTS = ("anil", "cavia", "meta_sgd")
"""Names for options of `maml`."""
TRAINED = [(name, "point_robot", "ppo") for name in learners.names() if name not in VARIANTS]
TRAINED += [("maml", "point_robot", name) for name in outer.names() if name != "ppo"]


def other_settings():
    assert OTHERS.keys() == SETTINGS.keys()
    stack = ExitStack()
    for name, value in OTHERS.items():
        assert value != SETTINGS[name]
        stack.enter_context(getattr(jax, name)(value))
    return stack


@pytest.mark.parametrize(("learner", "env", "method"), TRAINED)
def test_the_meta_step_is_the_same_program_under_other_settings(small_config, learner, env, method):
    config = small_config(learner, env, method)

    def traced():
        program = build(config)
        state = jax.eval_shape(program.init, make_key(0))
        return str(jax.make_jaxpr(program.step)(state))

    expected = traced()
    with other_settings():
        assert traced() == expected
    assert "length=0" not in expected  # an empty scan is an error under `jax.disable_jit()`


@pytest.mark.parametrize("env", [name for name in envs.names() if name not in DEAR])
def test_an_evaluation_is_the_same_program_under_other_settings(small_config, env):
    config = small_config("rl2", env)

    def traced():
        program = build(config)
        return str(
            jax.make_jaxpr(lambda key: evaluate_control(program, "random", key))(make_key(0))
        )

    expected = traced()
    with other_settings():
        assert traced() == expected


def test_results_are_those_of_the_same_generator_whatever_the_key_is():
    key = jax.random.key(0, impl="rbg")
    assert as_fixed_key(key).dtype == as_fixed_key(make_key(3)).dtype == make_key(0).dtype
    same = jax.random.key_data(as_fixed_key(make_key(3)))
    np.testing.assert_array_equal(same, jax.random.key_data(make_key(3)))
    many = jax.vmap(as_fixed_key)(jax.random.split(key, 3))
    assert len(np.unique(jax.random.key_data(many), axis=0)) == 3
    with other_settings():
        np.testing.assert_array_equal(jax.random.key_data(make_key(3)), same)


@pytest.mark.parametrize("first_round", [0, 1, 2])
def test_a_replay_that_is_not_compiled_is_the_one_that_is(small_config, first_round):
    """With no round before the first that is asked for, and with none between that and the last."""
    config = small_config(num_tasks=2, num_episodes=2)
    spec = make_spec(dataclasses.replace(config, learner=MAML(hidden_sizes=(2,))))
    state = jax.jit(make_init(spec))(make_key(0))
    batch = make_meta_batch(spec, state, sample_tasks(spec, make_key(1), 2, "train"))
    trials = jax.jit(batch.collect)(state.meta.params, make_key(2))
    trial = jax.tree.map(lambda x: x[0], trials)

    def log_prob(meta_params):
        out = replay_trial(spec.learner, meta_params, (), trial, first_round)
        return out.distribution.log_prob(trial.rollout.action[first_round:])

    compiled = jax.jit(log_prob)(state.meta.params)
    with jax.disable_jit():
        answer = log_prob(state.meta.params)
    assert answer.shape == (3 - first_round, *trial.rollout.reward.shape[1:])
    np.testing.assert_allclose(answer, compiled, rtol=1e-4)
    recorded = trial.rollout.log_prob[first_round:]
    np.testing.assert_allclose(answer, recorded, rtol=1e-4)
    assert jnp.isfinite(answer).all()
