"""Progress of a run in the terminal."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from metarl_jax.console.activity import SECONDS_BETWEEN_SIGNS, Activity
from metarl_jax.console.evaluation_tables import (
    curve_table,
    gained,
    metrics_table,
    moved,
    percentile_table,
    shown_rounds,
    told_table,
)
from metarl_jax.console.notebook_bar import NotebookBar
from metarl_jax.console.streams import Unfailing
from metarl_jax.console.tables import Table, number, show, thousands
from metarl_jax.runs import processes
from metarl_jax.runs.callbacks import Callback


class Reporter(Callback):
    """Shows the progress of a run: a live line on a terminal, a bar in a notebook, and otherwise occasional plain
    lines."""

    def __init__(
        self,
        console: Console | None = None,
        errors: Console | None = None,
        seconds_between_lines: float = 5.0,
    ):
        """Messages go to `console` (standard output), warnings to `errors` (standard error); of several processes, only
        those of the first.

        If a stream can no longer be written, its messages are dropped.
        """
        is_quiet = not processes.is_first()
        self.console = console or Console(quiet=is_quiet)
        self.errors = errors or Console(stderr=True, quiet=is_quiet)
        for each in (self.console, self.errors):
            each.file = cast(IO[str], Unfailing(each.file))
        self._seconds_between_lines = seconds_between_lines
        self._bar: Progress | NotebookBar | None = None
        self._task = TaskID(0)
        self._first_step = self._num_steps = 0
        self._started = self._last_line = 0.0

    def say(self, message: str) -> None:
        """Shows a message of one line."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Shows a warning."""
        text = f"warning: {message}"
        self.errors.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Shows a table, as wide as the terminal or, elsewhere, as its content."""
        show(table, self.console)

    def busy(self, what: str) -> Activity:
        """Returns a context that shows the current activity."""
        return Activity(self.console, what)

    @contextlib.contextmanager
    def training(self, step: int, num_steps: int) -> Iterator[None]:
        """Shows progress from `step` to `num_steps` while the context lasts."""
        self._first_step, self._num_steps = step, num_steps
        self._started = self._last_line = time.monotonic()
        if self.console.is_jupyter:
            self._bar = NotebookBar(f"step {step}/{num_steps}", total=num_steps, completed=step)
            try:
                yield
            finally:
                self._bar = None
            return
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(10), TextColumn("{task.fields[x]}"))
        with Progress(*columns, console=self.console, transient=True, refresh_per_second=2) as bar:
            self._bar = bar
            self._task = bar.add_task(
                f"step {step}/{num_steps}", total=num_steps, completed=step, x=""
            )
            try:
                yield
            finally:
                self._bar = None

    def between(self, step: int) -> None:
        """Shows progress within a long chunk."""
        now, position = time.monotonic(), f"step {step}/{self._num_steps}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=position)
        elif now - self._last_line >= SECONDS_BETWEEN_SIGNS:
            self._last_line = now
            self.say(position)

    def on_chunk(self, line: dict[str, Any]) -> None:
        """Shows the metrics of a chunk."""
        step, now = line["step"], time.monotonic()
        left = (now - self._started) / (step - self._first_step) * (self._num_steps - step)
        position = f"step {step}/{self._num_steps}"
        status = (
            f"{thousands(line['env_steps_per_second'])} env-steps/s, "
            f"return {_before_after(line['episode_return'])}, {_minutes(left)} left"
        )
        if line["skipped"]:
            status += f", {line['skipped']} updates skipped"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=position, x=status)
        elif now - self._last_line >= self._seconds_between_lines or step == self._num_steps:
            self._last_line = now
            self.say(f"{position}: {status}")

    def on_evaluation(self, line: dict[str, Any]) -> None:
        """Shows a held-out evaluation: the first and last round, and the number by which checkpoints are ranked."""
        text = f"step {line['step']}/{self._num_steps}: held-out return "
        text += f"{_before_after(line['eval_return'])}, counted {number(line['held_out_return'])}"
        self.say(text + (" (best so far)" if line["is_best"] else ""))

    def curve(self, evaluation: dict[str, Any]) -> None:
        """Prints the content of `eval.json` as a table: returns by round, and the controls.

        For a long trial, only some of the rounds are shown.
        """
        num_rounds = len(evaluation["return_mean"])
        means = evaluation["return_mean"]
        # In a trial by steps no task may have come to the end of the later episodes.
        shown = [k for k in shown_rounds(num_rounds) if means[k] is not None] or [0]
        self.table(curve_table(evaluation, shown))
        self.table(percentile_table(evaluation, shown))
        for table in (told_table(evaluation, shown), metrics_table(evaluation, shown)):
            if table is not None:
                self.table(table)
        if len(shown) < num_rounds:
            rounds = f"{num_rounds} {evaluation['round_label']}s"
            self.say(f"{len(shown)} of the {rounds} are shown; sums are over all.")
        if gained(evaluation):
            self.say(gained(evaluation))
        self.say(moved(evaluation["parameters"]))
        if "note" in evaluation:
            self.say(f"Note: {evaluation['note']}")


def _before_after(returns: list) -> str:
    known = [x for x in returns if x is not None and not math.isnan(x)] or [math.nan]
    first, last = number(known[0]), number(known[-1])
    return first if len(returns) == 1 else f"{first} -> {last}"


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
