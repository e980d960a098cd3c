"""Robots in three dimensions, and as lines and circles in the plane, seen by a camera that follows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_jax.core.scenes import Capsule, Circle, Line, Mark, Scene, Shape, Space, Text

SPHERE, CAPSULE = 2, 3
"""Types of geometries in MuJoCo. The robots have no others; the floor is not drawn."""
TILT, HEADING = 0.45, 0.6
"""How far the ground is tilted towards the viewer, and the direction from which it is seen, in rad."""
REACH = 2.5
"""Metres that are shown to either side of the robot."""
UP = np.array([0.0, 0.0, 1.0])


def mark_place(place: Any, path: np.ndarray) -> Mark:
    """Marks a place `[2]` m to reach, for a robot whose torso takes the path `[T, 2]` m."""
    return Mark("disc", np.broadcast_to(np.asarray(place, np.float64), path.shape))


def mark_heading(direction: Any, path: np.ndarray) -> Mark:
    """Marks a direction `[2]` to take, by an arrow that goes with the robot."""
    x, y = np.asarray(direction, np.float64)
    return Mark("arrow", path, float(np.arctan2(y, x)))


def mark_speed(speed: Any, path: np.ndarray, dt: float) -> Mark:
    """Marks a speed along the x axis, in m/s, by a line that goes ahead at this speed from where the robot starts.

    Args:
      speed: `[]`.
      path: `[T, 2]` m, of the torso.
      dt: seconds of a step.
    """
    ahead = path[0, 0] + float(speed) * dt * np.arange(len(path))
    return Mark("bar", np.stack([ahead, np.broadcast_to(path[0, 1], ahead.shape)], axis=-1))


def draw_robot(
    system: Any, links: Any, *, is_planar: bool, marks: Sequence[Mark], label: str
) -> Scene:
    """Draws the capsules and spheres of a robot.

    Args:
      system: of Brax.
      links: poses of the links, `pos` `[T, L, 3]` m and `rot` `[T, L, 4]`.
      is_planar: seen from the side, so that x and z are shown; else from above and aside.
      marks: what the task asks for.
      label: the task in words.
    """
    space = Space(
        capsules=capsules_of(system.mj_model),
        positions=np.asarray(links.pos, np.float64),
        rotations=np.asarray(links.rot, np.float64),
        marks=marks,
        label=label,
        is_planar=is_planar,
    )
    bounds = (-REACH, -0.6, REACH, 2.4) if is_planar else (-REACH, -1.8, REACH, 2.2)
    text = Text(-REACH + 0.1, bounds[3] - 0.25, label, 0.18)
    frames = [[*_frame(space, step), text] for step in range(len(space.positions))]
    return Scene(bounds, frames, space=space)


def capsules_of(model: Any) -> list[Capsule]:
    """Returns the capsules and spheres of a model of MuJoCo."""
    found = []
    for g in range(model.ngeom):
        kind, link = model.geom_type[g], int(model.geom_bodyid[g]) - 1
        if kind not in (SPHERE, CAPSULE) or link < 0:
            continue
        centre, half = model.geom_pos[g].astype(np.float64), np.zeros(3)
        if kind == CAPSULE:
            half = model.geom_size[g, 1] * rotate(UP, model.geom_quat[g])
        start, end = (tuple((centre + sign * half).tolist()) for sign in (-1.0, 1.0))
        color = "agent" if kind == CAPSULE else "accent"
        found.append(Capsule(link, start, end, float(model.geom_size[g, 0]), color))
    return found


def project(point: np.ndarray, is_planar: bool) -> tuple[float, float]:
    """Projects a point `[3]` onto the picture."""
    x, y, z = (float(v) for v in point)
    if is_planar:
        return x, z
    along = np.cos(HEADING) * x - np.sin(HEADING) * y
    across = np.sin(HEADING) * x + np.cos(HEADING) * y
    return float(along), float(z + TILT * across)


def rotate(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Rotates a vector `[3]` by a unit quaternion (w, x, y, z)."""
    w, axis = quaternion[0], quaternion[1:]
    turned = np.cross(axis, vector)
    return vector + 2.0 * (w * turned + np.cross(axis, turned))


def _frame(space: Space, step: int) -> list[Shape]:
    """The ground, the marks and the robot at a step, seen from its torso."""
    position, rotation, is_planar = space.positions[step], space.rotations[step], space.is_planar
    torso = position[0] * np.array([1.0, not is_planar, 0.0])
    shapes = _ground(torso, is_planar)
    for mark in space.marks:
        shapes += _mark(mark, np.append(mark.places[step], 0.0) - torso, is_planar)
    for capsule in space.capsules:
        centre, turn = position[capsule.link] - torso, rotation[capsule.link]
        ends = [
            project(centre + rotate(np.array(end), turn), is_planar)
            for end in (capsule.start, capsule.end)
        ]
        if capsule.start == capsule.end:
            shapes.append(Circle(*ends[0], capsule.radius, capsule.color))
        else:
            shapes.append(Line(ends, 2.0 * capsule.radius, capsule.color))
    return shapes


def _mark(mark: Mark, place: np.ndarray, is_planar: bool) -> list[Shape]:
    """A mark whose place `[3]` is seen from the torso."""

    def line(*points: np.ndarray) -> Line:
        return Line([project(point, is_planar) for point in points], 0.06, "goal")

    if mark.kind == "disc":
        return [Circle(*project(place, is_planar), 0.15, "goal")]
    if mark.kind == "bar":
        across = UP if is_planar else np.array([0.0, 1.0, 0.0])
        return [line(place - 0.3 * across, place + 1.2 * across)]
    ahead = np.array([np.cos(mark.heading), np.sin(mark.heading), 0.0])
    side = UP if is_planar else np.cross(UP, ahead)
    start = place - 0.35 * UP if is_planar else place
    tip = start + ahead
    barbs = [tip - 0.25 * ahead + sign * 0.15 * side for sign in (-1.0, 1.0)]
    return [line(start, tip), line(barbs[0], tip, barbs[1])]


def _ground(torso: np.ndarray, is_planar: bool) -> list[Shape]:
    """The ground around the camera, with a mark or a line at every metre."""
    if is_planar:
        left, right = -REACH, REACH
        marks = range(int(np.ceil(torso[0] + left)), int(np.floor(torso[0] + right)) + 1)
        ticks = [Line([(x - torso[0], -0.12), (x - torso[0], 0.0)], 0.03, "muted") for x in marks]
        return [Line([(left, 0.0), (right, 0.0)], 0.03, "muted"), *ticks]
    far, lines = 5.0, list[Shape]()
    for axis in (0, 1):
        low, high = int(np.ceil(torso[axis] - far)), int(np.floor(torso[axis] + far))
        for mark in range(low, high + 1):
            ends = np.zeros((2, 3))
            ends[:, axis] = mark - torso[axis]
            ends[:, 1 - axis] = -far, far
            lines.append(Line([project(end, False) for end in ends], 0.02, "ground"))
    return lines
