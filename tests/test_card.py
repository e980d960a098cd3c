"""The model card of a run."""

import dataclasses
import json
import shlex

import pytest

from metarl_jax import experiments
from metarl_jax.cli.run_options import read_run
from metarl_jax.cli.train import TRAIN_HELP, TrainOptions
from metarl_jax.defaults import default_config
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.envs.wrapper import Wrapper
from metarl_jax.runs.card import command, write_card
from metarl_jax.runs.folder import RunFolder

CONTROL = {"return_mean": [-3.25, -3.5], "total_mean": -6.75}
EVALUATION = {
    "split": "test",
    "num_tasks": 10,
    "checkpoint": "best",
    "step": 4,
    "last_step": 5,
    "round_label": "episode",
    "return_mean": [1.25, 2.5],
    "return_iqm": [1.0, 2.0],
    "ci95": [[1.0, 1.5], [2.0, 3.0]],
    "total_mean": 3.75,
    "total_ci95": [3.5, 4.0],
    "parameters": {"all": 100, "adapted": 0, "stay": 100},
    "controls": {"random": CONTROL},
}


def read_back(config):
    words = shlex.split(command(config))
    assert words[:2] == ["metarl", "train"]
    _, found = read_run(TrainOptions, "train", words[2:], TRAIN_HELP)
    return dataclasses.replace(found, name=config.name)


@pytest.mark.parametrize(
    "name", ["rl2-grid-navi", "maml-point-robot", "varibad-grid-navi", "modular-point-robot"]
)
def test_the_command_of_the_card_trains_the_same_configuration(name):
    config = dataclasses.replace(experiments.get(name), seed=3, normalize_observations=True)
    assert read_back(config) == config


def test_the_command_has_the_fields_of_the_environment():
    config = default_config("rl2", GridNavi(horizon=7))
    assert "--env.horizon 7" in command(config)
    assert read_back(config) == config


def test_what_flags_cannot_say_is_in_the_folder():
    config = default_config("rl2", Wrapper(GridNavi(horizon=7)))
    assert command(config) == "metarl train --from RUN_DIR"


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    machine = {"count": 1, "kind": "cpu", "processor": "a core", "cores": 2, "jax": "0.10"}
    folder.machines.write_text(json.dumps({"step": 0} | machine) + "\n")
    folder.metrics.write_text(json.dumps({"step": 5, "env_steps": 12345}) + "\n")
    return folder


def test_the_card_says_what_was_trained_and_what_it_reaches(folder):
    write_card(folder, experiments.get("rl2-grid-navi"), EVALUATION, pytest.fail)
    text = (folder.path / "README.md").read_text()
    assert "Learner `rl2` in `grid_navi`" in text
    assert "5 meta-steps, 12,345 env-steps" in text
    assert "| episode | return | 95% interval | IQM | random |" in text
    assert "| 2 | 2.50 | 2.00 to 3.00 | 2.00 | -3.50 |" in text
    assert "a core, 2 core(s)" in text


def test_an_edited_card_is_kept_and_others_are_replaced(folder):
    config, card = experiments.get("rl2-grid-navi"), folder.path / "README.md"
    write_card(folder, config, EVALUATION, pytest.fail)
    write_card(folder, config, EVALUATION | {"last_step": 9}, pytest.fail)
    assert "9 meta-steps" in card.read_text()
    for edited in ("mine\n", card.read_text().replace("9 meta-steps", "many meta-steps")):
        card.write_text(edited)
        warnings = []
        write_card(folder, config, EVALUATION, warnings.append)
        assert card.read_text() == edited
        assert "README.new.md" in warnings[0]
        assert "5 meta-steps" in (folder.path / "README.new.md").read_text()
