"""The space of a search: fields of a configuration, and the values that each may have."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from metarl_jax.config import NOT_LEARNED, NOT_LEARNED_ALONE, Config, validate
from metarl_jax.core.errors import UserError
from metarl_jax.core.ranges import Range, parse_range
from metarl_jax.core.validation import check_fields
from metarl_jax.sweeps.grid import field_type, set_field, split_assignment

FORM = "FIELD=LOW..HIGH, FIELD=LOW..HIGH:log or FIELD=VALUE,VALUE,…: learner.inner-lr=1e-3..1:log"
TRUTH = {"true": True, "false": False}

Value = float | int | bool | str
"""A value of a searched field."""


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A field and its values.

    Attributes:
      name: the dotted name of the field.
      choices: its values; empty for an interval.
      interval: of numbers, if there are no choices.
      is_float: whether one program can train several values side by side; other fields change the program.
    """

    name: str
    choices: tuple[Value, ...]
    interval: Range
    is_float: bool

    def ends(self) -> tuple[Value, ...]:
        """Returns all choices, or the ends of the interval."""
        if self.choices:
            return self.choices
        ends = self.interval.low, self.interval.high
        return ends if self.is_float else tuple(map(int, ends))


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """Splits `learner.inner-lr=1e-3..1:log`, …, into ranges by dotted name; raises `UserError` for another form."""
    pairs = [split_assignment(text, "space", FORM) for text in texts]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"space has {name!r} twice: give each field once")
    return dict(pairs)


def dimensions(config: Config, space: Mapping[str, str]) -> list[Dimension]:
    """Reads the space, and checks that every field takes its values.

    Args:
      config: the configuration of all trials.
      space: ranges by dotted name: `LOW..HIGH`, `LOW..HIGH:log`, or values with commas.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    if not space:
        raise UserError(f"space is empty: give one or more of {FORM}")
    found = [_dimension(config, name, text) for name, text in space.items()]
    for dimension in found:
        for value in dimension.ends():
            changed = set_field(config, dimension.name, value)
            # How sizes and choices go together depends on the others, and is checked for each trial.
            (validate if dimension.is_float else check_fields)(changed)
    return found


def _dimension(config: Config, name: str, text: str) -> Dimension:
    hint = field_type(config, name)
    if name.startswith(NOT_LEARNED) or name in (*NOT_LEARNED_ALONE, "seed"):
        raise UserError(f"space has {name!r}, which does not say how to learn: leave it out")
    is_union = isinstance(hint, types.UnionType)
    kinds = typing.get_args(hint) if is_union else (hint,)
    nothing = Range(())
    if str in kinds or any(typing.get_origin(kind) is Literal for kind in kinds):
        choices: tuple[Value, ...] = tuple(word.strip() for word in text.split(","))
        return _distinct(Dimension(name, choices, nothing, False))
    if bool in kinds:
        words = [word.strip().lower() for word in text.split(",")]
        if not set(words) <= set(TRUTH):
            raise UserError(f"{name}={text!r} must be true,false")
        return _distinct(Dimension(name, tuple(TRUTH[word] for word in words), nothing, False))
    if float not in kinds and int not in kinds:
        kind = getattr(hint, "__name__", str(hint))
        raise UserError(
            f"space has {name!r} of type {kind}: a search takes numbers, words and true/false"
        )
    parsed, is_float = parse_range(text, name), float in kinds
    if is_float:
        return _distinct(Dimension(name, parsed.choices, parsed, True))
    if any(number != int(number) for number in (*parsed.choices, parsed.low, parsed.high)):
        raise UserError(f"{name}={text!r} must have whole numbers")
    return _distinct(Dimension(name, tuple(map(int, parsed.choices)), parsed, False))


def _distinct(dimension: Dimension) -> Dimension:
    choices = dimension.choices
    if len(set(choices)) < len(choices):
        raise UserError(f"space gives a value of {dimension.name!r} twice: give each once")
    return dimension


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns the configuration with these values, by dotted name."""
    for name, value in values.items():
        config = set_field(config, name, value)
    return config
