"""Progress of a long call: a spinner, or lines with the elapsed time."""

import threading
import time

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_SIGNS = 20.0
"""Seconds between lines during a long call if the output is not a terminal."""


class Activity:
    """Shows the current activity while its context lasts.

    On a terminal that is a spinner with the seconds since the last `update`; elsewhere a line at every update, and
    further lines with the elapsed time.
    """

    def __init__(
        self, console: Console, what: str, seconds_between_lines: float = SECONDS_BETWEEN_SIGNS
    ):
        self._console = console
        self._what = what
        self._seconds_between_lines = seconds_between_lines
        self._started = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._spinner: Progress | None = None
        self._task = TaskID(0)

    def update(self, what: str) -> None:
        """Changes the shown activity."""
        self._what, self._started = what, time.monotonic()
        if self._spinner is not None:
            self._spinner.reset(self._task, description=what)
        elif not self._console.is_terminal:
            self._say(what)

    def __enter__(self) -> "Activity":
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._spinner = Progress(*columns, console=self._console, transient=True)
            self._task = self._spinner.add_task(self._what, total=None)
            self._spinner.start()
        self.update(self._what)
        if self._spinner is None:
            self._thread = threading.Thread(target=self._remind, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._ended.set()
        if self._spinner is not None:
            self._spinner.stop()
        if self._thread is not None:
            self._thread.join()

    def _remind(self) -> None:
        while not self._ended.wait(self._seconds_between_lines):
            self._say(f"{self._what}: {time.monotonic() - self._started:.0f} s")

    def _say(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)
