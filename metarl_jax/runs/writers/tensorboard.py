"""Metrics as TensorBoard's events, in the folder of a run."""

from typing import Any

from metarl_jax.runs.writers.base import Source, Writer
from metarl_jax.runs.writers.event_file import EventFile
from metarl_jax.runs.writers.scalars import scalars


class TensorBoard(Writer):
    """Appends to a file of events, which is open only during a write."""

    def __init__(self, source: Source):
        """Starts a file.

        Raises:
          WriteError: if the folder cannot be written.
        """
        super().__init__(source)
        self._events = EventFile(source.path, source.step)

    def on_chunk(self, line: dict[str, Any]) -> None:
        """Writes the numbers of the line.

        Raises:
          WriteError: if they cannot be written.
        """
        self._events.write(line["step"], scalars(line))
