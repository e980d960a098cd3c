"""Metrics as JSON lines: `metrics.jsonl` in the folder of a run."""

import json
from typing import Any

from metarl_jax.core.writing import append
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import finite, truncate_jsonl
from metarl_jax.runs.writers.base import Source, Writer


class JsonLines(Writer):
    """Appends to `metrics.jsonl`, which is open only during a write."""

    def __init__(self, source: Source):
        """Removes lines of later steps, because these are trained again.

        Raises:
          WriteError: if the folder cannot be written.
        """
        super().__init__(source)
        self._path = RunFolder(source.path).metrics
        truncate_jsonl(self._path, source.step + 1)

    def on_chunk(self, line: dict[str, Any]) -> None:
        """Writes the line.

        Raises:
          WriteError: if it cannot be written.
        """
        append(self._path, json.dumps(finite(line)) + "\n")
