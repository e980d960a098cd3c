"""Stopping from outside, the length of calls, and what is shown meanwhile."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from metarl_jax.console.activity import Activity
from metarl_jax.runs import stopping
from metarl_jax.runs.pace import LONG_SECONDS, TARGET_SECONDS, Pace
from metarl_jax.runs.stopping import StopNow, StopRequest, interruptible


@pytest.fixture(autouse=True)
def _handlers_of_a_terminal():
    """A process that a shell starts in the background is born deaf to Ctrl-C."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_only_a_second_ctrl_c_aborts(number):
    with StopRequest() as stop:
        signal.raise_signal(number)
        for again in (signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(again)
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.signal is None
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_call_is_waited_for_no_longer_than_patience_lasts(monkeypatch):
    ended = threading.Event()
    with StopRequest() as stop:
        assert interruptible(lambda: 3) == 3
        signal.raise_signal(signal.SIGTERM)
        assert interruptible(lambda: time.sleep(0.3) or 4) == 4
        monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(StopNow):
            interruptible(ended.wait)
        with pytest.raises(StopNow), stop.at_once():
            pytest.fail("the signal had come before")
    assert stopping.is_working()
    ended.set()


def test_at_once_interrupts_what_waits():
    ended = threading.Event()
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(StopNow), StopRequest() as stop, stop.at_once():
        interruptible(lambda: ended.wait(30))
    ended.set()


def test_a_call_takes_as_many_meta_steps_as_fit():
    pace = Pace()
    assert pace.num_steps(100) == 1
    assert not pace.is_long(1)
    pace.note(1, TARGET_SECONDS / 10.5)
    assert [pace.num_steps(left) for left in (100, 7)] == [10, 7]
    pace.note(2, 3 * TARGET_SECONDS)
    assert pace.num_steps(100) == 1
    assert pace.is_long(1)
    pace.note(10, LONG_SECONDS)
    assert pace.is_long(11)
    assert not pace.is_long(9)


def test_signs_of_life_without_a_terminal():
    out = io.StringIO()
    with Activity(Console(file=out), "compiling", seconds_between_lines=0.02) as activity:
        time.sleep(0.1)
        activity.update("measuring")
    lines = out.getvalue().splitlines()
    assert lines[0] == "compiling"
    assert "compiling: 0 s" in lines
    assert "measuring" in lines


def test_ctrl_c_before_anything_is_imported_is_one_line():
    """The handler is there before JAX is imported, which takes seconds."""
    script = """
import os, signal, sys
from metarl_jax.cli import main as cli
print("jax" in sys.modules)
def interrupted(words):
    os.kill(os.getpid(), signal.SIGINT)
    import metarl_jax.runs.train
cli._guarded = interrupted
sys.exit(cli.main())
"""
    words = [sys.executable, "-u", "-c", script]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert result.returncode == 130
    assert result.stdout.split() == ["False"]
    assert result.stderr.split() == ["metarl:", "interrupted"]
