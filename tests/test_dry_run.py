"""What a run would be on devices that are not there."""

import dataclasses
import json

import jax
import pytest
from probes import CHEAP

from metarl_jax.analysis.dry_run import dry_run
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.program.build import build

WORDS = ["train", "rl2-bandit", "--num-tasks", "8", "--num-rounds", "3", "--outer.num-epochs", "1"]
DRY = [*WORDS, "--learner.hidden-size", "4", "--outer.num-minibatches", "1", "--dry-run"]


@pytest.fixture(autouse=True)
def _eight_devices():
    """The command would make others, where the backend does not run yet."""
    assert len(jax.devices()) == 8


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_a_program_is_lowered_for_a_platform_that_is_not_there(
    platform, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = ["--devices", "4", "--runtime.platform", platform, "--program", "program.mlir"]
    assert main([*DRY, *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["platform"], report["devices"]) == (platform, 4)
    assert report["tasks"] == {
        "all": 8,
        "per_device": 2,
        "collect_block": 2,
        "update_block": 2,
    }
    program = report["program"]
    assert program["all_reduce"] >= 1
    assert program["operations"] > 100
    assert not program["float64"]
    text = (tmp_path / "program.mlir").read_text()
    assert "mhlo.num_partitions = 4" in text
    assert "callback" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["program.mlir"]


def test_sizes_are_those_of_the_arrays():
    report = dry_run(CHEAP, "cpu", 2, compiles=True).report
    program = build(CHEAP)
    state = jax.jit(program.init)(jax.random.key(0))
    params = sum(x.nbytes for x in jax.tree.leaves(state.meta.params))
    assert report["state"]["bytes_per_device"]["parameters"] == params
    task = program.env.sample(jax.random.key(1))
    trial = jax.jit(program.trial)(state, task, jax.random.key(2))
    per_task = sum(x.nbytes for x in jax.tree.leaves(trial))
    assert report["trials"]["bytes_per_task"] == per_task
    assert report["trials"]["bytes_per_device"] == per_task * CHEAP.num_tasks // 2
    compiled = report["compiled"]
    assert compiled["total_bytes_per_device"] >= params
    assert compiled["seconds"] > 0


def test_a_report_for_a_reader(capsys):
    assert main([*DRY, "--devices", "2", "--runtime.platform", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "8 tasks on 2 cpu device(s): 4 each" in text
    assert "program for cpu:" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*WORDS, "--devices", "4"], "add --dry-run"),
        ([*DRY, "--devices", "3"], "num_tasks=8 is not a multiple"),
        ([*DRY, "--compile", "--runtime.platform", "tpu"], "leave --compile out"),
        ([*DRY, "--program", "none/such.mlir"], "there is no folder"),
    ],
)
def test_what_cannot_be_shown_is_refused(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_the_cpu_must_stand_in_for_every_device():
    with pytest.raises(UserError, match="num_devices=9, but there are 8"):
        dry_run(dataclasses.replace(CHEAP, num_tasks=9), "gpu", 9)
