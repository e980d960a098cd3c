"""Trials that go on over several meta-steps: their segments are the whole trial, and each is replayed and valued."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Silent
from test_observations import SMALL, Falling, small

import metarl_jax
from metarl_jax.config import CheckpointConfig, EvaluationConfig, RuntimeConfig, validate
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.types import MetaState
from metarl_jax.program import segments as by_segments
from metarl_jax.program.build import build, make_spec
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.rollout import begin_segments, collect_segment
from metarl_jax.runs.executables import Executables, run_functions

CARRYING = ["rl2", "key_value", "symmetric_rl2", "hypernetwork", "modular"]
CORES = ["lstm", "min_gru", "transformer"]


@pytest.fixture
def starts_for_every_step(monkeypatch):
    monkeypatch.setattr(by_segments, "STEPS_PER_START", 1)


def in_segments(learner="rl2", num_segments=4, credit="trial", **changes):
    changes = {"num_episodes": 3, "num_rounds": 30, "num_steps": 48, **changes}
    config = small(learner, Falling(), num_segments=num_segments, **changes)
    advantage = dataclasses.replace(config.advantage, credit=credit, normalization="none")
    return dataclasses.replace(config, advantage=advantage)


def segments_of(config, key=5):
    """Returns the segments of one trial, and the same trial in one segment, with the first meta-parameters."""
    spec = make_spec(config)
    key = jax.random.key(key)
    params = spec.learner.init(jax.random.key(0))
    # Values that are not all alike.
    params = jax.tree.map(lambda x: x + 0.1 * jnp.sin(jnp.arange(x.size).reshape(x.shape)), params)
    meta = MetaState(params, () if spec.learner.init_memory is None else spec.learner.init_memory())
    parts = spec.env, spec.learner, spec.advantages, meta
    segment = jax.jit(
        lambda live: collect_segment(
            *parts,
            live,
            key,
            num_rounds=config.num_rounds,
            num_steps=spec.segment_steps,
            num_segments=config.num_segments,
        )
    )
    live = begin_segments(*parts, jnp.float32(0.4), key, config.num_episodes)
    segments = []
    for _ in range(config.num_segments):
        segments.append(segment(live))
        live = segments[-1].under_way
    whole = collect_segment(
        *parts,
        begin_segments(*parts, jnp.float32(0.4), key, config.num_episodes),
        key,
        num_rounds=config.num_rounds,
        num_steps=config.num_steps,
        num_segments=1,
    )
    return spec, params, segments, whole


def joined(segments, get):
    return np.concatenate([np.asarray(get(segment))[0] for segment in segments])


@pytest.mark.parametrize(
    ("name", "core"), [(n, None) for n in CARRYING] + [("rl2", core) for core in CORES]
)
def test_segments_are_the_whole_trial_and_are_replayed(name, core, starts_for_every_step):
    config = in_segments(name)
    if core is not None:
        options = {"core": core, "context_length": 16, "num_heads": 2, "hidden_size": 8}
        config = dataclasses.replace(config, learner=dataclasses.replace(config.learner, **options))
    spec, params, segments, whole = segments_of(config)
    for get in (
        lambda trial: trial.rollout.action,
        lambda trial: trial.rollout.timestep.observation,
        lambda trial: trial.rollout.timestep.is_first,
        lambda trial: trial.rollout.reward,
        lambda trial: trial.episode_index,
    ):
        np.testing.assert_array_equal(joined(segments, get), np.asarray(get(whole))[0])
    values = lambda trial: trial.rollout.policy.value  # noqa: E731
    np.testing.assert_allclose(
        joined(segments, values), np.asarray(values(whole))[0], rtol=2e-4, atol=1e-5
    )
    assert np.asarray(segments[1].rollout.policy.value).std() > 1e-3
    for segment in segments:
        out = replay_trial(spec.learner, params, (), segment)
        found = out.distribution.log_prob(segment.rollout.action)
        np.testing.assert_allclose(found, segment.rollout.log_prob, rtol=2e-4, atol=1e-5)


def test_returns_are_those_of_whole_episodes(starts_for_every_step):
    _, _, segments, whole = segments_of(in_segments())
    expected, finished = np.asarray(whole.episode_returns()), np.asarray(whole.is_finished())
    found = np.zeros_like(expected)
    times = np.zeros_like(expected)
    for segment in segments:
        is_finished = np.asarray(segment.is_finished())
        found += np.where(is_finished, segment.episode_returns(), 0.0)
        times += is_finished
    np.testing.assert_array_equal(times, finished)
    np.testing.assert_allclose(found[finished], expected[finished])
    assert finished.sum() > 12
    assert any(np.asarray(segment.begun.episode_return).any() for segment in segments)


@pytest.mark.parametrize("credit", ["trial", "episode"])
def test_what_follows_a_segment_is_its_next_value_until_the_trial_ends(
    credit, starts_for_every_step
):
    config = in_segments(credit=credit, num_segments=12)
    advantage = dataclasses.replace(config.advantage, gae_lambda=0.0, discount=0.9)
    _, _, segments, _ = segments_of(dataclasses.replace(config, advantage=advantage))
    is_boundary = []
    for segment, following in itertools.pairwise(segments):
        reward, value = segment.rollout.reward[0, -1], following.rollout.policy.value[0, 0]
        begins = np.asarray(following.rollout.timestep.is_first[0, 0])
        is_boundary.append(begins)
        counted = np.where(begins, 0.0, value) if credit == "episode" else value
        scaled = config.advantage.reward_scaling * np.asarray(reward)
        np.testing.assert_allclose(
            segment.rollout.target[0, -1], scaled + 0.9 * counted, rtol=1e-4, atol=1e-6
        )
    assert np.any(is_boundary)
    assert not np.all(is_boundary)
    last = segments[-1].rollout
    np.testing.assert_allclose(
        last.target[0, -1], config.advantage.reward_scaling * last.reward[0, -1], rtol=1e-5
    )


def test_an_environment_that_ends_often_waits_for_the_next_segment():
    config = in_segments()
    config = dataclasses.replace(config, env=Falling(horizon=1), num_rounds=48)
    _, _, segments, _ = segments_of(config)
    for index, segment in enumerate(segments):
        valid = np.asarray(segment.rollout.timestep.valid[0])
        np.testing.assert_array_equal(valid, np.repeat(np.arange(12) < 2, 3).reshape(12, 3))
        assert segment.under_way.num_finished.tolist() == [2 * (index + 1)] * 3


def test_trials_go_on_for_their_segments_and_then_begin_anew(starts_for_every_step):
    config = in_segments(num_tasks=4)
    program = build(config)
    state, step = program.init(jax.random.key(0)), jax.jit(program.step)
    tasks, steps = [], []
    for _ in range(9):
        tasks.append(np.asarray(state.live.trials.task))
        steps.append(int(state.live.trials.num_steps[0]))
        state, metrics = step(state)
        assert int(metrics["env_steps"]) == 4 * 3 * 12
    assert steps == [0, 12, 24, 36, 0, 12, 24, 36, 0]
    same = [np.array_equal(x, y) for x, y in itertools.pairwise(tasks)]
    assert same == [True, True, True, False, True, True, True, False]
    assert np.unique(np.concatenate([tasks[0], tasks[4], tasks[8]])).size == 12


def test_trials_end_with_an_update_that_is_not_finite():
    config = in_segments(num_tasks=4)
    program = build(config)
    state, step = program.init(jax.random.key(0)), jax.jit(program.step)
    state, _ = step(state)
    state = jax.tree.map(lambda x: x, state)
    live = state.live.trials
    broken = live.replace(
        carried=live.carried.replace(previous_reward=live.carried.previous_reward * jnp.nan)
    )
    after, metrics = step(state.replace(live=state.live.replace(trials=broken)))
    assert metrics["skipped"] == 1
    assert int(after.live.trials.num_steps[0]) == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after.live.trials.carried))
    after, metrics = step(after)
    assert metrics["skipped"] == 0


def test_segments_lie_with_their_tasks_and_resume_on_other_devices(tmp_path):
    config = dataclasses.replace(
        in_segments(num_tasks=16),
        num_meta_steps=6,
        log_every=1,
        evaluation=EvaluationConfig(every=0, num_tasks=8),
        checkpoint=CheckpointConfig(every=1),
        runtime=RuntimeConfig(num_devices=1),
    )
    spread = dataclasses.replace(config, runtime=RuntimeConfig(num_devices=4))
    executables = Executables(run_functions(build(spread)))
    state, *_ = executables.chunk(executables.init(), 1)
    shards = state.live.trials.num_finished.addressable_shards
    assert [shard.data.shape for shard in shards] == [(4, 3)] * 4

    class StopAt(metarl_jax.Callback):
        def on_chunk(self, line):
            if line["step"] == 3:
                raise RuntimeError("the machine is taken away")

    metarl_jax.train(config, tmp_path / "whole", console=Silent())
    whole = metarl_jax.load(tmp_path / "whole", "last").state
    for name, started, devices in (("same", config, 1), ("spread", spread, 2)):
        with pytest.raises(RuntimeError, match="taken away"):
            metarl_jax.train(started, tmp_path / name, console=Silent(), callbacks=[StopAt()])
        found = metarl_jax.load(tmp_path / name, "last").state
        assert 0 < int(found.live.trials.num_steps[0]) < 48
        metarl_jax.resume(
            tmp_path / name, runtime=RuntimeConfig(num_devices=devices), console=Silent()
        )
        found = metarl_jax.load(tmp_path / name, "last").state
        exact = name == "same"
        for x, y in zip(jax.tree.leaves(found.meta), jax.tree.leaves(whole.meta), strict=True):
            np.testing.assert_allclose(x, y, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_segments": 5}, "num_segments=5 does not divide num_steps=48: choose 4 for example"),
        ({"num_steps": None}, "num_segments=4 divides a trial by steps, and num_steps"),
        ({"learner": "varibad"}, "num_segments=4 does not fit learner 'varibad'"),
        ({"learner": "episodic"}, "num_segments=4 does not fit learner 'episodic'"),
        ({"outer": metarl_jax.outer.get("es")()}, "does not fit outer method 'es'"),
        (
            {"advantage": AdvantageConfig(baseline="none", credit="trial", normalization="batch")},
            "num_segments=4 needs advantage.baseline='value'",
        ),
        ({"outer_options": {"worst_fraction": 0.5}}, "does not fit outer.worst_fraction"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    changes = dict(changes)
    config = in_segments(changes.pop("learner", "rl2"))
    outer = dataclasses.replace(config.outer, **changes.pop("outer_options", {}))
    with pytest.raises(UserError, match=message):
        validate(dataclasses.replace(config, **({"outer": outer} | changes)))


def test_learners_that_carry_over_are_these():
    found = {name for name in SMALL if metarl_jax.learners.get(name).carries_over}
    assert found == set(CARRYING)
