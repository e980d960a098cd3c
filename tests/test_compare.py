"""`metarl compare`: runs and sweeps in one table, from the files that they write."""

import json

import pytest

from metarl_jax.cli import main


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def evaluation(mean):
    return {
        "num_tasks": 7,
        "parameters": {"all": 120, "adapted": 8},
        "return_mean": [mean, mean + 1.0],
        "ci95": [[mean - 0.5, mean + 0.5], [mean + 0.25, mean + 1.75]],
        "controls": {"random": {"return_mean": [-60.0, -61.0]}},
    }


@pytest.fixture
def trained(tmp_path):
    """A run of two rounds and a sweep of three, which have ended."""
    write(tmp_path / "run/config.json", {"name": "one"})
    write(tmp_path / "run/eval.json", evaluation(-3.0))
    (tmp_path / "run/metrics.jsonl").write_text('{"env_steps": 100}\n{"env_steps": 1230000}\n')
    row = {
        "values": {"learner.inner_lr": 0.1},
        "return_mean": [-9.0, -8.0, None],
        "ci95": [[-10.0, -8.5], [-8.5, -7.5], [None, None]],
    }
    parameters = {"all": 4000, "adapted": 25}
    results = {
        "num_tasks": 5,
        "num_seeds": 4,
        "parameters": parameters,
        "combinations": [row],
    }
    write(tmp_path / "sweep/sweep.json", {"config": {"name": "many"}})
    write(tmp_path / "sweep/results.json", results)
    write(tmp_path / "sweep/members/a=1/metrics.jsonl", {"env_steps": 456000})
    return tmp_path


def test_runs_and_sweeps_stand_side_by_side(trained, capsys):
    assert main(["compare", str(trained / "run"), str(trained / "sweep"), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "|  | seeds | tasks | env-steps | moved | parameters | round 1 | round 2 | round 3 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| one | 1 | 7 | 1.23M | 8 | 120 | -3.00 (-3.50 to -2.50) | -2.00 (-2.75 to -1.25) |  |",
        "| many (inner_lr=0.1) | 4 | 5 | 0.46M | 25 | 4000 | -9.00 (-10.00 to -8.50) | -8.00 (-8.50 to -7.50) |"
        " nan (nan to nan) |",
        "| control: random |  | 7 |  |  |  | -60.00 | -61.00 |  |",
    ]
    assert main(["compare", str(trained / "run")]) == 0
    assert "round 2" in capsys.readouterr().out


def test_a_folder_without_results_is_bad_input(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 2
    assert "has no eval.json" in capsys.readouterr().err
    assert main(["compare"]) == 2
