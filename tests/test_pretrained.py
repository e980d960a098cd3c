"""The run that comes with the library."""

import json
from pathlib import Path

import pytest

import metarl_jax
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.runs import folder, pretrained

NAME = "pretrained:rl2-grid-navi"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")


def test_it_is_small_and_says_what_it_reaches():
    (name,) = pretrained.names()
    assert f"{pretrained.PREFIX}{name}" == NAME
    files = [path for path in (pretrained.FOLDER / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    text = (pretrained.FOLDER / name / "README.md").read_text()
    assert "metarl train rl2 --env grid_navi" in text
    assert "/" not in json.loads((pretrained.FOLDER / name / "config.json").read_text())["name"]


def test_it_earns_what_its_card_says(capsys):
    """Within three standard errors of the mean over tasks; a random policy has less than 0."""
    written = json.loads((pretrained.located(NAME) / "eval.json").read_text())
    assert main(["eval", NAME, "--num-tasks", "200", "--json", "--runtime.platform", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "warning" not in captured.err
    found = json.loads(captured.out)
    low, high = found["total_ci95"]
    assert abs(found["total_mean"] - written["total_mean"]) < 1.5 * (high - low)
    assert found["total_mean"] > 25 > 0 > found["controls"]["random"]["total_mean"]
    assert not list(Path().iterdir())


def test_it_is_loaded_and_found_by_commands():
    _, config = folder.open_existing(Path(NAME))
    assert isinstance(config.env, GridNavi)
    assert metarl_jax.load(NAME).policy.init()


def test_it_is_not_changed(capsys):
    assert main(["resume", NAME]) == 2
    assert "--init-from" in capsys.readouterr().err


def test_it_is_listed(capsys):
    assert main(["list"]) == 0
    assert f"{NAME}  " in capsys.readouterr().out


def test_names_are_suggested():
    with pytest.raises(UserError, match="did you mean 'rl2-grid-navi'"):
        folder.open_existing(Path("pretrained:rl2-grid-nav"))
