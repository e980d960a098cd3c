"""How many meta-steps one compiled call takes."""

TARGET_SECONDS = 4.0
"""How long a call should take at most: a signal is obeyed after it."""
LONG_SECONDS = 1.0
"""From this expected time on, a copy of the state is kept while a call runs, so that the call can be left."""


class Pace:
    """Chooses the meta-steps of a call by the time that those of the last call took; the first call takes one."""

    def __init__(self):
        self._seconds_per_step: float | None = None

    def num_steps(self, left: int) -> int:
        """How many of the `left` meta-steps the next call takes: at least one."""
        if self._seconds_per_step is None:
            return 1
        return max(1, min(left, int(TARGET_SECONDS / self._seconds_per_step)))

    def is_long(self, num_steps: int) -> bool:
        """Whether a call of so many meta-steps is expected to take longer than `LONG_SECONDS`."""
        return num_steps * (self._seconds_per_step or 0.0) > LONG_SECONDS

    def note(self, num_steps: int, seconds: float) -> None:
        """A call of so many meta-steps took so long."""
        self._seconds_per_step = max(seconds / num_steps, 1e-9)
