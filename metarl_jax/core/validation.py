"""Validation of options before compilation; bounds and choices are declared beside the fields."""

import dataclasses
import math
import types
import typing
from typing import Any, Literal

import jax
import numpy as np
from jax.core import Tracer

from metarl_jax.core.errors import UserError


def bounded(
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
) -> Any:
    """Returns a dataclass field with a default and the bounds of its value (of every entry, if it is a tuple)."""
    bounds = {"at_least": at_least, "at_most": at_most, "above": above}
    return dataclasses.field(
        default=default, metadata={name: x for name, x in bounds.items() if x is not None}
    )


def is_off(coefficient: Any) -> bool:
    """Whether a weight is known to be zero; a traced weight may have any value, so it is not."""
    return isinstance(coefficient, int | float) and coefficient == 0


def check_fields(config: Any, prefix: str = "") -> None:
    """Checks type, choice and bounds of every concrete field of a dataclass, and of the dataclasses in it.

    Tracers and arrays, which a sweep substitutes for floats, are not checked.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_fields(value, f"{name}.")
            continue
        if isinstance(value, jax.Array | np.ndarray):
            hint = hints[field.name]
            if float not in (hint, *typing.get_args(hint)):
                raise UserError(
                    f"{name} must be a plain value: only floats may be arrays or tracers"
                )
            if isinstance(value, Tracer) or value.ndim:
                continue
            value = float(value)
        _check_type(name, value, hints[field.name])
        for entry in value if isinstance(value, tuple) else (value,):
            if entry is not None:
                _check_bounds(name, entry, field.metadata)


def _check_type(name: str, value: Any, hint: Any) -> None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if any(_matches(value, option) for option in options):
        return
    choices = [
        repr(c) for o in options if typing.get_origin(o) is Literal for c in typing.get_args(o)
    ]
    if choices:
        raise UserError(f"{name}={value!r} must be one of {', '.join(choices)}")
    wanted = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise UserError(f"{name}={value!r} must be of type {wanted}, not {type(value).__name__}")


def _matches(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is tuple:
        entry = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_matches(x, entry) for x in value)
    if hint is float:
        return isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _check_bounds(name: str, value: Any, bounds: typing.Mapping[str, Any]) -> None:
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        raise UserError(f"{name}={value} must be finite")
    if "at_least" in bounds and value < bounds["at_least"]:
        raise UserError(f"{name}={value} must be at least {bounds['at_least']}")
    if "above" in bounds and value <= bounds["above"]:
        raise UserError(f"{name}={value} must be above {bounds['above']}")
    if "at_most" in bounds and value > bounds["at_most"]:
        raise UserError(f"{name}={value} must be at most {bounds['at_most']}")
