"""Reports work that takes much longer than it did before, with what the process is doing."""

import contextlib
import faulthandler
import statistics
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

FACTOR = 20.0
"""How many times its median a piece of work may take."""
LEAST_SECONDS = 30.0
"""Work is not reported before."""
LEAST_KNOWN = 3
"""How many pieces of the same kind must have ended before."""
NUM_KNOWN = 101
"""Of how many of the last pieces the median is taken."""
POLL_SECONDS = 1.0
"""How often a thread looks."""
NAME = "stuck.txt"
"""The file in the folder of a run with the stacks of all threads, one report after the other."""


class Watchdog:
    """Watches the work of one thread from another.

    What is reported ends by itself, or by the user: the watchdog stops nothing.
    """

    def __init__(self, path: Path, warn: Callable[[str], None], clock: Callable[[], float]):
        """Watches the calling thread. Stacks are written to the folder `path`; `warn` receives a message."""
        self._file, self._warn, self._clock = path / NAME, warn, clock
        self._watched = threading.get_ident()
        self._known: dict[str, deque[float]] = {}
        self._current: tuple[str, int, float] | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, what: str, amount: int) -> Iterator[None]:
        """Watches the block, a piece of work of this kind and size."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="metarl-watchdog", daemon=True)
            self._thread.start()
        began = self._clock()
        self._current = what, amount, began
        try:
            yield
        finally:
            self._current = None
        known = self._known.setdefault(what, deque(maxlen=NUM_KNOWN))
        known.append((self._clock() - began) / max(amount, 1))

    def check(self) -> None:
        """Reports the current work if it takes too long, and was not reported before."""
        current = self._current
        if current is None:
            return
        what, amount, began = current
        known = list(self._known.get(what, ()))
        if len(known) < LEAST_KNOWN:
            return
        usual, passed = statistics.median(known) * max(amount, 1), self._clock() - began
        if passed <= max(FACTOR * usual, LEAST_SECONDS):
            return
        self._current = None
        frame = sys._current_frames().get(self._watched)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        message = f"{what} has taken {passed:.0f} s so far, and usually takes {usual:.3g} s"
        self._warn(f"{message}; this is where it is, and {self._file} has all threads:\n{stack}")
        with contextlib.suppress(OSError), self._file.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
            file.flush()
            faulthandler.dump_traceback(file=file, all_threads=True)

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            self.check()
