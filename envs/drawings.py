"""Drawings that several families share: grids, points that walk in the plane, and choices over a trial."""

from collections.abc import Sequence
from typing import Any

import numpy as np

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


TABLE_WIDTH, ROW = 20.0, 1.0
"""Size of the table of `choices`, whatever the number of steps, and of one of its rows."""


def choices(
    actions: np.ndarray,
    rewards: np.ndarray,
    values: np.ndarray,
    *,
    visited: tuple[np.ndarray, int] | None = None,
    length: int = 1,
) -> Scene:
    """Draws the discrete actions of a trial, one row for each action, from left to right.

    A choice is green if its reward is above the middle between the least and the greatest of the trial, and red
    otherwise. A bar to the left of a row shows what the action is worth, the best one in green.

    Args:
      actions: `[S]` integers.
      rewards: `[S]`.
      values: `[A]`, from 0 to 1, what each action is worth; zeros draw no bars.
      visited: the states `[S]`, and how many there are, drawn above as a path; None where there is nothing to see.
      length: steps of an episode; a line separates episodes of more than one.
    """
    num_steps, num_actions = len(actions), len(values)
    width = TABLE_WIDTH / num_steps
    across = [(step + 0.5) * width for step in range(num_steps)]
    base = ROW * (num_actions + 1)
    top = base + 0.5 * ROW * visited[1] if visited else ROW * num_actions
    background: list[Shape] = [Rectangle(0.0, 0.0, TABLE_WIDTH, top, "ground")]
    has_values = bool(np.any(values))
    for row, value in enumerate(np.asarray(values, np.float64) if has_values else ()):
        color = "goal" if value == values.max() else "muted"
        background.append(Rectangle(-4.0, (row + 0.1) * ROW, 3.6 * float(value), 0.8 * ROW, color))
    middle = 0.5 * (float(rewards.max()) + float(rewards.min())) if len(set(rewards)) > 1 else 0.0
    radius = 0.4 * min(width, ROW)
    for x, action, reward in zip(across, actions.tolist(), rewards.tolist(), strict=True):
        color = "good" if reward > middle else "bad"
        background.append(Circle(x, (action + 0.5) * ROW, radius, color))
    if visited is not None:
        states = visited[0].tolist()
        path = [(x, base + 0.5 * ROW * (s + 0.5)) for x, s in zip(across, states, strict=True)]
        for first in range(0, num_steps, length):
            background.append(Line(path[first : first + length], 0.12, "agent"))
    if length > 1:
        for first in range(length, num_steps, length):
            x = first * width
            background.append(Line([(x, 0.0), (x, top)], 0.05, "text"))
    # What is still to come is covered.
    frames = [
        [Rectangle((step + 1) * width, 0.0, TABLE_WIDTH - (step + 1) * width, top, "ground")]
        for step in range(num_steps)
    ]
    return Scene(
        (-4.2 if has_values else -0.3, -0.3, TABLE_WIDTH + 0.2, top + 0.3), frames, background
    )
