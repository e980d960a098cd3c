"""The table of learners that remember: each cell can be built, is trained once, and is printed beside what is known."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from metarl_jax import experiments
from metarl_jax.config import validate
from metarl_jax.experiments.tables import memory_cells, memory_table
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs import restore, train

replace = dataclasses.replace


def test_cells_have_meta_steps_of_a_size_and_remember_whole_trials():
    for problem, learner in itertools.product(memory_table.PROBLEMS, memory_table.LEARNERS):
        config = memory_table.configuration(problem, learner)
        validate(config)
        num_steps = config.num_rounds * config.env.episode_length
        assert config.num_tasks * num_steps <= 1.3 * memory_cells.STEPS_OF_A_META_STEP
        assert getattr(config.learner, "context_length", num_steps) >= num_steps
        twice = memory_table.configuration(problem, learner, effort=2.0)
        assert twice.num_meta_steps == pytest.approx(2 * config.num_meta_steps, abs=1)


@pytest.fixture
def small(monkeypatch):
    """Cells that are trained in no time."""
    full = memory_table.configuration

    def configuration(*args):
        config = full(*args)
        return replace(
            config,
            learner=replace(config.learner, hidden_size=8, encoder_sizes=(8,)),
            num_meta_steps=2,
            num_tasks=16,
            log_every=1,
            evaluation=replace(config.evaluation, every=0, num_tasks=16),
        )

    monkeypatch.setattr(memory_table, "configuration", configuration)
    monkeypatch.setitem(memory_table.STRATEGIES, "bandit", ("random", "oracle"))


@pytest.fixture
def quick(monkeypatch):
    """Trainings that leave what a table reads of a run, and nothing else; the configurations, in their order."""
    trained = []

    def train_(config, run_dir):
        folder = run_folder.create(run_dir, config)
        env_steps = config.num_tasks * config.num_rounds * config.env.episode_length
        folder.metrics.write_text(json.dumps({"env_steps": env_steps, "seconds": 3.0}) + "\n")
        machine = {"kind": f"machine {len(trained)}", "count": 1, "processor": "x", "cores": 1}
        folder.note_start(0, machine)
        folder.evaluation.write_text("{}")
        trained.append(config)

    def load(run_dir):
        del run_dir
        returns = jnp.array([[1.0, 2.0], [3.0, 2.0]])
        return SimpleNamespace(evaluate=lambda *_: returns), ()

    monkeypatch.setattr(train, "train", train_)
    monkeypatch.setattr(restore, "load", load)
    return trained


def test_the_table_is_trained_once_and_printed(small, quick, tmp_path, capsys):
    arguments = ["--root", str(tmp_path), "--problems", "bandit-10-5", "--learners", "min_gru"]
    arguments += ["--num-tasks", "64"]
    memory_table.main(arguments)
    trained = (tmp_path / "bandit-10-5/min_gru/metrics.jsonl").read_text()
    table = capsys.readouterr().out.partition("\n|  |")[2].splitlines()
    assert table[-1] == "Trained on 1 x machine 0 device(s), x, 1 core(s)."
    rows = {line.split(" | ")[0].strip("| "): line for line in table if line.startswith("| ")}
    assert list(rows) == [
        "---",
        "random",
        "oracle",
        "Bayes-optimal",
        "min_gru",
        "training of min_gru",
    ]
    assert rows["Bayes-optimal"] == "| Bayes-optimal | 6.66 |"

    def mean(name):
        return float(rows[name].split("|")[2].split("±")[0])

    assert 4.0 < mean("random") < 6.0 < 7.5 < mean("oracle") < 9.2
    assert mean("min_gru") == 4.0

    memory_table.main(arguments)
    assert len(quick) == 1
    assert capsys.readouterr().out.partition("\n|  |")[2].splitlines() == table
    assert (tmp_path / "bandit-10-5/min_gru/metrics.jsonl").read_text() == trained


def test_a_longer_problem_begins_with_what_was_learned_in_a_shorter(quick, tmp_path):
    longer = memory_table.cell("mdp-25", "min_gru", tmp_path)
    first, second = quick
    assert second.init_from == str((tmp_path / "mdp-10/min_gru").resolve())
    assert (first.num_rounds, second.num_rounds) == (10, 25)
    shorter = memory_table.cell("mdp-10", "min_gru", tmp_path)
    assert len(quick) == 2
    assert (shorter["env_steps"], shorter["seconds"]) == (first.num_tasks * 100, 3.0)
    assert longer["env_steps"] == shorter["env_steps"] + second.num_tasks * 250
    assert longer["seconds"] == 6.0
    assert [len(found["machines"]) for found in (shorter, longer)] == [1, 2]
    assert (longer["mean"], longer["se"]) == (4.0, 1.0)


def test_more_arms_begin_with_what_was_learned_of_fewer_where_parameters_fit(tmp_path):
    fewer = str((tmp_path / "bandit-100-10/symmetric").resolve())
    assert memory_table.configuration("bandit-100-50", "symmetric", tmp_path).init_from == fewer
    assert memory_table.configuration("bandit-100-50", "gru", tmp_path).init_from is None


def test_the_preset_is_the_symmetric_cell_of_ten_arms():
    cell = memory_table.configuration("bandit-100-10", "symmetric")
    preset = experiments.get("symmetric-rl2-bandit")
    learner = replace(cell.learner, context_length=preset.learner.context_length)
    assert replace(cell, name=preset.name, learner=learner) == preset


def test_a_folder_of_another_training_is_refused(tmp_path):
    config = replace(memory_table.configuration("bandit-10-5", "min_gru"), seed=1)
    run_folder.create(tmp_path / "bandit-10-5/min_gru", config)
    with pytest.raises(ValueError, match="give another --root"):
        memory_table.cell("bandit-10-5", "min_gru", tmp_path, num_tasks=16)
