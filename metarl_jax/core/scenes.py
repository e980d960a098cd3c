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
class Scene:
    """An episode in the plane.

    Attributes:
      bounds: of what is shown: left, bottom, right, top. y points up.
      frames: the shapes of each step.
      background: shapes of all steps, drawn first.
    """

    bounds: tuple[float, float, float, float]
    frames: Sequence[Sequence[Shape]]
    background: Sequence[Shape] = ()
