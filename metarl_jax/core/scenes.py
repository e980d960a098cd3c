"""Pictures of episodes as plain data: what an environment returns from `render`, and viewers draw.

```python
def render(self, task, states):
    frames = [[Circle(x, y, 0.03)] for x, y in states.observation.tolist()]
    return Scene((-1.0, -1.0, 1.0, 1.0), frames, background=[Circle(*task.tolist(), 0.05, "goal")])
```
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

Color = Literal["agent", "goal", "trace", "good", "bad", "accent", "muted", "ground", "text"]
"""The role of a shape, for which a viewer has a colour."""

COLORS: dict[str, str] = {
    "agent": "#1f5fa8",
    "goal": "#2f8f4e",
    "trace": "#9db8d6",
    "good": "#2f8f4e",
    "bad": "#b03a48",
    "accent": "#d08a2b",
    "muted": "#b9bec6",
    "ground": "#e9ecf0",
    "text": "#7a8390",
}


@dataclasses.dataclass(frozen=True)
class Circle:
    """A filled circle around (x, y)."""

    x: float
    y: float
    radius: float
    color: Color = "agent"


@dataclasses.dataclass(frozen=True)
class Rectangle:
    """A filled rectangle, whose lower left corner is (x, y)."""

    x: float
    y: float
    width: float
    height: float
    color: Color = "muted"


@dataclasses.dataclass(frozen=True)
class Line:
    """A line through points, of a width in the units of the scene."""

    points: Sequence[tuple[float, float]]
    width: float
    color: Color = "agent"


@dataclasses.dataclass(frozen=True)
class Text:
    """A word whose left end is at (x, y), of a height in the units of the scene."""

    x: float
    y: float
    text: str
    height: float
    color: Color = "text"


Shape = Circle | Rectangle | Line | Text


@dataclasses.dataclass(frozen=True)
class Capsule:
    """The points within `radius` m of a segment that is fixed to a link of a robot; a ball where its ends are equal.

    Attributes:
      link: index of the link.
      start, end: of the segment, in m, in the frame of the link.
      radius: in m.
      color: its role.
    """

    link: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    color: Color = "agent"


@dataclasses.dataclass(frozen=True)
class Mark:
    """What a task asks for, as a mark on the ground.

    Attributes:
      kind: `disc`, a place to reach; `arrow`, a direction to take; `bar`, a line across the x axis to keep up with.
      places: `[T, 2]` m, where it is at each step.
      heading: of an arrow, in rad from the x axis.
    """

    kind: Literal["disc", "arrow", "bar"]
    places: np.ndarray
    heading: float = 0.0


@dataclasses.dataclass(frozen=True)
class Space:
    """An episode of a robot in three dimensions, in m. z points up, and the ground is at z = 0.

    Attributes:
      capsules: of which the robot is made.
      positions: `[T, L, 3]`, of its links in the world. Link 0 is the torso, which the camera follows.
      rotations: `[T, L, 4]`, of its links, unit quaternions (w, x, y, z).
      marks: what the task asks for.
      label: the task in words.
      is_planar: whether the robot moves in the plane of x and z alone, and is first seen from the side.
    """

    capsules: Sequence[Capsule]
    positions: np.ndarray
    rotations: np.ndarray
    marks: Sequence[Mark] = ()
    label: str = ""
    is_planar: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """An episode in the plane.

    Attributes:
      bounds: of what is shown: left, bottom, right, top. y points up.
      frames: the shapes of each step.
      background: shapes of all steps, drawn first.
      space: the same episode in three dimensions, for viewers that can show it.
    """

    bounds: tuple[float, float, float, float]
    frames: Sequence[Sequence[Shape]]
    background: Sequence[Shape] = ()
    space: Space | None = None
