"""How a trial is collected: what is random in it is drawn before it is lived."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, learners
from metarl_jax.core.advantages import PLAIN_RETURNS, AdvantageConfig, make_estimator
from metarl_jax.core.types import MetaState
from metarl_jax.learners.base import unroll
from metarl_jax.program.rollout import collect_trial

OTHERS = [x for x in envs.names() if not hasattr(envs.make(x), "backend") and x != "craftax"]
"""All environments but the robots of Brax, and Craftax, which draws in its own step."""
DRAWS = ("random_bits", "random_split", "random_fold_in", "threefry2x32")


def primitives(jaxpr, within_scan=False):
    """(name, whether it is in the body of a scan or loop) of every operation."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name, within_scan
        within = within_scan or equation.primitive.name in ("scan", "while")
        for value in jax.tree.leaves(equation.params, is_leaf=is_program):
            if is_program(value):
                yield from primitives(getattr(value, "jaxpr", value), within)


def is_program(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("deterministic", [False, True])
def test_nothing_is_drawn_in_the_scan_over_steps(name, deterministic):
    env = envs.make(name)
    learner = learners.get("rl2")(hidden_size=8, encoder_sizes=(8,)).make(env)
    estimator = make_estimator(PLAIN_RETURNS)

    def collect(meta_params, key):
        task = env.sample(key)
        sizes = {"num_rounds": 3, "num_episodes": 2, "deterministic": deterministic}
        return collect_trial(env, learner, estimator, MetaState(meta_params), task, key, **sizes)

    meta_params = learner.init(jax.random.key(0))
    found = set(primitives(jax.make_jaxpr(collect)(meta_params, jax.random.key(1)).jaxpr))
    assert {name for name, within in found if not within} & set(DRAWS)
    assert ("scan", True) in found
    assert not {name for name, within in found if within} & set(DRAWS)


def test_adaptation_explores_where_its_rounds_are_measured_by_the_mode():
    """Each recorded round is by the mode of the policy that the sampled rounds before it have led to."""
    env = envs.make("point_robot", horizon=3)
    learner = learners.get("maml")(hidden_sizes=(4,), inner_lr=1.0).make(env)
    meta_params = learner.init(jax.random.key(0))
    estimator = make_estimator(AdvantageConfig(baseline="none"))
    task = jnp.array([0.3, -0.2])

    def collect(deterministic):
        sizes = {"num_rounds": 3, "num_episodes": 2, "deterministic": deterministic}
        key = jax.random.key(2)
        trial = collect_trial(env, learner, estimator, MetaState(meta_params), task, key, **sizes)
        return trial.rollout

    sampled, measured = (
        jax.jit(collect, static_argnums=0)(False),
        jax.jit(collect, static_argnums=0)(True),
    )
    state = learner.begin(meta_params, (), jax.random.key(0), 2)
    for index in range(3):
        explored, greedy = (jax.tree.map(lambda x, i=index: x[i], r) for r in (sampled, measured))
        out, _ = unroll(learner, meta_params, state, greedy.timestep)
        np.testing.assert_allclose(greedy.action, out.distribution.mode(), atol=1e-5)
        state = learner.adapt(meta_params, state, explored)
    moved = measured.action[2] - measured.action[0]
    assert np.abs(moved).max() > 1e-3
