"""Where the time of a run goes: `time.jsonl` in its folder, and the goodput that follows from it.

A line is appended for every chunk, with the seconds of each activity since the line before. No line is ever removed:
where a run was killed, and meta-steps are done again, the seconds of the first time stay, and count as repeated.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax.core.writing import append
from metarl_jax.runs.json_files import ends_with_line, whole_lines
from metarl_jax.runs.watchdog import Watchdog

NAME = "time.jsonl"
"""The file in the folder of a run or a sweep."""
TRAINING, COMPILING, EVALUATING, SAVING = "training", "compiling", "evaluating", "saving"
LOGGING = "logging"
"""Activities. Logging, and whatever belongs to none of them, is written as `other`."""
WRITTEN = (COMPILING, TRAINING, EVALUATING, SAVING)
JUMP_SECONDS = 60.0
"""A clock that goes back by more is reported."""


class Timekeeper:
    """Measures the activities of a process that trains, and writes `time.jsonl`; a context that ends with a line.

    Durations are those of a clock that never goes back, whatever happens to the time of day.
    """

    def __init__(
        self,
        path: Path,
        step: int,
        warn: Callable[[str], None],
        *,
        writes: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Begins a start of the run in the folder `path`, which goes on from this meta-step.

        Args:
          path: of the run or the sweep.
          step: the meta-step.
          warn: where to report what is odd.
          writes: whether to write the file; of several processes, one does.
          clock: a clock that never goes back, in seconds.
        """
        self._writes = writes
        self._file, self._step, self._warn, self._clock = path / NAME, step, warn, clock
        if writes and not ends_with_line(self._file):
            append(self._file, "\n")  # A process was killed in the middle of a line.
        before = whole_lines(self._file)
        self._start = 1 + max((line.get("start", 0) for line in before), default=0)
        self._earlier = sum(_total(line) for line in before)
        self._began = self._noted = self._saved = clock()
        self._at = time.time()
        self._seconds = dict.fromkeys(WRITTEN, 0.0)
        self._watchdog = Watchdog(path, warn, clock)

    @property
    def total_seconds(self) -> float:
        """The seconds of the run, in this process and in those before."""
        return self._earlier + self._clock() - self._began

    @property
    def seconds_since_save(self) -> float:
        """The seconds since the last save of this process, or since its begin."""
        return self._clock() - self._saved

    @contextlib.contextmanager
    def spending(self, activity: str, amount: int = 1) -> Iterator[None]:
        """Counts the time of the block to an activity.

        Args:
          activity: one of the constants of this module.
          amount: the size of the work, in meta-steps for training; a block that takes much longer than its size lets
            expect is reported (`Watchdog`).
        """
        began = self._clock()
        try:
            with self._watchdog.watching(activity, amount):
                yield
        finally:
            ended = self._clock()
            if activity in self._seconds:
                self._seconds[activity] += ended - began
            if activity == SAVING:
                self._saved = ended

    def note(self, step: int) -> None:
        """Writes the seconds since the last line, at the end of a chunk, with its last meta-step."""
        now, at = self._clock(), time.time()
        other = max(now - self._noted - sum(self._seconds.values()), 0.0)
        line = {"start": self._start, "from": self._step, "step": step}
        line |= {name: round(x, 4) for name, x in (self._seconds | {"other": other}).items()}
        if self._writes:
            append(self._file, json.dumps(line) + "\n")
        if at < self._at - JUMP_SECONDS:
            self._warn(
                f"the clock of this machine has gone back by {self._at - at:.0f} s: times in TensorBoard do too; "
                "nothing else depends on it"
            )
        self._noted, self._step, self._at = now, step, at
        self._seconds = dict.fromkeys(WRITTEN, 0.0)

    def __enter__(self) -> "Timekeeper":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._watchdog.close()
        with contextlib.suppress(OSError):  # What made the run end is the error to report.
            self.note(self._step)


class Goodput(NamedTuple):
    """Where the seconds of a run went, in all processes that trained it.

    Attributes:
      training: meta-steps that the run consists of.
      repeated: meta-steps that were done again after the process was killed.
      compiling: compilation, or loading of compiled programs.
      evaluating: held-out evaluations while training.
      saving: checkpoints, as far as training waited for them.
      other: logging, and what is left.
      num_starts: how many processes trained the run.
    """

    training: float = 0.0
    repeated: float = 0.0
    compiling: float = 0.0
    evaluating: float = 0.0
    saving: float = 0.0
    other: float = 0.0
    num_starts: int = 0

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self) - self.num_starts

    @property
    def share(self) -> float:
        """The share of the seconds that went into meta-steps of the run."""
        return self.training / self.total if self.total else 0.0


def goodput(path: Path) -> Goodput | None:
    """Returns where the time of the run or sweep in this folder went; None if that was not recorded."""
    lines = whole_lines(path / NAME)
    if not lines:
        return None
    names = (*WRITTEN, "other")
    sums = {name: float(sum(line.get(name, 0.0) for line in lines)) for name in names}
    repeated, num_starts, resumed_from = 0.0, 0, math.inf
    for line, before in zip(reversed(lines), [*reversed(lines[:-1]), {}], strict=True):
        repeated += line.get(TRAINING, 0.0) * _share_after(resumed_from, line)
        first = line.get("from", line["step"])
        if line.get("start") != before.get("start"):  # the first line of a process
            num_starts, resumed_from = num_starts + 1, min(resumed_from, first)
    sums[TRAINING] -= repeated
    found = Goodput(repeated=repeated, num_starts=num_starts)
    return found._replace(**sums)


def total_seconds(path: Path) -> float:
    """Returns the seconds of the run or sweep in this folder until now."""
    return sum(_total(line) for line in whole_lines(path / NAME))


def _share_after(step: float, line: dict[str, Any]) -> float:
    """Returns the share of the meta-steps of a line that come after `step`."""
    first = line.get("from", line["step"])
    return min(max(line["step"] - step, 0) / max(line["step"] - first, 1), 1.0)


def _total(line: dict[str, Any]) -> float:
    return sum(line.get(name, 0.0) for name in (*WRITTEN, "other"))
