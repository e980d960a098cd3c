"""Registries: from names, files or modules to classes, which are imported on first use."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from metarl_jax.core.errors import UserError
from metarl_jax.core.user_code import find, is_reference, reference_of

T = TypeVar("T")

MANY = 20
"""Largest number of names that an error message lists."""


class Entry(NamedTuple):
    """A registered name with its description; the class behind it is not imported.

    Attributes:
      target: `"module:attribute"`, imported when it is first asked for.
      summary: what it is, in one line.
      group: the heading under which it is listed.
      fits: what it fits: the environments of a learner, or the actions of an environment.
    """

    target: str
    summary: str = ""
    group: str = ""
    fits: str = ""


class Named:
    """The base of classes that users choose by `name`; by default the name of the Python class."""

    name: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__


def suggestion(name: str, known: Sequence[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the nearest known name, ignoring case, or an empty string."""
    folded = {known_name.casefold().lstrip("-"): known_name for known_name in known}
    near = difflib.get_close_matches(name.casefold().lstrip("-"), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


class Registry(Generic[T]):
    """A table from names to classes, or to presets.

    What the library ships is imported on first use, so that a run on a bandit does not pay for importing a physics
    engine. Besides names, `get` accepts references to a user's own classes: `"path/to/file.py:Class"` and
    `"package.module:Class"`.
    """

    def __init__(self, kind: str, base: str, entries: Mapping[str, Entry] | None = None):
        """Makes a table.

        Args:
          kind: what a thing is called in messages.
          base: `"module:class"` that its classes derive from, or that it is an instance of.
          entries: what the library ships, by name.
        """
        self.kind = kind
        self._base = base
        self._entries = dict(entries or {})
        self._loaded: dict[str, T] = {}

    def register(self, thing: T) -> T:
        """Adds a thing under its `name`; usable as a decorator of classes.

        A redefinition of a class (the same module and qualified name, as when a notebook cell runs again) replaces the
        old one.

        Raises:
          UserError: if the name is already taken.
        """
        name = _name(thing)
        if name in self._entries or not _is_anew(self._loaded.get(name, thing), thing):
            raise UserError(f"{self.kind} {name!r} is already registered: choose another name")
        self._loaded[name] = thing
        return thing

    def names(self) -> list[str]:
        """Returns all names, sorted."""
        return sorted(self._entries | self._loaded)

    def in_order(self) -> list[str]:
        """Returns all names, as the library lists them, and then those that were registered."""
        return list(self._entries | self._loaded)

    def entry(self, name: str) -> Entry:
        """Returns the description of a name; of a class that a user registered, from its docstring."""
        if name in self._entries:
            return self._entries[name]
        return Entry("", first_paragraph(getattr(self.get(name), "__doc__", "") or ""), "your own")

    def get(self, name: str) -> T:
        """Returns the entry of a name or reference.

        Raises:
          UserError: for an unknown name, with the nearest one, or for a reference that cannot be followed.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name in self._entries:
            module, attribute = self._entries[name].target.split(":")
            self._loaded[name] = getattr(import_module(module), attribute)
            return self._loaded[name]
        if is_reference(name):
            return self._checked(find(name), name)
        names = self.names()
        known = f" Known: {', '.join(names)}" if len(names) <= MANY else "; `metarl list` shows all"
        raise UserError(f"unknown {self.kind} {name!r}{suggestion(name, names) or known}")

    def make(self, name: str, **options: Any) -> Any:
        """Returns an instance of the class of a name or reference, with its fields set by keyword."""
        cls: Any = self.get(name)
        return cls(**options)

    def reference(self, thing: T) -> str:
        """Returns the text by which `get` finds a class in another process: its name, or a reference."""
        name = _name(thing)
        if name in self._entries and self.get(name) is thing:
            return name
        return reference_of(thing) or name

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _checked(self, thing: Any, reference: str) -> T:
        """Returns a user's object, after checking its type; raises `UserError` if it has the wrong one."""
        module, _, base_name = self._base.partition(":")
        base = getattr(import_module(module), base_name)
        is_instance = isinstance(thing, base)
        if not (is_instance or (isinstance(thing, type) and issubclass(thing, base))):
            raise UserError(
                f"{self.kind} {reference!r} is no {base_name}: name a class that derives from {self._base}"
            )
        return thing  # pyright: ignore[reportReturnType]


def first_paragraph(text: str) -> str:
    """Returns the first paragraph of a docstring, on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _name(thing: Any) -> str:
    name = getattr(thing, "name", None)
    return name if isinstance(name, str) else getattr(thing, "__name__", str(thing))


def _is_anew(before: Any, thing: Any) -> bool:
    """Whether a new entry may replace the old one: it is the same object, or a redefinition of the same class."""
    if before is thing:
        return True
    if dataclasses.is_dataclass(before) and not isinstance(before, type):
        return before == thing
    places = [
        (getattr(x, "__module__", None), getattr(x, "__qualname__", None)) for x in (before, thing)
    ]
    return places[0] == places[1]
