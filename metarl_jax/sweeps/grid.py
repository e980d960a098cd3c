"""Float hyperparameters by their dotted names: `learner.inner_lr`, with the values that a sweep tries."""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion

Grid = tuple[tuple[str, tuple[float, ...]], ...]
"""Dotted names of float fields of a configuration, each with the values to combine."""


def parse_axis(config: Config, text: str) -> tuple[str, tuple[float, ...]]:
    """`learner.inner-lr=0.03,0.1` as a name and its values; the values are not checked against their bounds.

    Raises:
      UserError: for another form, an unknown field (with the nearest one), or one that is no float.
    """
    name, equals, values = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not equals or not name:
        raise UserError(f"grid={text!r} must be FIELD=VALUE,VALUE,…: learner.inner-lr=0.03,0.1")
    check_axis(config, name)
    try:
        return name, tuple(float(value) for value in values.split(","))
    except ValueError as error:
        raise UserError(
            f"grid={text!r}: {values!r} must be numbers with commas between: {name}=0.03,0.1"
        ) from error


def check_axis(config: Config, name: str) -> None:
    """Raises `UserError` unless `name` is a float field of the configuration, or of a part of it."""
    hints = dict(_leaves(config))
    if name not in hints:
        near = [known for known in hints if known.endswith(f".{name}")]
        hint = f"; did you mean {near[0]!r}?" if near else suggestion(name, list(hints))
        raise UserError(f"grid field {name!r} is unknown{hint or '; see --help'}")
    if float not in (hints[name], *typing.get_args(hints[name])):
        kind = getattr(hints[name], "__name__", str(hints[name]))
        raise UserError(
            f"grid field {name!r} is of type {kind}: one program can sweep floats only; train it "
            "once for each value"
        )


def set_field(config: Any, name: str, value: Any) -> Any:
    """The configuration with another value in the field of this dotted name."""
    first, _, rest = name.partition(".")
    if rest:
        value = set_field(getattr(config, first), rest, value)
    return dataclasses.replace(config, **{first: value})


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and types of all fields that are no configurations themselves."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, hints[field.name]
