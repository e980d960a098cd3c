"""A self-contained HTML page that plays episodes side by side."""

import base64
import dataclasses
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from metarl_jax.core.scenes import COLORS, Circle, Line, Mark, Rectangle, Scene, Shape, Space, Text
from metarl_jax.viewer.episodes import Episode

PARTS_PER_METRE, PARTS_PER_UNIT = 8192, 32767
"""Poses are integers of 16 bits: positions of links, relative to the torso, and entries of quaternions."""
MAX_ENTRIES = 32
"""Entries of what a learner says of itself that are shown."""
ROBOTS = ("vendor/three.min.js", "robots.js")
"""The scripts that draw in three dimensions; a page without robots does without them."""


def make_page(tasks: Sequence[Sequence[Episode]], title: str, subtitle: str, unit: str) -> str:
    """Returns the page: a row for each task, with its episodes side by side, and controls to play them.

    Episodes that have a `Scene.space` are shown in three dimensions, all others in the plane.

    Args:
      tasks: the episodes of each task.
      title, subtitle: for the head of the page.
      unit: what a round is called.
    """
    sizes = _largest(tasks)
    data = {
        "colors": COLORS,
        "tasks": [[_episode(episode, unit, sizes) for episode in episodes] for episodes in tasks],
    }
    has_robots = any(episode.scene.space for episodes in tasks for episode in episodes)
    scripts = "".join(f"<script>{_read(name)}</script>\n" for name in ROBOTS if has_robots)
    filled = {
        "TITLE": html.escape(title),
        "SUBTITLE": html.escape(subtitle),
        "SCRIPTS": scripts,
        "DATA": json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
    }
    first, *others = _read("page.html").split("{{")
    return first + "".join(
        filled[name] + rest for name, rest in (part.split("}}", 1) for part in others)
    )


def _read(name: str) -> str:
    return resources.files("metarl_jax.viewer").joinpath(name).read_text(encoding="utf-8")


def _largest(tasks: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """Returns the largest size of what learners say of themselves, by name, over all episodes."""
    found: dict[str, float] = {}
    for episode in (episode for episodes in tasks for episode in episodes):
        for name, values in episode.described.items():
            found[name] = max(found.get(name, 0.0), float(np.abs(values).max(initial=0.0)))
    return found


def _episode(episode: Episode, unit: str, sizes: dict[str, float]) -> dict[str, Any]:
    space = episode.scene.space
    return {
        "title": episode.title(unit),
        "total": episode.total,
        "rewards": episode.rewards,
        "strips": [_strip(name, values, sizes[name]) for name, values in episode.described.items()],
        **({"scene": _scene(episode.scene)} if space is None else {"space": _space(space)}),
    }


def _strip(name: str, values: np.ndarray, largest: float) -> dict[str, Any]:
    """Returns numbers `[T, Z]` as integers of 8 bits, in units of 1/127 of the largest."""
    shown = np.asarray(values, np.float64).reshape(len(values), -1)[:, :MAX_ENTRIES]
    whole = np.nan_to_num(shown / (largest or 1.0) * 127).round().clip(-127, 127).astype(np.int8)
    return {
        "name": name,
        "entries": shown.shape[1],
        "largest": float(f"{largest:.3g}"),
        "values": _as_text(whole),
    }


def _as_text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _space(space: Space) -> dict[str, Any]:
    """Returns an episode in three dimensions; `poses` is `[T, L, 7]`, relative to the torso's `path` `[T, 3]`."""
    path = space.positions[:, 0].round(3)
    relative = space.positions - path[:, None]
    poses = np.concatenate([relative * PARTS_PER_METRE, space.rotations * PARTS_PER_UNIT], axis=-1)
    whole = poses.round().clip(-32768, 32767).astype("<i2")
    return {
        "capsules": [
            [c.link, *map(_short, (*c.start, *c.end, c.radius)), c.color] for c in space.capsules
        ],
        "scales": [PARTS_PER_METRE, PARTS_PER_UNIT],
        "path": path.tolist(),
        "poses": _as_text(whole),
        "marks": [_mark(mark) for mark in space.marks],
        "label": space.label,
        "planar": space.is_planar,
    }


def _mark(mark: Mark) -> dict[str, Any]:
    places = np.asarray(mark.places).round(3)
    stays = bool((places == places[0]).all())
    return {
        "kind": mark.kind,
        "places": (places[:1] if stays else places).tolist(),
        "heading": _short(mark.heading),
    }


def _scene(scene: Scene) -> dict[str, Any]:
    """Returns an episode in the plane.

    Frames are indices of `shapes`, where each is stored once. A line that grows from frame to frame, such as the path
    of an agent, is stored as it is in the last frame; before, it is `["g", I, P]`, the first P points of shape I.
    """
    shapes: list[list[Any]] = []
    known: dict[str, int] = {}

    def index_of(shape: list[Any]) -> int:
        index = known.setdefault(str(shape), len(shapes))
        if index == len(shapes):
            shapes.append(shape)
        return index

    *before, last = [[_shape(shape) for shape in frame] for frame in scene.frames]
    for frame in before:
        for place, (shape, final) in enumerate(zip(frame, last, strict=False)):
            if shape[0] == final[0] == "l" and _grows_to(shape, final):
                frame[place] = ["g", index_of(final), len(shape[1]) // 2]
    return {
        "bounds": [_short(x) for x in scene.bounds],
        "background": [_shape(shape) for shape in scene.background],
        "frames": [[index_of(shape) for shape in frame] for frame in (*before, last)],
        "shapes": shapes,
    }


def _grows_to(line: list[Any], last: list[Any]) -> bool:
    """Whether a line is the beginning of another one."""
    return line[2:] == last[2:] and line[1] == last[1][: len(line[1])]


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
