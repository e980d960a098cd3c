"""Of exchangeable actions, what is learned of one holds for all."""

import math
from typing import Any, get_args

import jax
import numpy as np
import pytest

from metarl_jax.cores import CoreName
from metarl_jax.envs.bandit import Bandit
from metarl_jax.learners.recurrent import RL2
from metarl_jax.learners.symmetric import SymmetricRL2
from metarl_jax.trees import normal_like
from metarl_jax.types import TimeStep

ORDER = np.array([3, 0, 4, 1, 2])


def answers(config: RL2) -> tuple[Any, Any]:
    """What a learner says after a trial of 12 pulls, and after the same with the arms in another order."""
    env = Bandit(num_arms=5)
    learner = config.make(env)
    init = learner.init(jax.random.key(0))
    # Noise, so that every parameter counts.
    meta_params = jax.tree.map(lambda x, e: x + 0.3 * e, init, normal_like(jax.random.key(1), init))
    state = learner.begin(meta_params, (), jax.random.key(2), 3)
    arms = jax.random.randint(jax.random.key(3), (12, 3), 0, 5)
    steps = TimeStep(
        observation=np.zeros((12, 3, env.observation_size), np.float32),
        previous_action=jax.nn.one_hot(arms, 5),
        previous_reward=jax.random.bernoulli(jax.random.key(4), 0.5, (12, 3)).astype(np.float32),
        is_first=np.ones((12, 3), bool),
        valid=jax.random.bernoulli(jax.random.key(5), 0.6, (12, 3)),
    )
    assert learner.unroll is not None
    out, _ = learner.unroll(meta_params, state, steps)
    reordered = steps.replace(previous_action=steps.previous_action[..., ORDER])
    return out, learner.unroll(meta_params, state, reordered)[0]


@pytest.mark.parametrize("core", get_args(CoreName))
def test_scores_follow_the_order_of_the_actions(core):
    out, reordered = answers(SymmetricRL2(core=core))
    logits = np.asarray(out.distribution.logits)
    assert logits.std(axis=-1).max() > 0.01  # arms are told apart
    np.testing.assert_allclose(reordered.distribution.logits, logits[..., ORDER], atol=1e-5)
    np.testing.assert_allclose(reordered.value, out.value, atol=1e-5)


def test_those_of_an_ordinary_rl2_do_not():
    out, reordered = answers(RL2(hidden_size=16))
    difference = reordered.distribution.logits - out.distribution.logits[..., ORDER]
    assert np.abs(difference).max() > 0.1


def test_parameters_fit_any_number_of_actions():
    def shapes(num_arms: int) -> list[tuple[int, ...]]:
        init = SymmetricRL2().make(Bandit(num_arms=num_arms)).init(jax.random.key(0))
        return [x.shape for x in jax.tree.leaves(init)]

    assert shapes(5) == shapes(50)
    assert sum(map(math.prod, shapes(5))) == 2514
