"""The store of an agent: written once a meta-step, kept by a checkpoint, and of use in tasks that come back."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np
import pytest

import metarl_jax
from metarl_jax.config import EvaluationConfig
from metarl_jax.envs.recurring_bandit import RecurringBandit
from metarl_jax.learners.episodic import Episodic
from metarl_jax.program.build import make_spec
from metarl_jax.program.step import make_meta_batch, sample_tasks
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.restore import load
from metarl_jax.runs.train import resume, train


@dataclasses.dataclass(frozen=True)
class Few(RecurringBandit):
    """Two arms, one of which always pays, in 8 tasks that come back for four meta-steps."""

    name: ClassVar[str] = "few"

    num_arms: int = 2
    num_bits: int = 8
    pool_size: int = 8
    period: int = 4
    high: float = 1.0
    low: float = 0.0


@pytest.fixture
def config(small_config):
    config = small_config(
        "episodic", "recurring_bandit", num_tasks=16, num_rounds=3, num_episodes=1
    )
    learner = Episodic(hidden_size=16, encoder_sizes=(16,), capacity=12)
    env = RecurringBandit(num_arms=2, num_bits=4, pool_size=8, period=2)
    return dataclasses.replace(
        config, env=env, learner=learner, evaluation=EvaluationConfig(every=0, num_tasks=8)
    )


def test_a_meta_step_writes_its_tasks(config):
    program = metarl_jax.build(config)
    state, step = jax.jit(program.init)(jax.random.key(0)), jax.jit(program.step)
    assert (state.meta.memory.used_at == -1).all()
    state, _ = step(state)
    written = np.asarray(state.meta.memory.keys[state.meta.memory.used_at >= 0])
    pool = np.asarray(config.env.at(0).pool_tasks().cue)
    assert 1 < len(written) <= 8  # 16 trials, and each task once
    assert all((pool == cue).all(axis=1).any() for cue in written)
    assert int(state.meta.memory.num_writes) == 16
    held_out = jax.jit(program.evaluate)(state, jax.random.key(1))
    assert np.isfinite(held_out).all()
    assert int(step(state)[0].meta.memory.num_writes) == 32


def test_what_is_written_knows_the_last_reward(config):
    """And nothing else of what came after the last action."""
    program = metarl_jax.build(config)
    state = jax.jit(program.init)(jax.random.key(0))
    spec = make_spec(config)
    batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(1), 16, "train"))
    trials = jax.jit(batch.collect)(state.meta.params, jax.random.key(2))

    def written(reward, last=trials.last):
        changed = trials.replace(rollout=trials.rollout.replace(reward=reward), last=last)
        return program.learner.update_memory(state.meta.params, state.meta.memory, changed)

    reward = trials.rollout.reward  # [N, K, T, E]
    closing = trials.last.replace(previous_reward=trials.last.previous_reward + 1.0)
    before, last = written(reward), written(reward, closing)
    np.testing.assert_array_equal(before.keys, last.keys)
    used = np.asarray(before.used_at >= 0)
    assert np.abs(before.values - last.values)[used].max(axis=1).min() > 1e-4
    # All rewards are in the timesteps after them.
    np.testing.assert_array_equal(written(reward + 1.0).values, before.values)


def test_without_writing_the_store_stays_empty(config):
    config = dataclasses.replace(
        config, learner=dataclasses.replace(config.learner, store_enabled=False)
    )
    program = metarl_jax.build(config)
    state, _ = jax.jit(program.step)(jax.jit(program.init)(jax.random.key(0)))
    assert int(state.meta.memory.num_writes) == 0


def test_the_store_survives_a_resume_bit_for_bit(config, tmp_path):
    """Four meta-steps are two, a checkpoint, and two more."""
    silent = Reporter()
    config = dataclasses.replace(config, num_meta_steps=4, log_every=2)
    checkpoint = dataclasses.replace(config.checkpoint, every=2)
    config = dataclasses.replace(config, checkpoint=checkpoint)
    train(config, tmp_path / "whole", console=silent)
    (tmp_path / "whole" / "checkpoints" / "4").rename(tmp_path / "kept")
    resume(tmp_path / "whole", console=silent)
    _, again, *_ = load(tmp_path / "whole")
    (tmp_path / "whole" / "checkpoints" / "4").rename(tmp_path / "again")
    (tmp_path / "kept").rename(tmp_path / "whole" / "checkpoints" / "4")
    _, whole, *_ = load(tmp_path / "whole")
    assert int(whole.meta.memory.num_writes) == 64
    jax.tree.map(np.testing.assert_array_equal, again.meta.memory, whole.meta.memory)
    jax.tree.map(np.testing.assert_array_equal, again.meta.params, whole.meta.params)


def test_what_was_met_before_is_known_at_the_first_pull(config):
    """One arm pays: all first pulls of tasks met before find it; half of those in new ones, whose second pulls do. Once
    the store is empty, tasks met before are as new ones: their pools are gone too soon for weights to hold them. The
    median of three seeds: a trial that failed may just have overwritten what was known of one task of eight."""
    config = dataclasses.replace(
        config,
        env=Few(),
        num_tasks=64,
        num_meta_steps=160,
        outer=dataclasses.replace(
            config.outer,
            learning_rate=5e-3,
            final_learning_rate=5e-4,
            entropy_coefficient=0.01,
        ),
    )
    program = metarl_jax.build(config)

    def learned(key):
        state, _ = jax.lax.scan(
            lambda state, _: program.step(state), program.init(key), length=config.num_meta_steps
        )
        empty = state.replace(meta=state.meta.replace(memory=program.init(key).meta.memory))
        return [
            program.evaluate(*case, 200).mean(axis=0)
            for case in (
                (state, jax.random.key(1), "train"),
                (state, jax.random.key(1), "test"),
                (empty, jax.random.key(1), "train"),
            )
        ]

    found = jax.jit(jax.vmap(learned))(jax.random.split(jax.random.key(0), 3))
    met, new, forgotten = (np.median(returns, axis=0) for returns in found)
    assert met[0] > 0.95
    assert abs(new[0] - 0.5) < 0.15
    assert new[1] > 0.9
    # An arm that is tried first for want of a better pays in some of eight tasks.
    assert forgotten[0] < 0.85
    assert forgotten[1] > 0.9
