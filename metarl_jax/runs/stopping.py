"""Early stops of training: Ctrl-C, SIGTERM, a closed terminal (SIGHUP), and divergence."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

PATIENCE_SECONDS = 5.0
"""Seconds to wait for a compiled call after a signal. Saving and exiting take a few seconds more."""

WORKER = "metarl-worker"


class Interrupted(Exception):  # noqa: N818 - not an error
    """The run was stopped by a signal, and is saved. The message says how to continue it.

    Attributes:
      what: the message without how to continue.
    """

    def __init__(self, what: str, remedy: str = ""):
        super().__init__("; ".join(filter(None, (what, remedy))))
        self.what = what


class Diverged(Exception):  # noqa: N818 - not an error of the program
    """`config.max_skipped` consecutive updates were not finite. The last good checkpoint is kept."""


def interrupted(
    path: Path, signal_name: str, doing: str, saved: int | None, seed: int
) -> Interrupted:
    """Returns the exception to raise after a signal.

    Args:
      path: the folder of the run or sweep.
      signal_name: such as `SIGTERM`.
      doing: the interrupted activity, as in `during step 3 of 100`.
      saved: the step of the last checkpoint, if there is one.
      seed: the seed from which the run starts again if there is no checkpoint.
    """
    where = f"step {saved}" if saved is not None else f"seed {seed}"
    return Interrupted(
        f"stopped by {signal_name} {doing}", f"to continue from {where}: metarl resume {path}"
    )


def diverged(
    path: Path,
    consecutive_skips: int,
    step: int,
    max_skipped: int,
    saved: int | None,
    what: str,
    fault: str | None,
) -> Diverged:
    """Returns the exception to raise when `what` (training, or all members of a sweep) skipped too many updates.

    Args:
      saved: the step of the last checkpoint, if there is one.
      fault: `environment_fault` of the last chunk.
    """
    kept = (
        f"the last good checkpoint, of step {saved}, is kept (metarl eval {path})"
        if saved is not None
        else "there is no good checkpoint"
    )
    advice = "Start a new run, for example with smaller step sizes" if fault is None else f"{fault}"
    return Diverged(
        f"{what} diverged: the last {consecutive_skips} updates up to step {step} were not finite "
        f"and were skipped (max_skipped={max_skipped}); {kept}. {advice}"
    )


def environment_fault(name: str, line: dict[str, Any]) -> str | None:
    """Describes numbers of environment `name` that were not finite in a chunk; None if all were."""
    places = {
        "nonfinite_reset": "observations of `reset`",
        "nonfinite_observation": "observations of `step`",
        "nonfinite_reward": "rewards of `step`",
    }
    found = [
        f"{what} in {line[metric]} episodes" for metric, what in places.items() if line.get(metric)
    ]
    if not found:
        return None
    return (
        f"env {name!r} gave numbers that are not finite, though the actions were: {' and '.join(found)} of the "
        f"meta-steps up to {line['step']}. Updates from such episodes are skipped: mend the environment"
    )


class StopNow(BaseException):
    """Abandons the current work. It is not an `Exception`, so that no `except Exception` catches it."""


class StopRequest:
    """Records the first signal that arrives in its context. Code in the context checks `signal` between pieces of work.
    `StopNow` ends a call by `interruptible` that takes longer than `PATIENCE_SECONDS` after the signal, and everything
    within `at_once`. A Ctrl-C after the first signal is handled as before the context; other repeated signals are
    ignored, because ending a session often sends several. SIGHUP stays ignored if it was, as under `nohup`.

    Python delivers signals to the main thread only: elsewhere the context does nothing.

    Args:
      leaves_calls: whether a call that takes too long is abandoned. One that several processes compute together is not.
    """

    active: "StopRequest | None" = None
    """The innermost context of the process."""

    def __init__(self, *, leaves_calls: bool = True):
        self.signal: signal.Signals | None = None
        self._leaves_calls = leaves_calls
        self._received_at = 0.0
        self._leaves_at_once = False
        self._previous: dict[signal.Signals, Any] = {}
        self._outer: StopRequest | None = None

    @property
    def name(self) -> str:
        """The name of the signal, such as `SIGTERM`."""
        return "a signal" if self.signal is None else self.signal.name

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._outer, StopRequest.active = StopRequest.active, self
            self._previous = handle_signals(self._handle)
        return self

    def __exit__(self, *exception) -> None:
        if threading.current_thread() is threading.main_thread():
            StopRequest.active = self._outer
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raises `StopNow` as soon as a signal arrives, or if one has arrived: for work that needs no saving."""
        self._leaves_at_once = True
        try:
            self.check()
            yield
            self.check()
        finally:
            self._leaves_at_once = False

    def check(self) -> None:
        """Raises `StopNow` if the current work is to be abandoned."""
        waited = time.monotonic() - self._received_at
        is_over = self._leaves_calls and waited > PATIENCE_SECONDS
        if self.signal is not None and (self._leaves_at_once or is_over):
            raise StopNow

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None:
            return
        self.signal, self._received_at = signal.Signals(number), time.monotonic()
        if signal.SIGINT in self._previous:
            signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
        tell_stderr("\nStopping within seconds. Press Ctrl-C again to stop without saving.\n")
        if self._leaves_at_once:
            raise StopNow


def handle_signals(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Installs a handler of `SIGNALS`, except an ignored SIGHUP; returns the previous handlers."""
    numbers = [
        number
        for number in SIGNALS
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    ]
    return {number: signal.signal(number, handler) for number in numbers}


def tell_stderr(text: str) -> None:
    """Writes to standard error, if still open, without the locks that interrupted code may hold."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def interruptible(function: Callable[[], Result]) -> Result:
    """Calls `function` on another thread and waits, so that this thread can handle signals meanwhile.

    Python runs signal handlers between bytecodes, and a compilation or the call of a compiled program may take minutes.

    Raises:
      StopNow: if the active `StopRequest` abandons this call. The thread cannot be ended: it runs `function` to its end
        (see `is_working`), and donated arguments are lost.
    """
    outcome: dict[str, Any] = {}
    done = threading.Event()

    def call() -> None:
        try:
            outcome["result"] = function()
        except BaseException as error:  # Raised again by the thread that waits.
            outcome["error"] = error
        finally:
            done.set()

    threading.Thread(target=call, name=WORKER, daemon=True).start()
    in_main_thread = threading.current_thread() is threading.main_thread()
    while not done.wait(0.2):
        if in_main_thread and StopRequest.active is not None:
            StopRequest.active.check()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def is_working() -> bool:
    """Whether a function abandoned by `interruptible` still runs; the interpreter cannot exit before it ends."""
    return any(thread.name == WORKER for thread in threading.enumerate())
