"""Grids: the points of a sweep as every combination of values of float fields."""

import dataclasses
import itertools
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.ranges import parse_range
from metarl_jax.core.registry import suggestion

Axis = tuple[str, tuple[float, ...]]
"""The dotted name of a float field of a configuration, and the values to try."""


def grid_points(axes: Sequence[Axis]) -> list[dict[str, float]]:
    """Returns every combination of the values of these fields, the last field changing fastest.

    Raises:
      UserError: if a field is named twice, or a value of it.
    """
    names = [name for name, _ in axes]
    for name, values in axes:
        if len(set(values)) < len(values) or names.count(name) > 1:
            raise UserError(
                f"grid field {name!r} or one of its values is given twice: give each once"
            )
    combinations = itertools.product(*(values for _, values in axes))
    return [dict(zip(names, values, strict=True)) for values in combinations]


def parse_axis(config: Config, text: str) -> Axis:
    """Parses `learner.inner-lr=0.03,0.1` into a name and its values; bounds are not checked.

    Raises:
      UserError: for a malformed text, an unknown field (with the nearest one), a field that is not a float, or an
        interval.
    """
    name, values = split_assignment(text, "grid", "FIELD=VALUE,VALUE,…: learner.inner-lr=0.03,0.1")
    check_field(config, name)
    choices = parse_range(values, name).choices
    if not choices:
        raise UserError(
            f"grid={text!r} is an interval, and a grid needs values with commas between; `metarl search --space "
            f"{text}` searches an interval"
        )
    return name, choices


def split_assignment(text: str, option: str, form: str) -> tuple[str, str]:
    """Splits `learner.inner-lr=VALUES` into the dotted name of a field, and the values.

    Raises:
      UserError: if it has another form than `form`.
    """
    name, equals, values = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not equals or not name:
        raise UserError(f"{option}={text!r} must be {form}")
    return name, values


def check_field(config: Config, name: str) -> None:
    """Raises `UserError` unless `name` is a float field of the configuration, or of a part of it."""
    hint = field_type(config, name)
    if float not in (hint, *typing.get_args(hint)):
        kind = getattr(hint, "__name__", str(hint))
        raise UserError(
            f"swept field {name!r} is of type {kind}: one program can sweep floats only; train it "
            "once for each value"
        )


def field_type(config: Config, name: str) -> Any:
    """Returns the declared type of a field; raises `UserError` with the nearest name if there is no such field."""
    hints = dict(_leaves(config))
    if name not in hints:
        near = [known for known in hints if known.endswith(f".{name}")]
        hint = f"; did you mean {near[0]!r}?" if near else suggestion(name, list(hints))
        raise UserError(f"swept field {name!r} is unknown{hint or '; see --help'}")
    return hints[name]


def set_field(config: Any, name: str, value: Any) -> Any:
    """Returns the configuration with another value in the field of this dotted name."""
    first, _, rest = name.partition(".")
    if rest:
        value = set_field(getattr(config, first), rest, value)
    return dataclasses.replace(config, **{first: value})


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Returns dotted names and types of all fields that are not configurations themselves."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, hints[field.name]
