"""JSON files: one value, or one object with a `step` on every line."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from metarl_jax.config import FormatError
from metarl_jax.core.errors import UserError
from metarl_jax.core.writing import write_text

Result = TypeVar("Result")


def write_json(path: Path, values: Any) -> None:
    """Writes JSON atomically: `path` holds either its old content or all of `values`."""
    write_text(path, json.dumps(finite(values), indent=2) + "\n")


def finite(values: Any) -> Any:
    """Replaces floats that JSON lacks (nan, ±inf) by None."""
    if isinstance(values, dict):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values


def read_json(path: Path, from_values: Callable[[Any], Result]) -> Result:
    """Reads a JSON file and converts it by `from_values`; raises `UserError` if that fails."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it") from error
    try:
        return from_values(values)
    except FormatError as error:
        raise UserError(f"{path} was {error}") from error
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} does not describe a run ({error}): restore it, or what it names"
        ) from error


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a file with one per line, each with a `step`; none if there is no such file. Incomplete
    lines are left out.
    """
    text = path.read_text(errors="replace") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines() if _step_of(line) < math.inf]


def ends_with_line(path: Path) -> bool:
    """Whether a file ends with a whole line; true if there is no such file, or nothing in it."""
    content = path.read_bytes() if path.is_file() else b""
    return not content or content.endswith(b"\n")


def truncate_jsonl(path: Path, step: int) -> None:
    """Removes from a file of objects the lines of this `step` or later, and incomplete lines."""
    if not path.exists():
        return
    lines = path.read_text(errors="replace").splitlines()
    kept = [line for line in lines if _step_of(line) < step]
    if len(kept) < len(lines):
        write_text(path, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    """Returns the step of a line; infinity for an incomplete one."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
