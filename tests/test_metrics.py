"""What goes to disk and to the terminal while training: nothing hangs, and nothing fails unseen."""

import errno
import io
import json
import os
import resource
import struct
import threading

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from metarl_jax.config import Config
from metarl_jax.core.writing import WriteError, to_resume
from metarl_jax.envs.bandit import Bandit
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.ppo import PPO
from metarl_jax.runs import report
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import write_json
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.writers import open_all
from metarl_jax.runs.writers.scalars import scalars


@pytest.fixture
def small_files():
    """No file grows beyond 20 000 bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def events(folder: RunFolder) -> list[Event]:
    """The events of TensorBoard's file, with their checksums checked."""
    (path,) = folder.path.glob("events.out.tfevents.*")
    data, found = path.read_bytes(), []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        assert check == masked_crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(
            data[12 : 12 + length]
        )
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


@pytest.mark.parametrize("name", ["config.json", "sweep.json"])
def test_a_write_that_fails_is_an_error_that_says_how_to_go_on(tmp_path, small_files, name):
    for written in {name, "config.json"}:
        (tmp_path / written).write_text("{}")
    folder = RunFolder(tmp_path)
    failures = []

    def write():
        (writer,) = open_all([folder], (), 0, print)
        try:
            for step in range(1, 2001):
                writer.on_chunk({"step": step, "x": [0] * 20})
        except WriteError as error:
            failures.append(str(error))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert os.strerror(errno.EFBIG) in failures[0]
    assert f"metarl resume {tmp_path}`" in failures[0]


def test_a_failed_write_leaves_what_was_there_and_no_rest(tmp_path, small_files):
    path = tmp_path / "eval.json"
    write_json(path, {"a": 1})
    with pytest.raises(WriteError, match=r"eval\.json cannot be written"):
        write_json(path, {"a": "x" * 30_000})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_to_resume_is_the_sweep_of_a_member(tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    assert to_resume(tmp_path / "members" / "seed=1") == tmp_path
    assert to_resume(tmp_path / "other" / "seed=1") == tmp_path / "other" / "seed=1"


def test_events_are_whole_and_no_number_comes_twice(tmp_path):
    open_before = len(os.listdir("/dev/fd"))
    folder = RunFolder(tmp_path)
    folder.config.write_text("{}")
    (writer,) = open_all([folder], (), 4, print)
    writer.on_chunk({"step": 6, "env_steps": 10, "episode_return": [1.0, 2.5], "name": "x"})
    writer.on_chunk({"step": 6, "env_steps": 10, "eval_ci95": [[0.0, 1.0], [2.0, 3.0]]})
    writer.on_chunk({"step": 8, "env_steps": 20})
    head, purge, *lines = events(folder)
    assert head.file_version == "brain.Event:2"
    assert (purge.step, purge.session_log.status) == (5, purge.session_log.START)
    assert [(x.step, {v.tag: v.simple_value for v in x.summary.value}) for x in lines] == [
        (6, {"env_steps": 10, "episode_return/round_1": 1.0, "episode_return/round_2": 2.5}),
        (
            6,
            {
                "eval_ci95/round_1/low": 0.0,
                "eval_ci95/round_1/high": 1.0,
                "eval_ci95/round_2/low": 2.0,
                "eval_ci95/round_2/high": 3.0,
            },
        ),
        (8, {"env_steps": 20}),
    ]
    assert len(os.listdir("/dev/fd")) == open_before


def test_pairs_that_are_no_interval_are_rounds():
    assert scalars({"step": 1, "x": [[1.0, 2.0]]}) == {
        "x/round_1/round_1": 1.0,
        "x/round_1/round_2": 2.0,
    }


class Gone(io.StringIO):
    """A stream whose reader has left, or whose disk is full."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error
        self.tries = 0

    def write(self, text):
        self.tries += 1
        raise self.error


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), ValueError("closed file")]
)
def test_output_that_nobody_can_read_ends_nothing(error, is_terminal):
    out, err = Gone(error), Gone(error)
    consoles = (Console(file=x, force_terminal=is_terminal) for x in (out, err))
    reporter = Reporter(*consoles, seconds_between_lines=0)
    chunk = {
        "step": 2,
        "env_steps_per_second": 1.0,
        "episode_return": [1.0],
        "skipped": 0,
    }
    evaluation = {"step": 2, "eval_return": [1.0], "held_out_return": 1.0}
    with reporter.training(0, 2):
        reporter.say("something")
        reporter.warn("something")
        reporter.on_chunk(chunk)
        reporter.on_evaluation(evaluation | {"is_best": True})
    assert out.tries == err.tries == 1


def test_a_figure_that_cannot_be_drawn_is_a_warning(tmp_path):
    config = Config(env=Bandit(), learner=MAML(), outer=PPO())
    warnings = []
    drawn = report.draw(RunFolder(tmp_path), config, {"return_mean": []}, warnings.append)
    assert not drawn
    assert len(warnings) == 1
    assert "adaptation_curve.png is not drawn" in warnings[0]
    assert not list(tmp_path.iterdir())
