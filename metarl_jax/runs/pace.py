"""Chooses the number of meta-steps of a compiled call."""

TARGET_SECONDS = 4.0
"""Target for the longest duration of a call, in seconds; signals are handled between calls."""
LONG_SECONDS = 1.0
"""Calls expected to take at least this many seconds run with a copy of the state, so that they can be abandoned."""


class Pace:
    """Chooses the number of meta-steps of a call from the duration of the last call; the first call takes one."""

    def __init__(self):
        self._seconds_per_step: float | None = None

    def num_steps(self, left: int) -> int:
        """Returns how many of the `left` meta-steps the next call takes, at least one."""
        if self._seconds_per_step is None:
            return 1
        return max(1, min(left, int(TARGET_SECONDS / self._seconds_per_step)))

    def is_long(self, num_steps: int) -> bool:
        """Whether a call of this many meta-steps is expected to take longer than `LONG_SECONDS`."""
        return num_steps * (self._seconds_per_step or 0.0) > LONG_SECONDS

    def note(self, num_steps: int, seconds: float) -> None:
        """Records the duration of a call."""
        self._seconds_per_step = max(seconds / num_steps, 1e-9)
