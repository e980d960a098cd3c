"""Callbacks: they follow a run while it trains, and may stop it."""

from collections.abc import Sequence
from typing import Any

from metarl_jax.runs.progress import Line, mean_line


class Callback:
    """Follows the progress of a run or a sweep. All methods are optional.

    In a sweep numbers are means over the members. Pass callbacks to `train`, `resume` or `train_sweep`; the reporter
    and the writers of metrics are callbacks too.

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

        The entry `is_best` says whether the held-out return of a single run is its highest so far. A stopped run is
        evaluated as at its end, and `resume` continues it.
        """

    def close(self) -> None:
        """Is called when training has ended or failed."""


class Together(Callback):
    """Several callbacks as one."""

    def __init__(self, callbacks: Sequence[Callback]):
        self._callbacks = callbacks

    def on_chunk(self, line: dict[str, Any]) -> None:
        for callback in self._callbacks:
            callback.on_chunk(line)

    def on_evaluation(self, line: dict[str, Any]) -> bool:
        stops = [callback.on_evaluation(line) for callback in self._callbacks]
        return any(stops)

    def close(self) -> None:
        for callback in self._callbacks:
            callback.close()


class Callbacks:
    """Calls the callbacks of the whole run or sweep, and one of each member."""

    def __init__(self, shared: Sequence[Callback], by_member: Sequence[Callback]):
        self._shared, self._by_member = shared, by_member

    def chunk(self, lines: Sequence[Line]) -> Line:
        """Passes on the metrics of a chunk, by member; returns their means."""
        for callback, line in zip(self._by_member, lines, strict=True):
            callback.on_chunk(line)
        mean = mean_line(lines)
        for callback in self._shared:
            callback.on_chunk(mean)
        return mean

    def evaluation(self, lines: Sequence[Line], *, is_best: bool) -> bool:
        """Passes on an evaluation; returns whether training is to stop."""
        stops = [
            callback.on_evaluation(line)
            for callback, line in zip(self._by_member, lines, strict=True)
        ]
        mean = mean_line(lines) | {"is_best": is_best}
        stops += [callback.on_evaluation(mean) for callback in self._shared]
        return any(stops)

    def close(self) -> None:
        """Closes all callbacks."""
        for callback in (*self._by_member, *self._shared):
            callback.close()
