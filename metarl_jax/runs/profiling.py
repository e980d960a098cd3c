"""A trace of a chunk of meta-steps, for TensorBoard and Perfetto: `metarl train --profile DIR`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from metarl_jax.core.paths import unwritable
from metarl_jax.runs.callbacks import Callback


class Profile(Callback):
    """Traces the second chunk, with what follows the first: its evaluation and its checkpoint, if they are due.

    The first chunk is left out because it differs from all others. The folder gets `plugins/profile/…`, which
    TensorBoard shows (with the plugin `tensorboard-plugin-profile`), and in it `perfetto_trace.json.gz`.
    """

    def __init__(self, path: Path, say: Callable[[str], None]):
        """Traces to the folder `path`; `say` receives a message when it is written.

        Raises:
          UserError: if the folder cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        self._path, self._say = path, say
        self._is_tracing = self._is_done = False

    def on_chunk(self, line: dict[str, Any]) -> None:
        """Starts the trace after the first chunk, and ends it after the second."""
        if self._is_tracing:
            self._end(f"up to step {line['step']}")
        elif not self._is_done:
            jax.profiler.start_trace(self._path, create_perfetto_trace=True)
            self._is_tracing = True

    def close(self) -> None:
        """Ends a trace that has begun, as where training ends with the first chunk."""
        if self._is_tracing:
            self._end("without a whole chunk: train for more than `log_every` meta-steps")

    def _end(self, what: str) -> None:
        jax.profiler.stop_trace()
        self._is_tracing, self._is_done = False, True
        self._say(f"the trace in {self._path} is {what}")
