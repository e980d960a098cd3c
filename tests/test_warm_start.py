"""Runs that begin with what another run has learned."""

import dataclasses
import json
import os
import re

import jax
import numpy as np
import pytest
from probes import Probe, RandomWalk, Silent

from metarl_jax import learners
from metarl_jax.cli.main import main
from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.learners.maml import MetaSGD
from metarl_jax.program.build import build
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs.checkpoint_writer import CheckpointWriter
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.progress import Progress
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.restore import load
from metarl_jax.runs.train import train
from metarl_jax.runs.warm_start import check, first_state
from metarl_jax.sweeps.sweep import Sweep, sweep_functions
from metarl_jax.sweeps.train import train_sweep

replace = dataclasses.replace


def equal(x, y):
    leaves = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


CONFIG = Config(
    env=Bandit(),
    learner=Probe(),
    outer=RandomWalk(),
    advantage=AdvantageConfig(baseline="none", credit="trial", normalization="none"),
    num_meta_steps=2,
    num_tasks=4,
    num_rounds=2,
    num_episodes=1,
    log_every=1,
    normalize_observations=True,
    evaluation=EvaluationConfig(every=0, num_tasks=16),
    runtime=RuntimeConfig(num_devices=1),
)


def learned_run(path, config):
    """A run that has learned something, without the time that it takes."""
    folder = run_folder.create(path, config)
    state = Executables(run_functions(build(replace(config, seed=9)))).init()
    statistics = jax.tree.map(lambda x: x + 1, state.meta.normalizer)
    state = state.replace(step=state.step + 2, meta=state.meta.replace(normalizer=statistics))
    with CheckpointWriter(folder.checkpoints, keep=1) as writer:
        writer.save(state, [Progress(held_out_return=1.0)])
    return folder.path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of `CONFIG` that has learned something. To be read only."""
    return learned_run(tmp_path_factory.mktemp("source") / "run", CONFIG)


def first(config):
    return first_state(config, Executables(run_functions(build(config))), Reporter().warn)


def test_a_run_begins_with_what_another_has_learned(source):
    learned = load(source)[1]
    longer = replace(CONFIG, seed=5, num_rounds=7, init_from=str(source))
    state = first(longer)
    assert equal(state.meta.params, learned.meta.params)
    assert equal(state.meta.normalizer, learned.meta.normalizer)
    own = first(replace(longer, init_from=None))
    assert not equal(own.meta.params, learned.meta.params)
    kept = ("step", "opt_state", "consecutive_skips")
    assert all(equal(getattr(state, name), getattr(own, name)) for name in kept)
    assert equal(state.meta.memory, own.meta.memory)
    assert np.array_equal(jax.random.key_data(state.key), jax.random.key_data(own.key))


def test_every_member_of_a_sweep_begins_with_it(source):
    config = replace(CONFIG, init_from=str(source))
    executables = Executables(sweep_functions(Sweep(config, num_seeds=2)))
    states = first_state(config, executables, Reporter().warn)
    one, other = executables.by_member(states)
    assert equal(one.meta.params, load(source)[1].meta.params)
    assert equal(one.meta.params, other.meta.params)
    assert not equal(jax.random.key_data(one.key), jax.random.key_data(other.key))


@pytest.fixture
def with_step_sizes(small_config):
    config = small_config("meta_sgd", num_tasks=2, num_episodes=2, num_rounds=2)
    return replace(config, learner=MetaSGD(hidden_sizes=(4,)))


def step_sizes(state):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.meta.params["inner_lr"])])


def test_what_a_field_fills_begins_with_the_value_that_is_asked_for(tmp_path, with_step_sizes):
    """Learned step sizes go on where the field is as in the other run, and begin anew where it is not."""
    config = with_step_sizes
    folder = run_folder.create(tmp_path / "source", config)
    state = Executables(run_functions(build(replace(config, seed=9)))).init()
    learned = state.meta.params | {
        "inner_lr": jax.tree.map(lambda x: 3 * x, state.meta.params["inner_lr"])
    }
    with CheckpointWriter(folder.checkpoints, keep=1) as writer:
        writer.save(
            state.replace(meta=state.meta.replace(params=learned)), [Progress(held_out_return=1.0)]
        )
    config = replace(config, init_from=str(folder.path))
    same = first(config).meta.params
    assert equal(same, learned)
    wider = replace(config, learner=replace(config.learner, log_std_init=-1.5))
    other, own = first(wider).meta.params, first(replace(wider, init_from=None)).meta.params

    def log_std(meta_params):
        return meta_params["policy"]["params"]["PolicyHead_0"]["ActionDistribution_0"]

    assert equal(log_std(other), log_std(own))
    assert not equal(log_std(own), log_std(learned))
    assert equal(other["inner_lr"], learned["inner_lr"])
    sweep = Sweep(
        config, [{"learner.inner_lr": 0.01}, {"learner.inner_lr": 0.1}, {"learner.inner_lr": 5.0}]
    )
    executables = Executables(sweep_functions(sweep))
    members = executables.by_member(first_state(config, executables, Reporter().warn))
    expected = [0.01, 3 * 0.1, 5.0]
    for member, value in zip(members, expected, strict=True):
        np.testing.assert_allclose(step_sizes(member), value, rtol=1e-5)
        assert equal(member.meta.params["policy"], learned["policy"])


@pytest.mark.parametrize("name", sorted(learners.registry.names()))
def test_filled_parameters_are_those_that_the_field_fills(name):
    """In every learner: the paths that are named begin with other values where the field has another one."""
    learner = learners.get(name)()

    def values(learner):
        meta_params = learner.make(PointRobot()).init(jax.random.key(0))
        leaves = jax.tree_util.tree_flatten_with_path(meta_params)[0]
        return {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in leaves}

    for field, pattern in learner.filled_parameters().items():
        other = replace(learner, **{field: 0.37})

        def both(learner=learner, other=other, pattern=pattern):
            pairs = [values(learner), values(other)]
            return [{p: x for p, x in v.items() if re.search(pattern, p)} for v in pairs]

        before, after = jax.jit(both)()
        if field == "inner_lr" and learner.learn_inner_lr == "none":
            assert not before
            continue
        assert before, field
        if field != "inner_lr" or learner.inner_lr_unit == 1.0:
            assert all((before[path] != after[path]).all() for path in before)


def test_what_only_initialises_is_told_and_not_swept(tmp_path, source):
    """The offset of the first logits is there from the start, and those of the other run are learned."""
    begun = replace(CONFIG, learner=Probe(offset=50.0), init_from=str(source))
    console = Silent()
    check(build(begun), console)
    assert "learner.offset=50.0 has no effect" in console.err.getvalue()
    said = console.out.getvalue().replace("\n", " ")
    assert "best checkpoint, step 2 (last: 2)" in said
    sweep = Sweep(begun, [{"learner.offset": 10.0}, {"learner.offset": 50.0}])
    with pytest.raises(ValueError, match=r"'learner\.offset' initialises"):
        train_sweep(sweep, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_training_begins_there_and_writes_it_down(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    still = replace(CONFIG, outer=RandomWalk(step_size=1e-12), seed=3)
    begins = os.path.relpath(source)
    train(replace(still, init_from=begins), tmp_path / "run", console=Silent())
    values = json.loads((tmp_path / "run/config.json").read_text())
    assert values["init_from"] == str(source)
    learned, trained = load(source)[1].meta.params, load(tmp_path / "run")[1].meta.params
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), learned, trained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_from": "nowhere"}, "not the folder of a run"),
        ({"learner": Probe(any_number=True)}, "does not fit this run"),
        ({"env": Bandit(num_arms=7)}, "does not fit this run"),
        (
            {"normalize_observations": False},
            r"\['normalizer'\]\S* is \w+\[\d*\] in it.* set normalize_observations=True",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, source, changes, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = replace(CONFIG, **({"init_from": str(source)} | changes))
    with pytest.raises(ValueError, match=message):
        train(changed, tmp_path / "run", console=Silent())
    with pytest.raises(ValueError, match=message):
        train_sweep(Sweep(changed, num_seeds=2), tmp_path / "run", console=Silent())
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_checkpoint_is_refused(tmp_path, capsys):
    run_folder.create(tmp_path / "begun", CONFIG)
    words = ["train", "rl2-bandit", "--run-dir", str(tmp_path / "run"), "--init-from"]
    assert main([*words, str(tmp_path / "begun")]) == 2
    assert "has no checkpoint that can be read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
