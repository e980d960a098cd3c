"""Meta-gradient estimators against the closed forms of the softmax bandit, in expectation.

θ = (0.2, −0.1, 0.3), rewards (1, ½, 0), α = ½; the values were computed in double precision from
J = p·r, g = p∘(r − J), H = diag(p∘d) − (p∘d)pᵀ − p(p∘d)ᵀ with d = r − J.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.core.advantages import AdvantageConfig, make_estimator
from metarl_jax.core.task_axis import TaskAxis
from metarl_jax.core.types import PolicyOut, TimeStep, Transition, Trial
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.base import MetaBatch
from metarl_jax.outer.objective import task_loss
from metarl_jax.outer.policy_gradient import PolicyGradient
from metarl_jax.program.replay import replay_trial

THETA, REWARD, ALPHA = jnp.array([0.2, -0.1, 0.3]), jnp.array([1.0, 0.5, 0.0]), 0.5
EXACT = (0.192139, -0.012932, -0.179207)
FIRST_ORDER = (0.186528, -0.004077, -0.182451)


def make_learner(**options):
    """A policy that is its logits: the bias of a head without inputs."""
    config = MAML(hidden_sizes=(), inner_lr=ALPHA, adapts="bias", **options)
    return config.make(envs.make("bandit", num_arms=3))


def with_logits(meta_params, logits):
    head = meta_params["policy"]["params"]["PolicyHead_0"]["NarrowDense_0"]
    return {"policy": {"params": {"PolicyHead_0": {"NarrowDense_0": head | {"bias": logits}}}}}


def record(learner, meta_params, inner_state, actions, weights):
    """A round `[1, E]` of these actions, whose advantages are their rewards times weights."""
    num_episodes = len(actions)
    zeros = jnp.zeros((1, num_episodes))
    timestep = TimeStep(
        observation=jnp.zeros((1, num_episodes, 0)),
        previous_action=jnp.zeros((1, num_episodes, 3)),
        previous_reward=zeros,
        is_first=zeros == 0,
        valid=zeros == 0,
    )
    out, _ = learner.unroll(meta_params, inner_state, timestep)
    action = jnp.asarray(actions)[None]
    rollout = Transition(
        timestep=timestep,
        action=action,
        policy=PolicyOut(out.distribution, zeros),
        log_prob=out.distribution.log_prob(action),
        reward=REWARD[action],
        terminated=zeros == 1,
        training_reward=REWARD[action],
        advantage=weights * REWARD[action],
        target=zeros,
    )
    return jax.lax.stop_gradient(rollout)


def meta_gradient(learner, meta_params, inner, outer_actions, weights, sampling_correction=0.0):
    """−∇ of the objective of one task, from a given inner round and given actions after it."""
    begun = learner.begin(meta_params, (), None, 1)
    adapted = learner.adapt(meta_params, begun, inner)
    after = record(learner, meta_params, adapted, outer_actions, weights)
    rollout = jax.tree.map(lambda *x: jnp.stack(x), inner, after)
    last = jax.tree.map(lambda x: x[:, -1], rollout.timestep)
    trial = Trial(rollout, jax.random.key(0), None, last)
    batch = MetaBatch(
        collect=None,
        memory=(),
        replay=partial(replay_trial, learner),
        adapted=None,
        to_meta_params=None,
        aux_loss=lambda *_: (jnp.zeros(()), {}),
        advantages=make_estimator(AdvantageConfig()),
        axis=TaskAxis(),
        block=None,
        step=jnp.int32(0),
        progress=jnp.float32(0),
    )
    config = PolicyGradient(sampling_correction=sampling_correction)
    credit = after.reward.mean()
    gradient = jax.grad(lambda p: task_loss(config, batch, p, (), trial, credit)[0])(meta_params)
    return -gradient["policy"]["params"]["PolicyHead_0"]["NarrowDense_0"]["bias"]


def in_expectation(learner, baseline=0.0):
    """The estimate in expectation over the actions of both rounds: every action once, weighed with its probability."""
    meta_params = with_logits(learner.init(jax.random.key(0)), THETA)

    def weigh(rollout):
        probability = jnp.exp(rollout.log_prob)
        return rollout.replace(advantage=3.0 * probability * (rollout.reward - baseline))

    begun = learner.begin(meta_params, (), None, 1)
    inner = weigh(record(learner, meta_params, begun, [0, 1, 2], 1.0))
    adapted = learner.adapt(meta_params, begun, inner)
    probability = jnp.exp(record(learner, meta_params, adapted, [0, 1, 2], 1.0).log_prob)
    return meta_gradient(learner, meta_params, inner, [0, 1, 2], 3.0 * probability)


@pytest.mark.parametrize(
    ("options", "baseline", "expected"),
    [
        ({"surrogate": "likelihood_ratio"}, 0.0, EXACT),
        ({"surrogate": "dice"}, 0.0, EXACT),
        ({"surrogate": "loaded_dice", "loaded_dice_lambda": 0.3}, 0.0, EXACT),
        ({"first_order": True}, 0.0, FIRST_ORDER),
        ({"surrogate": "log_likelihood"}, 0.0, (0.170209, -0.004221, -0.165989)),
        # With the exact baseline, E[(r − b) ∇² log π] vanishes here, and the first order is left.
        ({"surrogate": "log_likelihood"}, 0.481523, FIRST_ORDER),
    ],
    ids=["lvc", "dice", "loaded dice", "first order", "plain", "plain with baseline"],
)
def test_closed_forms_of_the_softmax_bandit(options, baseline, expected):
    found = in_expectation(make_learner(**options), baseline)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("sampling_correction", "expected"),
    [(1.0, (0.190786, -0.012032, -0.178754)), (0.0, (0.168743, -0.003466, -0.165276))],
    ids=["with", "without"],
)
def test_sampling_correction_over_all_inner_samples(sampling_correction, expected):
    """E-MAML: all nine pairs of actions that an inner step of two episodes may see, and every action after it."""
    learner = make_learner(surrogate="log_likelihood")
    meta_params = with_logits(learner.init(jax.random.key(0)), THETA)
    begun = learner.begin(meta_params, (), None, 1)
    probability = jax.nn.softmax(THETA)

    def estimate(pair, action):
        inner = record(learner, meta_params, begun, pair, 1.0)
        adapted = learner.adapt(meta_params, begun, inner)
        after = jax.nn.softmax(adapted.fast["params/PolicyHead_0/NarrowDense_0/bias"])
        chance = probability[pair[0]] * probability[pair[1]] * after[action]
        gradient = meta_gradient(
            learner,
            meta_params,
            inner,
            jnp.stack([action, action]),
            1.0,
            sampling_correction,
        )
        return chance * gradient

    pairs = jnp.array(list(itertools.product(range(3), repeat=2)))
    over_actions = jax.vmap(estimate, in_axes=(None, 0))
    total = jax.jit(jax.vmap(over_actions, in_axes=(0, None)))(pairs, jnp.arange(3)).sum((0, 1))
    np.testing.assert_allclose(total, expected, atol=1e-5)
