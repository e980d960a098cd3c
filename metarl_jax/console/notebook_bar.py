"""A progress bar in a notebook, of HTML alone: it needs IPython, which is there, and no widgets."""

import html
import time
from typing import Any

SECONDS_BETWEEN_UPDATES = 0.2
"""A browser is sent no more than this; the last step is always shown."""


class NotebookBar:
    """A bar below the cell that runs, with the methods of `rich.progress.Progress` that progress of a run needs."""

    def __init__(self, description: str, *, total: int, completed: int):
        from IPython.display import HTML, display

        self._html, self._total = HTML, total
        self._status, self._updated = "", time.monotonic()
        self._handle: Any = display(HTML(self._draw(completed, description)), display_id=True)

    def update(self, task: Any, *, completed: int, description: str, x: str | None = None) -> None:
        """Shows another position; `x` is the text beside it, as before when not given."""
        del task
        self._status = self._status if x is None else x
        now = time.monotonic()
        if now - self._updated < SECONDS_BETWEEN_UPDATES and completed < self._total:
            return
        self._updated = now
        if self._handle is not None:  # there is none where nothing displays
            self._handle.update(self._html(self._draw(completed, description)))

    def _draw(self, completed: int, description: str) -> str:
        text = html.escape(f"{description} {self._status}".strip())
        return f'<progress value="{completed}" max="{self._total}"></progress> {text}'
