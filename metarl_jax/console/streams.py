"""Output streams whose failure does not end training, as with a closed pipe or a full disk."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import IO, Any


class Unfailing:
    """A text stream that drops what it is given once a write has failed."""

    def __init__(self, stream: IO[str]):
        self._stream = stream
        self._failed = False

    def write(self, text: str) -> int:
        """Writes the text, if that is still possible; returns its length."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, if that is still possible."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            action()
        except UnicodeError:
            raise
        except (OSError, ValueError):  # A ValueError where the stream was closed.
            self._failed = True
            if self._stream in (sys.__stdout__, sys.__stderr__):
                # Python flushes what is left in the buffer at exit, and must not fail then.
                with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
