"""Checks of the declaration of a user's class: a frozen dataclass whose fields are options.

Nothing here computes, so that it may run before JAX has started its backend.
"""

import dataclasses
import inspect
from typing import Any, TypeVar

import jax
import numpy as np

from metarl_jax.core.describe import describe
from metarl_jax.core.errors import UserError

T = TypeVar("T")

PLAIN = (bool, int, float, str, type(None))
"""Types of the values that options have, alone or in tuples: those that `config.json` can hold."""


def is_foreign(part: Any) -> bool:
    """Whether the class of an object is defined outside this library, so that the library's tests do not cover it."""
    return not type(part).__module__.startswith("metarl_jax.")


def instance(cls: type[T]) -> T:
    """Returns an instance of a class of options, with all fields at their defaults.

    Raises:
      UserError: naming the first field without a default.
    """
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        nothing = dataclasses.MISSING
        if field.init and field.default is nothing and field.default_factory is nothing:
            raise UserError(
                f"{cls.__name__}.{field.name} has no default: fields are options, each with a default"
            )
    return cls()


def check_declaration(part: Any, base: type) -> None:
    """Checks that the class of an object is a frozen dataclass below `base`, with a name and annotated fields.

    Raises:
      UserError: naming the class, the attribute, what it is and the remedy.
    """
    if isinstance(part, type):
        raise UserError(
            f"{part.__name__} is a class: give an instance of it, such as {part.__name__}()"
        )
    cls = type(part)
    if not isinstance(part, base):
        raise UserError(
            f"{cls.__name__} must be a subclass of {base.__module__}.{base.__name__}, so that it has the methods "
            "that have a default"
        )
    declared = cls.__dict__.get("__dataclass_params__")
    if declared is None or not declared.frozen:
        raise UserError(
            f"{cls.__name__} is not a frozen dataclass: write @dataclasses.dataclass(frozen=True) above the class"
        )
    if not isinstance(getattr(cls, "name", None), str):
        given = f"is {describe(cls.name)}" if hasattr(cls, "name") else "is missing"  # pyright: ignore
        raise UserError(
            f'{cls.__name__}.name {given}, expected a string: add name: ClassVar[str] = "my_name"'
        )
    for ancestor in cls.__mro__:
        if not ancestor.__module__.startswith("metarl_jax.") and issubclass(ancestor, base):
            _check_attributes(ancestor)


def check_values(part: Any) -> None:
    """Checks that the fields of a dataclass are values that options can have.

    Raises:
      UserError: naming the class, the field, its value and the remedy.
    """
    for field in dataclasses.fields(part):
        _check_value(type(part), field.name, getattr(part, field.name))


def _check_attributes(cls: type) -> None:
    """Finds plain attributes that look like options and are none, for want of an annotation."""
    fields = {field.name for field in dataclasses.fields(cls)}  # pyright: ignore
    bases = cls.__mro__[1:]
    constants = {name for x in bases for name in (*x.__dict__, *inspect.get_annotations(x))}
    constants -= fields
    for name, value in cls.__dict__.items():
        is_plain = isinstance(value, (*PLAIN, tuple, list, dict, np.ndarray, jax.Array))
        is_private = name.startswith("_") or name.isupper()
        if not is_plain or is_private or name in inspect.get_annotations(cls):
            continue
        if name in fields or name not in constants:
            hint = type(value).__name__
            raise UserError(
                f"{cls.__name__}.{name} = {value!r} has no annotation, so that it is not an option: write "
                f"{name}: {hint} = {value!r}, or {name}: ClassVar[{hint}] = {value!r} for a constant"
            )


def _check_value(cls: type, name: str, value: Any) -> None:
    if isinstance(value, jax.Array | np.ndarray) and value.ndim:
        raise UserError(
            f"{cls.__name__}.{name} is {describe(value)}, but fields are options: what differs between tasks belongs "
            "to the task that `sample` returns, and constant arrays to the methods or to a module"
        )
    if isinstance(value, list):
        raise UserError(
            f"{cls.__name__}.{name} is a list, which config.json cannot restore: make it a tuple, "
            f"{name}: tuple[…, ...] = {tuple(value)!r}"
        )
    if isinstance(value, tuple):
        for entry in value:
            _check_value(cls, name, entry)
    elif dataclasses.is_dataclass(value):
        check_values(value)
    elif not isinstance(value, (*PLAIN, np.number, jax.Array, np.ndarray)):
        raise UserError(
            f"{cls.__name__}.{name} is {describe(value)}, which config.json cannot hold: fields are numbers, booleans, "
            "strings, tuples of these, or dataclasses of such fields"
        )
