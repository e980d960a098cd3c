"""Stopping a run from outside: a first signal asks it to save and stop, a second does not ask."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers a first Ctrl-C or SIGTERM in its context; a second one does what it always did.

    Python delivers signals to the main thread only: elsewhere the context does nothing.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = signal.Signals(number)
        self._restore()
        # A console's lock may be held by the very line that was interrupted.
        os.write(2, b"\nStopping after the chunk at hand; once more to stop at once.\n")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


def interruptible(function: Callable[[], Result]) -> Result:
    """Calls `function` on another thread and waits, so that this one can handle signals meanwhile.

    Python runs signal handlers between bytecodes, and a call of a compiled chunk may take minutes.
    """
    outcome: dict[str, Any] = {}

    def call() -> None:
        try:
            outcome["result"] = function()
        except BaseException as error:  # Raised again by the thread that waits.
            outcome["error"] = error

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]
