"""Runs that begin with what another run has learned."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from metarl_jax import run_folder
from metarl_jax.checkpoint import CheckpointWriter, Progress
from metarl_jax.cli import main
from metarl_jax.config import EvaluationConfig, RuntimeConfig
from metarl_jax.envs.bandit import Bandit
from metarl_jax.executables import Executables, run_functions
from metarl_jax.learners.recurrent import RL2
from metarl_jax.metrics import Reporter
from metarl_jax.program import build
from metarl_jax.sweep import Sweep, sweep_functions
from metarl_jax.sweep_train import train_sweep
from metarl_jax.train import load, train
from metarl_jax.warm_start import first_state

replace = dataclasses.replace


def equal(x, y):
    leaves = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


@pytest.fixture
def config(small_config):
    config = small_config(
        "rl2",
        "bandit",
        num_episodes=1,
        normalize_observations=True,
        evaluation=EvaluationConfig(every=0, num_tasks=16),
    )
    learner = RL2(hidden_size=8, encoder_sizes=(8,))
    runtime = RuntimeConfig(num_devices=1)
    return replace(config, learner=learner, num_meta_steps=2, log_every=1, runtime=runtime)


@pytest.fixture
def source(tmp_path, config):
    """A run that has learned something, without the time that it takes."""
    folder = run_folder.create(tmp_path / "source", config)
    state = Executables(run_functions(build(replace(config, seed=9)))).init()
    statistics = jax.tree.map(lambda x: x + 1, state.normalizer)
    state = state.replace(step=state.step + 2, normalizer=statistics)
    with CheckpointWriter(folder.checkpoints, keep=1) as writer:
        writer.save(state, [Progress(held_out_return=1.0)])
    return folder.path


def first(config):
    return first_state(config, Executables(run_functions(build(config))), Reporter().warn)


def test_a_run_begins_with_what_another_has_learned(source, config):
    learned = load(source)[1]
    longer = replace(config, seed=5, num_rounds=7, init_from=str(source))
    state = first(longer)
    assert equal(state.meta_params, learned.meta_params)
    assert equal(state.normalizer, learned.normalizer)
    own = first(replace(longer, init_from=None))
    assert not equal(own.meta_params, learned.meta_params)
    kept = ("step", "opt_state", "memory", "skipped_in_row")
    assert all(equal(getattr(state, name), getattr(own, name)) for name in kept)
    assert np.array_equal(jax.random.key_data(state.key), jax.random.key_data(own.key))


def test_every_member_of_a_sweep_begins_with_it(source, config):
    config = replace(config, init_from=str(source))
    executables = Executables(sweep_functions(Sweep(config, num_seeds=2)))
    states = first_state(config, executables, Reporter().warn)
    one, other = executables.by_member(states)
    assert equal(one.meta_params, load(source)[1].meta_params)
    assert equal(one.meta_params, other.meta_params)
    assert not equal(jax.random.key_data(one.key), jax.random.key_data(other.key))


def test_training_begins_there_and_writes_it_down(tmp_path, source, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    still = replace(config.outer, learning_rate=1e-12)
    train(replace(config, outer=still, seed=3, init_from="source"), tmp_path / "run")
    values = json.loads((tmp_path / "run/config.json").read_text())
    assert values["init_from"] == str(source)
    learned, trained = load(source)[1].meta_params, load(tmp_path / "run")[1].meta_params
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), learned, trained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_from": "nowhere"}, "not the folder of a run"),
        ({"learner": RL2(hidden_size=16, encoder_sizes=(8,))}, "has learned something else"),
        ({"env": Bandit(num_arms=7)}, "has learned something else"),
        (
            {"normalize_observations": False},
            r"\['normalizer'\]\S* is \w+\[\d*\] in it.* set normalize_observations=True",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, source, config, changes, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = replace(config, **({"init_from": str(source)} | changes))
    with pytest.raises(ValueError, match=message):
        train(changed, tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        train_sweep(Sweep(changed, num_seeds=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_checkpoint_is_refused(tmp_path, config, capsys):
    run_folder.create(tmp_path / "begun", config)
    words = ["train", "rl2-bandit", "--run-dir", str(tmp_path / "run"), "--init-from"]
    assert main([*words, str(tmp_path / "begun")]) == 2
    assert "has no checkpoint that can be read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
