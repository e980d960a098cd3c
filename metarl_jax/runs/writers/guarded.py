"""Writers whose failures do not stop training."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.writers.base import Source, Writer

Result = TypeVar("Result")
Warn = Callable[[str], None]


class Guarded(Callback):
    """Passes everything on to a writer until it raises; then reports that, and goes on without it."""

    def __init__(self, cls: type[Writer], source: Source, failed: Warn):
        """Opens the writer; `failed` receives the reason if it raises, now or later."""
        self._failed = failed
        self._writer: Writer | None = None
        self._writer = self._tried(partial(cls, source))

    def on_chunk(self, line: dict[str, Any]) -> None:
        if self._writer is not None:
            self._tried(partial(self._writer.on_chunk, line))

    def on_evaluation(self, line: dict[str, Any]) -> None:
        if self._writer is not None:
            self._tried(partial(self._writer.on_evaluation, line))

    def close(self) -> None:
        if self._writer is not None:
            self._tried(self._writer.close)

    def _tried(self, call: Callable[[], Result]) -> Result | None:
        try:
            return call()
        except Exception as error:  # Of any type: it is another library's, or a network's.
            self._writer = None
            self._failed(f"{type(error).__name__}: {error}".splitlines()[0][:300])
            return None
