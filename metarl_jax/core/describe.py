"""Descriptions of values, for messages about the return values of a user's code."""

from typing import Any

import jax
import numpy as np

LONGEST = 60
"""Characters of a value that a message quotes."""


def describe(value: Any) -> str:
    """Describes a value, as in `a float32 array of shape (1,)`, `the float 0.0` or `a tuple of 3`."""
    if value is None:
        return "None"
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct | np.ndarray):
        kind = "NumPy array" if isinstance(value, np.ndarray) else "array"
        return f"{_article(str(value.dtype))} {kind} of shape {value.shape}"
    if isinstance(value, bool | int | float | complex | str | np.generic):
        name = type(value).__name__
        return f"the {f'np.{name}' if isinstance(value, np.generic) else name} {_short(value)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value) in (tuple, list, dict, set):
        return f"a {type(value).__name__} of {len(value)}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    return f"{_article(type(value).__name__)} instance"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeioAEIO' else 'a'} {word}"


def _short(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
