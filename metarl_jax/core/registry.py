"""Named things that users choose from, loaded when they are asked for."""

import difflib
import importlib
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from metarl_jax.core.errors import UserError

T = TypeVar("T")


MANY = 20
"""Names beyond which an error does not tell them all."""


def suggestion(name: str, known: Sequence[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known name, upper and lower case alike, or nothing."""
    folded = {known_name.casefold().lstrip("-"): known_name for known_name in known}
    near = difflib.get_close_matches(name.casefold().lstrip("-"), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


class Registry(Generic[T]):
    """A table from names to things.

    Entries are the things themselves, or `"module:attribute"`, imported on first use so that a run on a bandit does
    not pay for importing a physics engine.
    """

    def __init__(self, kind: str, entries: dict[str, str] | None = None):
        self._kind = kind
        self._unloaded = dict(entries or {})
        self._loaded: dict[str, T] = {}

    def register(self, name: str, entry: T) -> None:
        """Adds a thing under a new name; raises `UserError` if the name is taken."""
        if name in self.names():
            raise UserError(f"{self._kind} {name!r} is already registered: choose another name")
        self._loaded[name] = entry

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._unloaded | self._loaded)

    def get(self, name: str) -> T:
        """The thing of this name; raises `UserError` that suggests the nearest name."""
        if name not in self.names():
            names = self.names()
            known = f" Known: {', '.join(names)}" if len(names) <= MANY else ""
            hint = suggestion(name, names) + known or "; `metarl list` shows all"
            raise UserError(f"unknown {self._kind} {name!r}{hint}")
        if name in self._unloaded:
            module, attribute = self._unloaded[name].split(":")
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
            del self._unloaded[name]
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
