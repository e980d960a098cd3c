"""Configurations as JSON, and what two of them differ in."""

import dataclasses
import typing
from typing import Any

from flax.traverse_util import flatten_dict

from metarl_jax.config.fields import (
    NOT_LEARNED,
    NOT_LEARNED_ALONE,
    REGISTRIES,
    Config,
)
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion
from metarl_jax.core.version import __version__

WRITTEN_BY = "metarl_jax"
"""Key of the library version in `config.json`; it is not a field of the configuration."""

FORMAT = 2
"""Value of `format` in `config.json`: the version of the layout of run folders."""


def to_dict(config: Any) -> dict[str, Any]:
    """Converts a configuration to nested dictionaries, ready for JSON.

    What is chosen by name carries its `name`: for a class of the user, the file or module that defines it.
    """
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            chosen = REGISTRIES.get(field.name)
            named = {} if chosen is None else {"name": chosen.reference(type(value))}
            value = named | to_dict(value)
        values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def stamped(config: Config) -> dict[str, Any]:
    """`to_dict` of a configuration, with the version of the library: what `config.json` holds."""
    return {WRITTEN_BY: __version__, "format": FORMAT} | to_dict(config)


def missing(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that a written configuration lacks, as in `env.num_arms`, with their defaults.

    A file lacks them that was written before the fields were there, or that was edited.
    """
    filled, found = flat(to_dict(from_dict(values))), flat(values)
    return {name: value for name, value in filled.items() if name not in found}


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one, with names as in `env.num_arms`."""
    return flatten_dict(values, sep=".")


def changes(before: Config, now: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields that differ between `before` and `now`, by name as in `env.num_arms`, with both values."""
    old, new = (flat(to_dict(config)) for config in (before, now))
    return {name: (old.get(name), value) for name, value in new.items() if value != old.get(name)}


def differing(trained: dict[str, Any], config: Config) -> str:
    """Describes the fields that affect training and differ from a written configuration; empty if none do."""
    before, now = flat(trained), flat(to_dict(config))
    found = [
        f"{name}={value!r} (trained with {before[name]!r})"
        for name, value in now.items()
        if name in before
        and value != before[name]
        and not name.startswith(NOT_LEARNED)
        and name not in NOT_LEARNED_ALONE
    ]
    return ", ".join(found)


class FormatError(UserError):
    """A configuration of another layout of run folders."""


def from_dict(values: dict[str, Any]) -> Config:
    """Restores a configuration; the inverse of `to_dict` and of `stamped`.

    Raises:
      UserError: for an unknown name or field, with the nearest one, and the version that wrote it if that is another.
    """
    fields = dict(values)
    found = fields.pop("format", None if WRITTEN_BY in fields else FORMAT)
    written_by = fields.pop(WRITTEN_BY, __version__)
    if found != FORMAT:
        raise FormatError(
            f"written by a metarl_jax whose run folders this one ({__version__}) cannot open: train the run again"
        )
    try:
        return _from_dict(Config, fields, "")
    except UserError as error:
        if written_by == __version__:
            raise
        raise UserError(
            f"{error}; written by metarl_jax {written_by}, and this is {__version__}"
        ) from error


def _from_dict(cls: type, values: dict[str, Any], prefix: str) -> Any:
    known = {field.name for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in known:
            hint = suggestion(name, sorted(known))
            raise UserError(f"unknown field {prefix}{name}{hint}")
        if name in REGISTRIES and isinstance(value, dict):
            value = dict(value)
            value = _from_dict(REGISTRIES[name].get(value.pop("name")), value, f"{prefix}{name}.")
        elif dataclasses.is_dataclass(hints[name]):
            value = _from_dict(hints[name], value, f"{prefix}{name}.")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return cls(**arguments)
