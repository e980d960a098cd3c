"""A self-contained HTML page that plays episodes side by side."""

import dataclasses
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from metarl_jax.core.scenes import COLORS, Circle, Line, Rectangle, Scene, Shape, Text
from metarl_jax.viewer.episodes import Episode


def make_page(tasks: Sequence[Sequence[Episode]], title: str, subtitle: str, unit: str) -> str:
    """Returns the page: a row for each task, with its episodes side by side, and controls to play them.

    Args:
      tasks: the episodes of each task.
      title, subtitle: for the head of the page.
      unit: what a round is called.
    """
    data = {
        "unit": unit,
        "colors": COLORS,
        "tasks": [[_episode(episode) for episode in episodes] for episodes in tasks],
    }
    template = resources.files("metarl_jax.viewer").joinpath("page.html").read_text()
    content = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    for name, text in (("TITLE", html.escape(title)), ("SUBTITLE", html.escape(subtitle))):
        template = template.replace(f"{{{{{name}}}}}", text)
    return template.replace("{{DATA}}", content)


def _episode(episode: Episode) -> dict[str, Any]:
    return {
        "round": episode.round,
        "total": episode.total,
        "rewards": episode.rewards,
        "scene": _scene(episode.scene),
    }


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "bounds": [_short(x) for x in scene.bounds],
        "background": [_shape(shape) for shape in scene.background],
        "frames": [[_shape(shape) for shape in frame] for frame in scene.frames],
    }


def _shape(shape: Shape) -> list[Any]:
    """Returns a shape as a list, which begins with its kind."""
    match shape:
        case Circle():
            return ["c", _short(shape.x), _short(shape.y), _short(shape.radius), shape.color]
        case Rectangle():
            sides = (shape.x, shape.y, shape.width, shape.height)
            return ["r", *map(_short, sides), shape.color]
        case Line():
            points = [_short(x) for point in shape.points for x in point]
            return ["l", points, _short(shape.width), shape.color]
        case Text():
            return ["t", _short(shape.x), _short(shape.y), shape.text, shape.height, shape.color]
    raise TypeError(f"{dataclasses.asdict(shape)} is no shape")


def _short(value: float) -> float:
    return round(float(value), 4)
