"""Drawings of the grids of XLand-MiniGrid."""

from typing import Any

import numpy as np

from metarl_jax.core.scenes import Circle, Color, Line, Rectangle, Scene, Shape, Text

_NAMES = "", "", "", "ball", "sq.", "pyr.", "goal", "key", "door", "door", "open", "hex", "star"
_COLOR_NAMES = "", "R", "G", "B", "P", "Y", "Gy", "Bk", "O", "W", "Br", "Pk"
_WALL, _FLOOR, _GOAL = 2, 1, 6


def draw_room(grids: Any, positions: Any, directions: Any, pockets: Any) -> Scene:
    """Draws an episode.

    Args:
      grids: `[T, H, W, 2]`, shape and colour of each cell.
      positions: `[T, 2]`, row and column of the agent.
      directions: `[T]`, up, right, down, left.
      pockets: `[T, 2]`, shape and colour of what the agent holds.
    """
    grids = np.asarray(grids)
    height, width = grids.shape[1:3]
    moves = ((0.0, 0.32), (0.32, 0.0), (0.0, -0.32), (-0.32, 0.0))
    frames = []
    for t in range(len(grids)):
        shapes: list[Shape] = [
            shape
            for row in range(height)
            for column in range(width)
            for shape in _draw_tile(grids[t, row, column], column, height - 1 - row)
        ]
        row, column = (int(x) for x in positions[t])
        x, y = column + 0.5, height - 0.5 - row
        dx, dy = moves[int(directions[t])]
        shapes += [Circle(x, y, 0.24), Line([(x, y), (x + dx, y + dy)], 0.12)]
        shapes.append(Text(0.0, -0.7, f"holds {_name(pockets[t]) or 'nothing'}", 0.45))
        frames.append(shapes)
    return Scene((0.0, -1.0, float(width), float(height)), frames)


def _draw_tile(tile: Any, x: float, y: float) -> list[Shape]:
    shape = int(tile[0])
    color: Color = "muted" if shape == _WALL else "goal" if shape == _GOAL else "ground"
    cell = Rectangle(x + 0.03, y + 0.03, 0.94, 0.94, color)
    if shape <= _WALL:
        return [cell]
    return [cell, Text(x + 0.08, y + 0.4, _name(tile), 0.28)]


def _name(tile: Any) -> str:
    shape, color = (int(x) for x in tile)
    return f"{_COLOR_NAMES[color]} {_NAMES[shape]}" if shape > _WALL else ""
