"""Suppresses the long output of Orbax and TensorStore about failures that they also raise."""

import gc
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def mute() -> Callable[[], None]:
    """Suppresses output about operations on checkpoints; returns a function that undoes this. Do not undo it after a
    failure: the abandoned operations end later, in threads of TensorStore.
    """
    previous = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.object is not None or str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    def is_not_of_orbax(record: logging.LogRecord) -> bool:
        return "orbax" not in Path(record.pathname).parts

    def is_not_of_tensorstore(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, ValueError) and re.search("OCDBT|zarr", str(error)))

    filters = {"absl": is_not_of_orbax, "asyncio": is_not_of_tensorstore}
    sys.unraisablehook = hook
    for name, keeps in filters.items():
        logging.getLogger(name).addFilter(keeps)

    def undo() -> None:
        sys.unraisablehook = previous
        for name, keeps in filters.items():
            logging.getLogger(name).removeFilter(keeps)

    return undo


def collect_abandoned() -> None:
    """Collects the coroutines of abandoned operations, about which Python would print long warnings."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    gc.collect()
    sys.unraisablehook = hook
