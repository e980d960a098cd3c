"""Robots as lines and circles in the plane."""

from typing import Any

import numpy as np

from metarl_jax.core.scenes import Circle, Line, Scene, Shape

SPHERE, CAPSULE = 2, 3
"""Types of geometries in MuJoCo. All others, such as the floor, are not drawn."""
TILT, HEADING = 0.45, 0.6
"""How far the ground is tilted towards the viewer, and the direction from which it is seen, in rad."""
MARGIN = 0.8


def draw_robot(system: Any, links: Any, is_planar: bool) -> Scene:
    """Draws the capsules and spheres of a robot.

    Args:
      system: of Brax.
      links: poses of the links, `pos` `[T, L, 3]` m and `rot` `[T, L, 4]`.
      is_planar: seen from the side, so that x and z are shown; else from above and aside.
    """
    model = system.mj_model
    drawn = [
        g
        for g in range(model.ngeom)
        if model.geom_type[g] in (SPHERE, CAPSULE) and model.geom_bodyid[g] > 0
    ]
    frames, reach = [], []
    for position, rotation in zip(np.asarray(links.pos), np.asarray(links.rot), strict=True):
        shapes: list[Shape] = []
        for g in drawn:
            link, radius = model.geom_bodyid[g] - 1, float(model.geom_size[g, 0])
            centre = position[link] + rotate(model.geom_pos[g], rotation[link])
            half = np.zeros(3)
            if model.geom_type[g] == CAPSULE:
                axis = rotate(np.array([0.0, 0.0, 1.0]), model.geom_quat[g])
                half = model.geom_size[g, 1] * rotate(axis, rotation[link])
            ends = [project(centre + sign * half, is_planar) for sign in (-1.0, 1.0)]
            reach += ends
            if model.geom_type[g] == SPHERE:
                shapes.append(Circle(*ends[0], radius, "accent"))
            else:
                shapes.append(Line(ends, 2.0 * radius, "agent"))
        frames.append(shapes)
    low, high = np.min(reach, axis=0) - MARGIN, np.max(reach, axis=0) + MARGIN
    bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Scene(bounds, frames, _ground(bounds, is_planar))


def project(point: np.ndarray, is_planar: bool) -> tuple[float, float]:
    """Projects a point `[3]` onto the picture."""
    x, y, z = (float(v) for v in point)
    if is_planar:
        return x, z
    along, across = (
        np.cos(HEADING) * x - np.sin(HEADING) * y,
        np.sin(HEADING) * x + np.cos(HEADING) * y,
    )
    return along, z + TILT * across


def rotate(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Rotates a vector `[3]` by a unit quaternion (w, x, y, z)."""
    w, axis = quaternion[0], quaternion[1:]
    turned = np.cross(axis, vector)
    return vector + 2.0 * (w * turned + np.cross(axis, turned))


def _ground(bounds: tuple[float, float, float, float], is_planar: bool) -> list[Shape]:
    """The ground as a line with marks at every metre, or as a net of metres."""
    left, _, right, _ = bounds
    if is_planar:
        marks = range(int(np.floor(left)), int(np.ceil(right)) + 1)
        ticks = [Line([(float(x), -0.15), (float(x), 0.0)], 0.03, "muted") for x in marks]
        return [Line([(left, 0.0), (right, 0.0)], 0.03, "muted"), *ticks]
    reach = int(np.ceil(max(abs(v) for v in bounds))) + 2
    net = range(-2 * reach, 2 * reach + 1)
    far = 2.0 * reach
    lines: list[Shape] = []
    for at in net:
        for ends in (((at, -far), (at, far)), ((-far, at), (far, at))):
            points = [project(np.array([x, y, 0.0]), False) for x, y in ends]
            lines.append(Line(points, 0.02, "ground"))
    return lines
