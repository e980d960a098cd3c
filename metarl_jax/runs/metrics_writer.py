"""Writes the metrics of a run to `metrics.jsonl` and TensorBoard."""

import json
from typing import Any

from metarl_jax.core.writing import append
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.event_file import EventFile, scalars
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import finite, truncate_jsonl


class MetricsWriter(Callback):
    """Appends to `metrics.jsonl` and to TensorBoard's events.

    Files are open only during a write, so that a sweep may have any number of members. The calling thread writes, so
    that a failed write raises at once.
    """

    def __init__(self, folder: RunFolder, step: int):
        """Continues after meta-step `step`; lines of later steps are removed, because these are trained again.

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
