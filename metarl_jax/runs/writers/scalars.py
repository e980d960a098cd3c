"""The numbers of a line of metrics, by name."""

import math
from collections.abc import Iterator, Sequence
from typing import Any


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """Returns the finite numbers of a line of metrics by tag, without its `step`. A list by round becomes
    `name/round_1` and so on, with `/low` and `/high` for intervals.
    """
    return dict(pair for name, x in line.items() if name != "step" for pair in _tagged(name, x))


def _tagged(name: str, value: Any, parts: Sequence[str] = ()) -> Iterator[tuple[str, float]]:
    if isinstance(value, list):
        parts = parts or [f"round_{index + 1}" for index in range(len(value))]
        for part, entry in zip(parts, value, strict=True):
            is_interval = isinstance(entry, list) and len(entry) == 2 and "ci95" in name
            yield from _tagged(f"{name}/{part}", entry, ("low", "high") if is_interval else ())
    elif isinstance(value, int | float) and math.isfinite(value):
        yield name, value
