"""Callbacks: they follow a run while it trains, and may stop it."""

from collections.abc import Sequence
from typing import Any

from metarl_jax.runs.progress import Line, mean_line


class Callback:
    """Is told how a run goes, or a sweep. Every method may be left as it is.

    In a sweep numbers are means over the members. Pass callbacks to `train`, `resume` or `train_sweep`; the reporter
    and the writer of metrics are callbacks too.

    Example:
      class StopAt(Callback):
          def on_evaluation(self, line):
              return line["held_out_return"] > -2.5

      train(config, "runs/mine", callbacks=[StopAt()])
    """

    def on_chunk(self, line: dict[str, Any]) -> None:
        """Gets the metrics of a chunk of meta-steps, as in a line of `metrics.jsonl`."""

    def on_evaluation(self, line: dict[str, Any]) -> bool | None:
        """Gets a held-out evaluation, as in a line of `metrics.jsonl`; returns true to stop training there.

        `is_best` is in the line too: whether the held-out return of a single run is higher than ever before.

        A run that was stopped is evaluated as at its end, and `resume` goes on with it.
        """

    def close(self) -> None:
        """Training has ended, or failed."""


class Callbacks:
    """Calls the callbacks of the whole run or sweep, and one of each member."""

    def __init__(self, shared: Sequence[Callback], by_member: Sequence[Callback]):
        self._shared, self._by_member = shared, by_member

    def chunk(self, lines: Sequence[Line]) -> Line:
        """Tells of a chunk, with the line of each member; returns the means of the lines."""
        for callback, line in zip(self._by_member, lines, strict=True):
            callback.on_chunk(line)
        mean = mean_line(lines)
        for callback in self._shared:
            callback.on_chunk(mean)
        return mean

    def evaluation(self, lines: Sequence[Line], *, is_best: bool) -> bool:
        """Tells of an evaluation; returns whether training is to stop."""
        stops = [
            callback.on_evaluation(line)
            for callback, line in zip(self._by_member, lines, strict=True)
        ]
        mean = mean_line(lines) | {"is_best": is_best}
        stops += [callback.on_evaluation(mean) for callback in self._shared]
        return any(stops)

    def close(self) -> None:
        """Tells that training has ended."""
        for callback in (*self._by_member, *self._shared):
            callback.close()
