"""Known strategies by name and options: `ucb1`, or `ucb1:confidence=1` with a field of it set."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion
from metarl_jax.core.validation import check_fields

Strategy = TypeVar("Strategy")


def parse_strategy(text: str) -> tuple[str, dict[str, float]]:
    """`name:field=number,field=number` as the name and the fields.

    Raises:
      UserError: where it cannot be read so.
    """
    name, colon, fields = text.partition(":")
    options = {}
    for pair in fields.split(",") if colon else ():
        field, _, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise UserError(
                f"control={text!r} must be NAME or NAME:FIELD=NUMBER,FIELD=NUMBER"
            ) from error
        whole = number.is_integer() and "." not in value
        options[field.strip().replace("-", "_")] = int(number) if whole else number
    return name, options


def build_strategy(
    known: Mapping[str, type[Strategy]], env: str, name: str, options: dict[str, Any]
) -> Strategy:
    """The dataclass of this name with these fields set.

    Raises:
      UserError: for an unknown name or field, with the known ones, and for a bad value.
    """
    if name not in known:
        hint = suggestion(name, list(known))
        raise UserError(
            f"strategy={name!r} is unknown to env {env!r}{hint or ':'} known are {', '.join(known)}"
        )
    cls: Any = known[name]
    fields = [field.name for field in dataclasses.fields(cls)]
    for field in options:
        if field not in fields:
            raise UserError(
                f"strategy {name!r} has no field {field!r}: it has {', '.join(fields) or 'none'}"
            )
    strategy = cls(**options)
    check_fields(strategy, f"{name}.")
    return strategy
