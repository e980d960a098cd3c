"""Budgets, intervals of checkpoints by time, and where the time of a run goes."""

import dataclasses
import json
import time

import pytest
from probes import CHEAP, Silent, metrics_lines

from metarl_jax.cli.compare import table
from metarl_jax.runs import timekeeping
from metarl_jax.runs.budget import Budget
from metarl_jax.runs.checkpoint import saved_steps
from metarl_jax.runs.checkpoint_writer import CheckpointWriter
from metarl_jax.runs.timekeeping import Timekeeper, goodput
from metarl_jax.runs.train import resume, train
from metarl_jax.runs.watchdog import Watchdog
from metarl_jax.sweeps.comparison import read_all


class Clock:
    """A clock that goes on when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("metarl_jax.runs.report.draw", lambda *args: False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a budget."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(CHEAP, run_dir, console=Silent())
    return run_dir


def test_a_run_ends_with_its_env_steps_and_goes_on_with_more(tmp_path, whole):
    lines = {x["step"]: x["env_steps"] for x in metrics_lines(whole)}
    config = dataclasses.replace(CHEAP, num_env_steps=lines[4] - 1)
    run_dir, console = tmp_path / "run", Silent()
    assert train(config, run_dir, console=console)["last_step"] == 4
    assert f"stopped after step 4, with num_env_steps={lines[4] - 1}" in console.out.getvalue()
    assert saved_steps(run_dir / "checkpoints")[-1] == 4
    (row, *_) = read_all([run_dir], lambda message: pytest.fail(message))
    assert row.is_finished
    console = Silent()
    assert resume(run_dir, console=console)["last_step"] == 4
    assert "evaluating only" in console.out.getvalue()
    assert resume(run_dir, budget=Budget(), console=Silent())["last_step"] == 8
    assert metrics_lines(run_dir) == metrics_lines(whole)


def test_a_run_ends_with_its_hours(tmp_path):
    config = dataclasses.replace(CHEAP, max_hours=1e-6)
    run_dir = tmp_path / "run"
    assert train(config, run_dir, console=Silent())["last_step"] == 2
    assert "eval_return" in metrics_lines(run_dir)[-1]
    assert resume(run_dir, console=Silent())["last_step"] == 2
    assert resume(run_dir, budget=Budget(max_hours=10), console=Silent())["last_step"] == 8


@pytest.mark.parametrize(("seconds", "steps"), [(1e-9, [2, 4, 6, 8]), (1e9, [8])])
def test_checkpoints_by_time(tmp_path, monkeypatch, seconds, steps):
    saved, save = [], CheckpointWriter.save
    monkeypatch.setattr(
        CheckpointWriter,
        "save",
        lambda self, state, *args, **more: (
            saved.append(int(state.step)) or save(self, state, *args, **more)
        ),
    )
    never = dataclasses.replace(CHEAP.evaluation, every=0)
    often = dataclasses.replace(CHEAP.checkpoint, every=1, every_seconds=seconds)
    config = dataclasses.replace(CHEAP, evaluation=never, checkpoint=often)
    train(config, tmp_path / "run", console=Silent())
    assert saved == steps


def test_time_is_counted_by_activity_and_what_is_done_again_is_repeated(tmp_path):
    """Two processes: the first is killed in the middle of a line after step 6, and the second goes on from 3."""
    clock, warned = Clock(), []
    keeper = Timekeeper(tmp_path, 0, warned.append, clock=clock)
    for step, activity, seconds in [
        (0, timekeeping.COMPILING, 5.0),
        (2, timekeeping.TRAINING, 10.0),
        (4, timekeeping.TRAINING, 10.0),
        (4, timekeeping.SAVING, 1.0),
        (6, timekeeping.TRAINING, 10.0),
    ]:
        with keeper.spending(activity):
            clock.now += seconds
        clock.now += 0.5
        keeper.note(step)
    with (tmp_path / "time.jsonl").open("a") as file:
        file.write('{"start": 1, "step": 8, "tra')
    keeper = Timekeeper(tmp_path, 3, warned.append, clock=clock)
    with keeper.spending(timekeeping.EVALUATING):
        clock.now += 3.0
    with keeper.spending(timekeeping.TRAINING):
        clock.now += 20.0
    keeper.note(8)
    assert keeper.total_seconds == pytest.approx(61.5)
    found = goodput(tmp_path)
    assert found is not None
    assert found == pytest.approx((35.0, 15.0, 5.0, 3.0, 1.0, 2.5, 2))
    assert found.share == pytest.approx(35 / 61.5)
    assert not warned


def test_a_clock_that_jumps_back_changes_nothing(tmp_path, whole, monkeypatch):
    now, console = time.time, Silent()
    console.at_step[4] = lambda: monkeypatch.setattr(time, "time", lambda: now() - 86400.0)
    train(CHEAP, tmp_path / "run", console=console)
    assert metrics_lines(tmp_path / "run") == metrics_lines(whole)
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert console.err.getvalue().count("gone back by 86400 s") == 1


def test_compare_shows_the_share_of_time(whole):
    rows = read_all([whole], lambda message: None)
    found = goodput(whole)
    assert found is not None
    assert 0 < found.training < found.total
    assert found.compiling > 0
    assert found.evaluating > 0
    columns = {column.name: column.cells for column in table(rows).columns}
    assert columns["time in\nmeta-steps"][0].startswith(f"{found.share:.0%} of ")


def test_work_that_hangs_is_reported_once_with_the_stack(tmp_path):
    clock, warned = Clock(), []
    dog = Watchdog(tmp_path, warned.append, clock)

    def hang(seconds):
        clock.now += seconds
        dog.check()

    for seconds, amount in [(4, 2), (2, 1), (6, 3)]:
        with dog.watching("training", amount):
            hang(seconds)
    with dog.watching("training", 2):
        hang(79)
        assert not warned
        hang(2)
        hang(1000)
    (message,) = warned
    assert "training has taken 81 s so far, and usually takes 4 s" in message
    assert "in hang" in message
    assert "hang" in (tmp_path / "stuck.txt").read_text()
    dog.close()


def test_a_callback_that_hangs_is_reported_while_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr("metarl_jax.runs.watchdog.LEAST_SECONDS", 0.2)
    monkeypatch.setattr("metarl_jax.runs.watchdog.POLL_SECONDS", 0.05)
    console = Silent()
    console.at_step[8] = lambda: time.sleep(2.0)
    train(CHEAP, tmp_path / "run", console=console)
    assert "logging has taken" in console.err.getvalue()
    assert "time.sleep" in console.err.getvalue()
    assert (tmp_path / "run" / "stuck.txt").exists()
