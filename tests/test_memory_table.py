"""The table of learners that remember: each cell can be built, is trained once, and is printed beside what is known."""

import dataclasses

import pytest

from metarl_jax.config import validate
from metarl_jax.experiments import memory_table

replace = dataclasses.replace


@pytest.mark.parametrize("problem", memory_table.PROBLEMS)
@pytest.mark.parametrize("learner", memory_table.LEARNERS)
def test_every_cell_can_be_built(problem, learner):
    config = memory_table.configuration(problem, learner)
    validate(config)
    num_steps = config.num_rounds * config.env.episode_length
    assert config.num_tasks * num_steps <= 1.3 * memory_table.STEPS_OF_A_META_STEP
    assert getattr(config.learner, "context_length", num_steps) >= num_steps
    twice = memory_table.configuration(problem, learner, effort=2.0)
    assert twice.num_meta_steps == pytest.approx(2 * config.num_meta_steps, abs=1)


@pytest.fixture
def small(monkeypatch):
    """Cells that are trained in no time."""
    full = memory_table.configuration

    def configuration(problem, learner, effort=1.0):
        config = full(problem, learner, effort)
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


def test_a_folder_of_another_training_is_refused(small, tmp_path):
    config = memory_table.configuration("bandit-10-5", "min_gru")
    memory_table.cell(config, tmp_path / "run", 16)
    with pytest.raises(ValueError, match="give another --root"):
        memory_table.cell(replace(config, seed=1), tmp_path / "run", 16)
