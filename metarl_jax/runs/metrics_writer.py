"""Where the numbers of a run are written: `metrics.jsonl` and TensorBoard."""

import json
from typing import Any

from metarl_jax.core.writing import append
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.event_file import EventFile, scalars
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import finite, truncate_jsonl


class MetricsWriter(Callback):
    """Appends to `metrics.jsonl` and to TensorBoard's events.

    Both are open during a write only, so that a sweep may have any number of members, and are
    written by the caller's own thread, so that a write that fails is an error at once.
    """

    def __init__(self, folder: RunFolder, step: int):
        """Goes on after meta-step `step`: lines of later ones, which come again, are dropped.

        Raises:
          WriteError: if the folder cannot be written.
        """
        truncate_jsonl(folder.metrics, step + 1)
        self._metrics = folder.metrics
        self._events = EventFile(folder.path, step)

    def on_chunk(self, line: dict[str, Any]) -> None:
        """Writes the line, which has a `step`.

        Raises:
          WriteError: if it cannot be written.
        """
        append(self._metrics, json.dumps(finite(line)) + "\n")
        self._events.write(line["step"], scalars(line))

    on_evaluation = on_chunk
