"""What learners that read a trial as one sequence see of the observation before, and of the order of the actions."""

import dataclasses
import math
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax
from metarl_jax import learners
from metarl_jax.core.spaces import Box, encoded_action_size
from metarl_jax.core.types import TimeStep
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequenceLearner, previous_observations
from metarl_jax.learners.symmetric import SymmetricRL2
from metarl_jax.networks.sequence import CoreName


def random_timesteps(env, num_steps=9, num_episodes=3) -> TimeStep:
    """Timesteps `[S, E]` of which some are not valid, in which anything may have been seen."""
    keys = jax.random.split(jax.random.key(0), 6)
    shape = num_steps, num_episodes
    return TimeStep(
        observation=jax.random.normal(keys[0], (*shape, env.observation_size)),
        previous_action=jax.random.normal(keys[1], (*shape, encoded_action_size(env.action_space))),
        previous_reward=jax.random.normal(keys[2], shape),
        is_first=jax.random.bernoulli(keys[3], 0.3, shape),
        valid=jax.random.bernoulli(keys[4], 0.6, shape),
        outcome=jax.random.normal(keys[5], (*shape, env.observation_size)),
    )


def test_previous_observations_are_those_of_valid_steps():
    first = np.full((3, 2), -1.0)
    observations = np.arange(7 * 3 * 2.0).reshape(7, 3, 2)
    valid = np.array(jax.random.bernoulli(jax.random.key(0), 0.5, (7, 3)))
    before, last = previous_observations(jnp.array(first), jnp.array(observations), valid)
    assert before is not None
    assert last is not None
    for episode in range(3):
        seen = first[episode]
        for step in range(7):
            np.testing.assert_array_equal(before[step, episode], seen)
            if valid[step, episode]:
                seen = observations[step, episode]
        np.testing.assert_array_equal(last[episode], seen)


def test_a_learner_without_use_of_it_keeps_none():
    assert previous_observations(None, jnp.zeros((4, 3, 2)), jnp.ones((4, 3), bool)) == (None, None)


def begin(learner, noise=0.1):
    """Parameters, with noise so that every one counts, and the state of three episodes before their first step."""
    init = learner.init(jax.random.key(1))
    meta_params = jax.tree.map(
        lambda x, e: x + noise * e, init, optax.tree.random_like(jax.random.key(2), init)
    )
    return meta_params, learner.begin(meta_params, learner.init_memory(), jax.random.key(3), 3)


READERS = [name for name in learners.names() if issubclass(learners.get(name), SequenceLearner)]
WITH_CORES = ("rl2", "symmetric_rl2")
CASES = [name for name in READERS if name not in WITH_CORES]
CASES += [f"{name}-{core}" for name in WITH_CORES for core in get_args(CoreName)]


@pytest.fixture(params=CASES)
def program(request, small_config):
    name, *core = request.param.split("-")
    config = small_config(name)
    learner = dataclasses.replace(config.learner, hidden_size=16, reads_previous_observation=True)
    if core:
        learner = dataclasses.replace(learner, core=core[0])
    return metarl_jax.build(dataclasses.replace(config, learner=learner))


def test_unroll_is_act_with_the_previous_observation(program, trees_close):
    """Episodes end at different steps, so that what came before lies elsewhere in each."""
    learner, timesteps = program.learner, random_timesteps(program.env)
    meta_params, state = begin(learner)

    def step(state, timestep):
        out, state = learner.act(meta_params, state, timestep)
        return state, out

    end, stepped = jax.lax.scan(step, state, timesteps)
    unrolled, unrolled_end = learner.unroll(meta_params, state, timesteps)
    valid = np.asarray(timesteps.valid)
    np.testing.assert_allclose(unrolled.value[valid], stepped.value[valid], atol=1e-5)
    trees_close(unrolled_end, end)


def test_the_previous_observation_is_read(program):
    """Another observation at the first step changes what a later one is answered, by way of one step alone."""
    learner, timesteps = program.learner, random_timesteps(program.env, num_steps=2)
    timesteps = timesteps.replace(valid=jnp.ones((2, 3), bool))
    meta_params, state = begin(learner)
    first = jax.tree.map(lambda x: x[0], timesteps)
    second = jax.tree.map(lambda x: x[1], timesteps)
    _, after = learner.act(meta_params, state, first)
    out, _ = learner.act(meta_params, after, second)
    other, _ = learner.act(meta_params, after.replace(previous=after.previous + 1.0), second)
    assert np.abs(out.value - other.value).max() > 1e-5


FIVE_ARMS = Bandit(num_arms=5)
ORDER = np.array([3, 0, 4, 1, 2])


class Levers(PointRobot):
    """The sizes of a task with five continuous levers."""

    @property
    def action_space(self) -> Box:
        return Box(5)


def answers(config: RL2, env: TaskDistribution = FIVE_ARMS) -> tuple[Any, Any]:
    """What a learner says in a trial of 12 steps, and in the same with the actions in another order."""
    learner, timesteps = config.make(env), random_timesteps(env, num_steps=12)
    meta_params, state = begin(learner, noise=0.3)
    assert learner.unroll is not None
    out, _ = learner.unroll(meta_params, state, timesteps)
    reordered = timesteps.replace(previous_action=timesteps.previous_action[..., ORDER])
    return out, learner.unroll(meta_params, state, reordered)[0]


@pytest.mark.parametrize("core", get_args(CoreName))
def test_symmetric_scores_follow_the_order_of_the_actions(core):
    out, reordered = answers(SymmetricRL2(core=core))
    logits = np.asarray(out.distribution.logits)
    assert logits.std(axis=-1).max() > 0.01  # arms are told apart
    np.testing.assert_allclose(reordered.distribution.logits, logits[..., ORDER], atol=1e-5)
    np.testing.assert_allclose(reordered.value, out.value, atol=1e-5)


def test_so_do_those_of_the_entries_of_a_box():
    out, reordered = answers(SymmetricRL2(), Levers())
    assert np.asarray(out.distribution.mean).std(axis=-1).max() > 0.01
    for name in ("mean", "log_std"):
        numbers = getattr(out.distribution, name)[..., ORDER]
        np.testing.assert_allclose(getattr(reordered.distribution, name), numbers, atol=1e-5)
    np.testing.assert_allclose(reordered.value, out.value, atol=1e-5)


def test_those_of_an_ordinary_rl2_do_not():
    out, reordered = answers(RL2(hidden_size=16))
    difference = reordered.distribution.logits - out.distribution.logits[..., ORDER]
    assert np.abs(difference).max() > 0.1


def test_symmetric_parameters_fit_any_number_of_actions():
    def shapes(num_arms: int) -> list[tuple[int, ...]]:
        init = SymmetricRL2().make(Bandit(num_arms=num_arms)).init(jax.random.key(0))
        return [x.shape for x in jax.tree.leaves(init)]

    assert shapes(5) == shapes(50)
    assert sum(map(math.prod, shapes(5))) == 2514


@pytest.mark.parametrize("name", ["rl2", "symmetric_rl2"])
def test_rewards_are_read_as_asked(name):
    """All that a learner is told of rewards passes through `see_reward`."""
    make = partial(learners.get(name), hidden_size=8, encoder_sizes=(8,))
    plain, squeezed, smaller = (
        make(**options).make(FIVE_ARMS)
        for options in ({}, {"reward_input": "symlog"}, {"reward_input_scale": 1e-3})
    )
    timesteps = random_timesteps(FIVE_ARMS, num_steps=3)
    meta_params, state = begin(plain, noise=0.3)
    large = timesteps.replace(previous_reward=1000.0 * timesteps.previous_reward)
    rewards = large.previous_reward
    logs = timesteps.replace(previous_reward=jnp.sign(rewards) * jnp.log1p(jnp.abs(rewards)))

    def answers(learner, timesteps):
        return jax.jit(learner.unroll)(meta_params, state, timesteps)[0]

    def same(out, other):
        return np.abs(out.value - other.value).max() < 1e-5

    assert same(answers(squeezed, large), answers(plain, logs))
    assert same(answers(smaller, large), answers(plain, timesteps))
    assert not same(answers(plain, large), answers(plain, timesteps))
