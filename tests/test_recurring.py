"""Tasks that come back: the pools of the recurring bandit, and distributions that change while a run goes on."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax import envs
from metarl_jax.baselines import evaluate_control

SMALL = {"pool_size": 8, "period": 3}


def cue_numbers(tasks):
    """Cues `[n, B]` as numbers `[n]`."""
    bits = np.asarray(tasks.cue, int)
    return bits @ (1 << np.arange(bits.shape[1]))


def draw(env, split="train", num_tasks=400, key=0):
    keys = jax.random.split(jax.random.key(key), num_tasks)
    return jax.vmap(lambda key: env.sample(key, split))(keys)


def test_a_pool_is_small_and_its_cues_tell_its_tasks():
    env = envs.make("recurring_bandit", **SMALL)
    pool, tasks = env.pool_tasks(), draw(env)
    assert len(set(cue_numbers(pool))) == 8
    best = dict(zip(cue_numbers(pool), np.argmax(pool.probabilities, axis=1), strict=True))
    found = zip(cue_numbers(tasks), np.argmax(tasks.probabilities, axis=1), strict=True)
    assert all(best[cue] == arm for cue, arm in found)
    assert set(cue_numbers(tasks)) == set(best)
    other = envs.make("recurring_bandit", **SMALL, pool_seed=1)
    assert set(cue_numbers(other.pool_tasks())) != set(best)


def test_the_pool_changes_after_each_period():
    env = envs.make("recurring_bandit", **SMALL)
    pools = [env.at(step).pool_tasks() for step in range(7)]
    for step, pool in enumerate(pools):
        same = step // 3 * 3
        jax.tree.map(np.testing.assert_array_equal, pool, pools[same])
    numbers = [set(cue_numbers(pools[step])) for step in (0, 3, 6)]
    assert numbers[0] != numbers[1] != numbers[2] != numbers[0]


def test_the_same_cue_means_other_arms_in_other_pools():
    env = envs.make("recurring_bandit", num_bits=4, pool_size=8)
    arms = []
    for step in range(0, 60, 20):
        pool = env.at(step).pool_tasks()
        order = np.argsort(cue_numbers(pool))
        np.testing.assert_array_equal(cue_numbers(pool)[order], [0, 3, 5, 6, 9, 10, 12, 15])
        arms.append(np.argmax(np.asarray(pool.probabilities)[order], axis=1))
    assert (arms[0] != arms[1]).any()
    assert (arms[1] != arms[2]).any()


def test_held_out_cues_are_in_no_pool_and_look_alike():
    env = envs.make("recurring_bandit")
    held_out = np.asarray(draw(env, "test", 4000).cue)
    assert (held_out.sum(axis=1) % 2 == 1).all()
    assert (np.asarray(draw(env).cue).sum(axis=1) % 2 == 0).all()
    np.testing.assert_allclose(held_out.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(held_out.T), np.eye(10), atol=0.08)
    assert len(np.unique(held_out, axis=0)) > 450


def test_a_traced_step_gives_the_same_tasks():
    env = envs.make("recurring_bandit", **SMALL)
    traced = jax.jit(lambda step: draw(env.at(step)))
    for step in (0, 2, 3, 11):
        jax.tree.map(np.testing.assert_array_equal, traced(jnp.int32(step)), draw(env.at(step)))
    assert traced._cache_size() == 1


def test_regret_and_known_means():
    env = envs.make("recurring_bandit")
    task = jax.tree.map(lambda x: x[0], env.pool_tasks())
    best = env.oracle_action(task, task.cue)
    state = env.reset(task, jax.random.key(0))
    regrets = jax.vmap(env.regret(task), (None, 0))(state, jnp.arange(10))
    assert float(regrets[best]) == 0.0
    assert float(regrets.mean()) == pytest.approx(0.9 - 0.18, abs=1e-6)


@cache
def bayes_optimal_total(num_pulls, counts):
    """Of a task with one arm of .9 and others of .1, after these successes and failures of each arm."""
    if num_pulls == 0:
        return 0.0
    weights = [9.0 ** (wins - losses) for wins, losses in counts]

    def after(arm, win):
        wins, losses = counts[arm]
        moved = (wins + win, losses + 1 - win)
        return tuple(sorted((*counts[:arm], moved, *counts[arm + 1 :])))

    def value(arm):
        is_best = weights[arm] / sum(weights)
        p = 0.9 * is_best + 0.1 * (1.0 - is_best)
        win = 1.0 + bayes_optimal_total(num_pulls - 1, after(arm, 1))
        return p * win + (1.0 - p) * bayes_optimal_total(num_pulls - 1, after(arm, 0))

    return max(value(counts.index(count)) for count in set(counts))


def test_known_total_of_first_met_tasks():
    """As the docstring says: what a memory can add to 10 pulls is 9.0 − 4.436."""
    assert bayes_optimal_total(10, ((0, 0),) * 10) == pytest.approx(4.436, abs=5e-4)


def test_too_large_a_pool_is_refused():
    with pytest.raises(ValueError, match="pool_size=9 is more than the 8 cues"):
        envs.make("recurring_bandit", num_bits=4, pool_size=9).validate()


@dataclasses.dataclass(frozen=True)
class CountingBandit(envs.get("recurring_bandit")):
    """Every arm pays 1 in even meta-steps, 0 in odd ones."""

    def at(self, step):
        return dataclasses.replace(self, low=1.0 - step % 2, high=1.0 - step % 2)


def test_training_and_evaluation_follow_the_step(small_config):
    """A meta-step draws from its own distribution, an evaluation and its control from that of the step before."""
    config = small_config("rl2", "recurring_bandit", num_rounds=1)
    program = metarl_jax.build(dataclasses.replace(config, env=CountingBandit()))
    state, step = jax.jit(program.init)(jax.random.key(0)), jax.jit(program.step)
    evaluate = jax.jit(program.evaluate)
    oracle = jax.jit(lambda step: evaluate_control(program, "oracle", jax.random.key(1), step=step))
    for index in range(3):
        state, metrics = step(state)
        expected = 1.0 - index % 2
        np.testing.assert_allclose(metrics["episode_return"], expected)
        np.testing.assert_allclose(evaluate(state, jax.random.key(1)), expected)
        np.testing.assert_allclose(oracle(jnp.int32(index + 1)), expected)
