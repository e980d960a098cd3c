"""Robots as lines and circles in the plane, seen by a camera that follows them."""

from typing import Any

import numpy as np

from metarl_jax.core.scenes import Circle, Line, Scene, Shape, Text

SPHERE, CAPSULE = 2, 3
"""Types of geometries in MuJoCo. All others, such as the floor, are not drawn."""
TILT, HEADING = 0.45, 0.6
"""How far the ground is tilted towards the viewer, and the direction from which it is seen, in rad."""
REACH = 2.5
"""Metres that are shown to either side of the robot."""


def draw_robot(
    system: Any, links: Any, *, is_planar: bool, goal: np.ndarray | None, label: str
) -> Scene:
    """Draws the capsules and spheres of a robot.

    Args:
      system: of Brax.
      links: poses of the links, `pos` `[T, L, 3]` m and `rot` `[T, L, 4]`.
      is_planar: seen from the side, so that x and z are shown; else from above and aside.
      goal: a place on the ground to mark, `[2]` m; None without one.
      label: the task in words.
    """
    bounds = (-REACH, -0.6, REACH, 2.4) if is_planar else (-REACH, -1.8, REACH, 2.2)
    positions, rotations = np.asarray(links.pos), np.asarray(links.rot)
    frames = []
    for position, rotation in zip(positions, rotations, strict=True):
        torso = position[0] * np.array([1.0, not is_planar, 0.0])
        shapes = _ground(torso, is_planar)
        if goal is not None:
            place = np.array([goal[0], goal[1], 0.0])
            shapes.append(Circle(*project(place - torso, is_planar), 0.15, "goal"))
        shapes += _body(system.mj_model, position - torso, rotation, is_planar)
        shapes.append(Text(-REACH + 0.1, bounds[3] - 0.25, label, 0.18))
        frames.append(shapes)
    return Scene(bounds, frames)


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


def _body(model: Any, position: np.ndarray, rotation: np.ndarray, is_planar: bool) -> list[Shape]:
    """The geometries of all links, whose poses are `[L, 3]` and `[L, 4]`."""
    shapes: list[Shape] = []
    for g in range(model.ngeom):
        kind, link = model.geom_type[g], model.geom_bodyid[g] - 1
        if kind not in (SPHERE, CAPSULE) or link < 0:
            continue
        radius = float(model.geom_size[g, 0])
        centre = position[link] + rotate(model.geom_pos[g], rotation[link])
        if kind == SPHERE:
            shapes.append(Circle(*project(centre, is_planar), radius, "accent"))
            continue
        axis = rotate(np.array([0.0, 0.0, 1.0]), model.geom_quat[g])
        half = model.geom_size[g, 1] * rotate(axis, rotation[link])
        ends = [project(centre + sign * half, is_planar) for sign in (-1.0, 1.0)]
        shapes.append(Line(ends, 2.0 * radius, "agent"))
    return shapes


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
