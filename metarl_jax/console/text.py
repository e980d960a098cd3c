"""Wraps prose for a terminal of any width."""

import itertools
import shutil
import textwrap


def reflow(text: str, width: int | None = None) -> str:
    """Rewraps the paragraphs of a text; indented lines, which are examples, stay unchanged.

    Args:
      text: paragraphs, with blank lines between.
      width: characters of a line; those of the terminal, but at most 100, when not given.
    """
    width = width or min(shutil.get_terminal_size().columns, 100)
    lines: list[str] = []
    grouped = itertools.groupby(
        text.splitlines(), lambda line: bool(line.strip()) and not line.startswith(" ")
    )
    for is_prose, group in grouped:
        found = list(group)
        lines += textwrap.wrap(" ".join(found), width) if is_prose else found
    return "\n".join(lines)
