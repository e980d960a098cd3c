"""Imports a user's own classes, named as `path/to/file.py:Class` or `package.module:Class`."""

import difflib
import hashlib
import importlib.util
import os
import re
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from metarl_jax.core.errors import UserError

_PREFIX = "metarl_user"
"""Prefix of the names of modules that were imported from files."""

_FILES: dict[str, Path] = {}
"""The requested path of each imported module, by the name of the module."""


def is_reference(text: str) -> bool:
    """Whether this is a reference to a class in a file or module, rather than a registered name."""
    return ":" in text or text.endswith(".py")


def file_of(reference: str) -> Path | None:
    """Returns the file that a reference names; None if it names a module."""
    path, _, _ = reference.rpartition(":")
    return Path(path) if path.endswith(".py") else None


def module_of(reference: str) -> str | None:
    """Returns the module that a reference names; None if it names a file or is not a reference."""
    place, colon, _ = reference.rpartition(":")
    return place if colon and not place.endswith(".py") else None


def file_of_module(name: str) -> Path | None:
    """Returns the source file of a module; None if there is no such module or it has no Python source."""
    _search_here()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # its package is gone; it was made at a prompt
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def find(reference: str) -> Any:
    """Returns the object that a reference names.

    Raises:
      UserError: if the file or module is missing or cannot be imported, or lacks the name; with file and line.
    """
    place, colon, attribute = reference.rpartition(":")
    if not colon or not attribute.isidentifier() or not place:
        raise UserError(
            f"{reference!r} does not name a class: write path/to/file.py:NAME or package.module:NAME"
        )
    path = file_of(reference)
    module = _import_module(place) if path is None else import_file(path)
    found = getattr(module, attribute, None)
    if found is None:
        names = [name for name in vars(module) if not name.startswith("_")]
        near = difflib.get_close_matches(attribute, names, n=1, cutoff=0.5)
        own = [
            name
            for name in names
            if getattr(vars(module)[name], "__module__", "") == module.__name__
        ]
        hint = f"did you mean {near[0]!r}?" if near else f"it defines {', '.join(own) or 'nothing'}"
        raise UserError(f"{place} has no {attribute!r}: {hint}")
    return found


def import_file(path: Path, copy: Path | None = None) -> ModuleType:
    """Imports a file as a module, once per process. The file's folder is appended to the import path.

    Args:
      path: the file; also the key under which the module is remembered.
      copy: read if there is no file at `path`.

    Raises:
      UserError: if there is neither, or if the file cannot be imported, with the line.
    """
    path = Path(os.path.abspath(path.expanduser()))
    name = _module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    source = path if path.is_file() or copy is None else copy
    if not source.is_file():
        raise UserError(f"there is no file {str(path)!r}: name the file that defines the class")
    if str(source.parent) not in sys.path:
        sys.path.append(str(source.parent))
    module = _run_file(name, source)
    _FILES[name] = path
    return module


def import_as(name: str, source: Path) -> None:
    """Imports a file under the name of a module that no longer exists.

    Raises:
      UserError: if it cannot be imported, with the line.
    """
    if name not in sys.modules:
        _run_file(name, source)


def _run_file(name: str, source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None  # for a file that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(_describe(error, source)) from error
    return module


def source_of(path: Path) -> Path:
    """Returns the source file that was imported for a path: the path itself or, if it no longer exists, the copy."""
    module = sys.modules.get(_module_name(Path(os.path.abspath(path))))
    copy = None if module is None else module.__file__
    return path if path.is_file() or copy is None else Path(copy)


def reference_of(thing: Any) -> str | None:
    """Returns the reference by which another process finds a class; None for a class of a prompt or inside a
    function."""
    name, module = getattr(thing, "__qualname__", ""), getattr(thing, "__module__", "")
    if not name.isidentifier() or not module:
        return None
    if module in _FILES:
        return f"{_FILES[module]}:{name}"
    if module != "__main__":
        return f"{module}:{name}"
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None or not file.endswith(".py") or not Path(file).is_file():
        return None
    path = Path(os.path.abspath(file))
    # The class is found again in this process as it is, and not by a second import of the script.
    sys.modules.setdefault(_module_name(path), sys.modules["__main__"])
    return f"{path}:{name}"


def _module_name(path: Path) -> str:
    stem = re.sub(r"\W", "_", path.stem)
    return f"{_PREFIX}_{stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _search_here() -> None:
    """Appends the working folder to the import path."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _import_module(name: str) -> ModuleType:
    _search_here()
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(_describe(error, Path(name))) from error
        raise UserError(
            f"there is no module {name!r}: install it, or name a file, as in path/to/file.py:NAME"
        ) from error
    except Exception as error:
        raise UserError(_describe(error, Path(name))) from error


def _describe(error: Exception, source: Path) -> str:
    """Describes an error in the import of a user's file, with file and line, on one line."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}: correct it"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == source]
    frame = (own or frames)[-1]
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{frame.filename}, line {frame.lineno}: {message}: correct it"
