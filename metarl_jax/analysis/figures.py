"""What all figures share: a canvas that needs no display, and how it is saved."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metarl_jax.core.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (
    "#1f5fa8",
    "#b0622b",
    "#2f8f4e",
    "#7a4fa3",
    "#a33b4f",
    "#4f8fa3",
    "#8a7a2f",
    "#555555",
)
"""Of the lines of a figure, in order."""


def new_figure(size: tuple[float, float]) -> "Figure":
    """Returns a figure of this width and height, in inches, drawn by Agg."""
    with _whatever_backend():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def one_panel() -> "tuple[Figure, Axes]":
    """Returns a figure of one panel."""
    figure = new_figure((6.4, 4.2))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return figure, axes


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure, in the format of the ending of its path."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format=path.suffix[1:] or "png")


def floats(values: Sequence[float | None]) -> np.ndarray:
    """Returns an array, with nan for what JSON could not hold."""
    return np.array(values, float)


@contextlib.contextmanager
def _whatever_backend() -> Iterator[None]:
    """Lets matplotlib be imported even if `MPLBACKEND` names a backend that is not installed. The setting is restored
    for users of `pyplot`; figures of this module need no backend.
    """
    is_first = "matplotlib" not in sys.modules
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib

        if is_first and wanted is not None:
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = wanted
        yield
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
