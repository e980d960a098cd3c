"""Parses command lines into options and configurations."""

import contextlib
import dataclasses
import functools
import io
import itertools
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import with_local_paths
from metarl_jax.core.registry import suggestion

Options = TypeVar("Options")

RENAMED = {
    "env_name": "--env",
    "learner_name": "--learner",
    "outer_name": "--outer",
    "from_run": "--from",
}
"""Fields whose flag has a different name."""


def parse(
    cls: type[Options],
    args: Sequence[str],
    *,
    prog: str,
    description: str,
    default: Options | None = None,
) -> Options:
    """Calls `tyro.cli`, with errors on one line and `~` in paths expanded.

    Raises:
      UserError: for an unknown flag, with the nearest name, or a bad value, or a path on another machine.
      SystemExit: after `--help`.
    """
    _check_flags(args, sorted(_flags(cls if default is None else default)))
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            options = tyro.cli(
                cls,
                args=args,
                prog=prog,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                registry=_unwrapped_docstrings(),
            )
        return with_local_paths(options)
    except SystemExit as exit_:
        if not exit_.code:
            raise
    raise UserError(_one_line(errors.getvalue()))


def _unwrapped_docstrings() -> ConstructorRegistry:
    """tyro's rules, with the docstring of each field unwrapped into paragraphs, so that help fits any width."""
    registry, is_within = ConstructorRegistry(), False

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal is_within
        if is_within:  # the rules of tyro itself are asked
            return None
        is_within = True
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            is_within = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        fields = [
            dataclasses.replace(field, helptext=functools.partial(_unwrapped, field.helptext))
            for field in spec.fields
        ]
        return dataclasses.replace(spec, fields=tuple(fields))

    return registry


def _unwrapped(text: str | Callable[[], str | None] | None) -> str | None:
    found = text() if callable(text) else text
    return found and "\n\n".join(" ".join(part.split()) for part in found.split("\n\n"))


def split_positional(
    args: Sequence[str], is_meant: Callable[[str], bool]
) -> tuple[str | None, list[str]]:
    """Splits off the subject of a command from the other arguments: the first argument, or any that names a subject."""
    if args and not args[0].startswith("-"):
        return args[0], list(args[1:])
    for index, word in enumerate(args):
        if is_meant(word):
            return word, [*args[:index], *args[index + 1 :]]
    return None, list(args)


def last_value(args: Sequence[str], flag: str) -> str | None:
    """Returns the value of the last `flag value` or `flag=value`; None if the flag is absent."""
    value = None
    for word, following in itertools.zip_longest(args, args[1:]):
        name, equals, attached = word.partition("=")
        if name.replace("_", "-") == flag:
            value = attached if equals else following
    return value


def _flags(options: Any, prefix: str = "") -> set[str]:
    """Returns the flags that tyro makes for a dataclass, without their values."""
    cls = options if isinstance(options, type) else type(options)
    hints = typing.get_type_hints(cls)
    flags = set()
    for field in dataclasses.fields(cls):
        value = None if options is cls else getattr(options, field.name)
        name = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            flags |= _flags(value, f"{name}.")
        elif field.name in RENAMED:
            flags.add(RENAMED[field.name])
        else:
            flags.add(f"--{name}")
            if hints[field.name] is bool:
                flags.add(f"--{prefix}no-{field.name.replace('_', '-')}")
    return flags - {"--name"}


def _check_flags(args: Sequence[str], known: list[str]) -> None:
    for word in args:
        flag = word.partition("=")[0].replace("_", "-")
        if not flag.startswith("--") or flag in ("--", "--help") or flag in known:
            continue
        near = [name for name in known if name.endswith("." + flag[2:])]
        hint = f"; did you mean {near[0]!r}?" if near else suggestion(flag, known)
        raise UserError(f"unknown option {flag}{hint or '; see --help'}")


def _one_line(message: str) -> str:
    """Extracts the message from tyro's frame, which is drawn with blanks without UTF-8.

    tyro has no public interface to the error itself: it prints, and raises `SystemExit`.
    """
    paragraphs: list[list[str]] = [[]]
    framed = "╭" in message
    for line in message.splitlines()[1 if framed else 0 :]:
        text = line.strip("│╰╯ ")
        if text and set(text) <= set("─-"):
            paragraphs.append([])
        elif text:
            paragraphs[-1].append(text)
        else:
            break
    words = paragraphs[0 if framed else min(1, len(paragraphs) - 1)]
    line = " ".join(words).removeprefix("Error parsing ")
    rules = {
        r"Unrecognized options: (.*)": r"unexpected argument '\1'; see --help",
        r"Missing value for argument '(.*?)'.*": r"\1 needs a value; see --help",
        r"Missing from (.*?): (\S+) .*": r"\1 needs \2; see --help",
    }
    for pattern, plain in rules.items():
        line = re.sub(f"^{pattern}$", plain, line)
    return line or message.strip()
