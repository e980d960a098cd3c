"""Drawings that several families share: grids, and points that walk in the plane."""

from collections.abc import Sequence
from typing import Any

from metarl_jax.core.scenes import Circle, Color, Line, Rectangle, Scene, Shape


def grid(size: int, cells: Any, marks: Sequence[tuple[Any, Color]]) -> Scene:
    """Draws a walk over a square grid.

    Args:
      size: cells along a side.
      cells: `[T, 2]`, where the agent is.
      marks: cells `[2]` to be filled, each with a colour.
    """
    background: list[Shape] = [
        Rectangle(x + 0.04, y + 0.04, 0.92, 0.92, "ground")
        for x in range(size)
        for y in range(size)
    ]
    for (x, y), color in marks:
        background.append(Rectangle(float(x) + 0.04, float(y) + 0.04, 0.92, 0.92, color))
    centres = [(float(x) + 0.5, float(y) + 0.5) for x, y in cells]
    frames = [
        [Line(centres[: t + 1], 0.08, "trace"), Circle(*centres[t], 0.28)]
        for t in range(len(centres))
    ]
    return Scene((0.0, 0.0, float(size), float(size)), frames, background)


def walk(
    positions: Any,
    goal: Any,
    bounds: tuple[float, float, float, float],
    radius: float,
) -> Scene:
    """Draws a point that walks to a goal.

    Args:
      positions: `[T, 2]`.
      goal: `[2]`.
      bounds: of the scene.
      radius: of the goal.
    """
    size = bounds[2] - bounds[0]
    points = [(float(x), float(y)) for x, y in positions]
    frames = [
        [Line(points[: t + 1], 0.006 * size, "trace"), Circle(*points[t], 0.02 * size)]
        for t in range(len(points))
    ]
    return Scene(bounds, frames, [Circle(float(goal[0]), float(goal[1]), radius, "goal")])
