"""A policy head that scores every action with the same weights, by what is observed of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, presets
from metarl_jax.config import validate
from metarl_jax.core.errors import UserError
from metarl_jax.envs.told_task import as_observed
from metarl_jax.learners.hypernetwork import Hypernetwork
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import blank_timestep
from metarl_jax.learners.symmetric import SymmetricRL2
from metarl_jax.networks.layers import PerActionHead
from metarl_jax.testing import check_learner


def test_logits_are_permuted_with_the_actions():
    head = PerActionHead(size=8)
    features = jax.random.normal(jax.random.key(0), (3, 5))
    actions = jax.random.normal(jax.random.key(1), (3, 4, 2))
    params = head.init(jax.random.key(2), features, actions)
    order = jnp.array([2, 0, 3, 1])
    out, permuted = (head.apply(params, features, x) for x in (actions, actions[:, order]))
    logits = out.distribution.logits
    assert logits.shape == (3, 4)
    assert np.ptp(logits) > 1e-4
    np.testing.assert_allclose(permuted.distribution.logits, logits[:, order], atol=1e-6)
    np.testing.assert_allclose(permuted.value, out.value, atol=1e-6)


def test_logits_and_value_are_those_of_the_formula():
    head = PerActionHead(size=8)
    h = np.asarray(jax.random.normal(jax.random.key(0), (5,)), np.float64)
    f = np.asarray(jax.random.normal(jax.random.key(1), (4, 2)), np.float64)
    params = head.init(jax.random.key(2), jnp.float32(h), jnp.float32(f))
    drawn = jax.tree.map(lambda x: x + 0.1, params)
    weights = {
        k: {n: np.asarray(x, np.float64) for n, x in v.items()} for k, v in drawn["params"].items()
    }

    def dense(name, x):
        return x @ weights[name]["kernel"] + weights[name]["bias"]

    known = dense("Dense_0", h)
    hidden = np.tanh(dense("Dense_1", f) + dense("Dense_2", f) * known)
    out = head.apply(drawn, jnp.float32(h), jnp.float32(f))
    np.testing.assert_allclose(
        out.distribution.logits, dense("NarrowDense_0", hidden)[:, 0], rtol=1e-4
    )
    value = dense("NarrowDense_1", np.concatenate([h, hidden.mean(0)]))[0]
    np.testing.assert_allclose(out.value, value, rtol=1e-4)


@pytest.mark.parametrize("variant", ["load", "classes"])
def test_features_of_jobs_and_of_void(variant):
    env = envs.make("job_scheduling", variant=variant)
    has_classes = variant == "classes"
    free = np.full((1 if has_classes else 20, 2), 0.5)
    demand, kind = np.zeros((10, 2)), np.zeros((10, 8) if has_classes else 10)
    demand[0], demand[3] = (0.4, 0.1), (0.2, 0.6)
    if has_classes:
        kind[0, 2] = kind[3, 7] = 1.0
    else:
        kind[0], kind[3] = 2 / 15, 12 / 15
    rest = np.zeros(17 if has_classes else 2)
    observation = np.concatenate([free.ravel(), demand.ravel(), kind.ravel(), rest])
    features = env.action_features(jnp.asarray(observation, jnp.float32))
    kinds = (
        [[0.0] * 2 + [1.0] + [0.0] * 5, [0.0] * 7 + [1.0]]
        if has_classes
        else [[2 / 15, 1 / 2], [12 / 15, 1 / 12]]
    )
    zeros = [0.0] * len(kinds[0])
    # There, demands, what they leave, its sum, the sum of demands, fits now, kind, void.
    expected = np.zeros((11, len(zeros) + 9))
    expected[0] = [1, 0.4, 0.1, 0.1, 0.4, 0.5, 0.5, 1, *kinds[0], 0]
    expected[3] = [1, 0.2, 0.6, 0.3, -0.1, 0.2, 0.8, 0, *kinds[1], 0]
    expected[10] = [0, 0, 0, 0.5, 0.5, 0, 0, 0, *zeros, 1]
    np.testing.assert_allclose(features, expected, atol=1e-6)
    told = as_observed(dataclasses.replace(env, told_task=True))
    again = told.action_features({"observation": jnp.float32(observation), "task": jnp.zeros(3)})
    np.testing.assert_array_equal(again, features)


def test_two_slots_that_show_the_same_job_are_equally_likely():
    env = envs.make("job_scheduling", variant="classes", num_arrivals=4)
    learner = RL2(hidden_size=8, encoder_sizes=(8,), per_action_head=True)
    check_learner(learner, env)
    made = learner.make(env)
    params = made.init(jax.random.key(0))
    params = jax.tree.map(lambda x: x + 0.05, params)
    observation = np.zeros(119, np.float32)
    observation[:2] = 1.0
    for slot in (1, 6):
        observation[2 + 2 * slot : 4 + 2 * slot] = 0.5, 0.2
        observation[22 + 8 * slot + 3] = 1.0
    timestep = blank_timestep(env).replace(observation=jnp.asarray(observation[None]))
    out, _ = made.act(params, made.begin(params, (), jax.random.key(1), 1), timestep)
    logits = np.asarray(out.distribution.logits[0])
    assert logits[1] == pytest.approx(logits[6], abs=1e-6)
    assert abs(logits[1] - logits[0]) > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"env": envs.make("grid_navi")},
            "env 'grid_navi' defines no action_features: leave it out",
        ),
        ({"normalize_observations": True}, "reads raw observations"),
        ({"learner": SymmetricRL2(per_action_head=True)}, "does not fit learner 'symmetric_rl2'"),
        ({"learner": Hypernetwork(head_sizes=(8,))}, "does not fit learner 'hypernetwork'"),
        ({"learner": RL2(per_action_head=True, head_sizes=(8,))}, "head_sizes=.* has no effect"),
    ],
)
def test_where_it_cannot_work_it_is_refused(changes, message):
    config = presets.get("rl2-job-scheduling-classes")
    learner = RL2(per_action_head=True)
    config = dataclasses.replace(config, **({"learner": learner} | changes))
    with pytest.raises(UserError, match=message):
        validate(config)
