"""Where the numbers of a run are written: `metrics.jsonl` and TensorBoard."""

import json
from typing import Any

import numpy as np

from metarl_jax.core.writing import append
from metarl_jax.runs.event_file import EventFile, scalars
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import finite, truncate_jsonl

SUMMED = (
    "env_steps",
    "skipped",
    "nonfinite_reset",
    "nonfinite_observation",
    "nonfinite_reward",
)
"""Metrics that are added up over the meta-steps of a chunk; all others are averaged."""


def summarize_chunk(metrics: dict[str, np.ndarray]) -> dict[str, Any]:
    """Metrics of a chunk `[meta-steps, ...]` as one object of plain numbers and lists.

    Sums of `SUMMED`; of the others, means over the meta-steps where they are finite, or nan.
    """
    return {name: _summarize(name, np.asarray(x, np.float64)) for name, x in metrics.items()}


def _summarize(name: str, values: np.ndarray) -> Any:
    if name in SUMMED:
        return int(values.sum())
    counted = np.isfinite(values)
    total = np.where(counted, values, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return (total / counted.sum(axis=0)).tolist()


class MetricsWriter:
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

    def write(self, line: dict[str, Any]) -> None:
        """Writes one object, which has a `step`.

        Raises:
          WriteError: if it cannot be written.
        """
        append(self._metrics, json.dumps(finite(line)) + "\n")
        self._events.write(line["step"], scalars(line))
