"""The table of learners that remember: each cell can be built, is trained once, and is printed beside what is known."""

import dataclasses
import re

import pytest

from metarl_jax import experiments, run_folder
from metarl_jax.config import validate
from metarl_jax.experiments import memory_cells, memory_table
from metarl_jax.run_folder import open_existing

replace = dataclasses.replace


@pytest.mark.parametrize("problem", memory_table.PROBLEMS)
@pytest.mark.parametrize("learner", memory_table.LEARNERS)
def test_every_cell_can_be_built(problem, learner):
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


def test_the_table_is_trained_once_and_printed(small, tmp_path, capsys):
    arguments = ["--root", str(tmp_path), "--problems", "bandit-10-5", "--learners", "min_gru"]
    arguments += ["--num-tasks", "64"]
    memory_table.main(arguments)
    trained = (tmp_path / "bandit-10-5/min_gru/metrics.jsonl").read_text()
    table = capsys.readouterr().out.partition("\n|  |")[2].splitlines()
    assert re.fullmatch(r"Trained on \d x cpu device\(s\), .+, \d+ core\(s\)\.", table[-1])
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
    assert 3.5 < mean("min_gru") < 7.0

    memory_table.main(arguments)
    assert capsys.readouterr().out.partition("\n|  |")[2].splitlines() == table
    assert (tmp_path / "bandit-10-5/min_gru/metrics.jsonl").read_text() == trained


def test_a_longer_problem_begins_with_what_was_learned_in_a_shorter(small, tmp_path):
    longer = memory_table.cell("mdp-25", "min_gru", tmp_path, num_tasks=16)
    shorter = memory_table.cell("mdp-10", "min_gru", tmp_path, num_tasks=16)
    assert shorter["env_steps"] == 2 * 16 * 100
    assert longer["env_steps"] == shorter["env_steps"] + 2 * 16 * 250
    config = open_existing(tmp_path / "mdp-25/min_gru")[1]
    assert config.init_from == str((tmp_path / "mdp-10/min_gru").resolve())


def test_more_arms_begin_with_what_was_learned_of_fewer_where_parameters_fit(tmp_path):
    fewer = str((tmp_path / "bandit-100-10/symmetric").resolve())
    assert memory_table.configuration("bandit-100-50", "symmetric", tmp_path).init_from == fewer
    assert memory_table.configuration("bandit-100-50", "gru", tmp_path).init_from is None


def test_the_preset_is_the_symmetric_cell_of_ten_arms():
    cell = memory_table.configuration("bandit-100-10", "symmetric")
    preset = experiments.get("symmetric-rl2-bandit")
    learner = replace(cell.learner, context_length=preset.learner.context_length)
    assert replace(cell, name=preset.name, learner=learner) == preset


def test_a_folder_of_another_training_is_refused(small, tmp_path):
    memory_table.cell("bandit-10-5", "min_gru", tmp_path, num_tasks=16)
    folder, config = open_existing(tmp_path / "bandit-10-5/min_gru")
    run_folder.write_json(folder.config, run_folder.serializable(replace(config, seed=1)))
    with pytest.raises(ValueError, match="give another --root"):
        memory_table.cell("bandit-10-5", "min_gru", tmp_path, num_tasks=16)
