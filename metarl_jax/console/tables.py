"""Tables of results for a terminal of any width, a pipe or a log file. Numbers are never truncated."""

import dataclasses
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Table as Drawn
from rich.text import Text

LONG_WORD, LEAST_TEXT = 30, 4
"""Longest word, in characters, that wrapping leaves whole; also the smallest width of a text column."""
BORDERS = 3
"""Width of the borders of a column in characters; a table has one more."""
UNLIMITED = 100_000
"""Width without a terminal: everything fits."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      name: its heading.
      cells: one per row. A newline marks a possible line break, and is a blank otherwise.
      is_text: whether it is left-aligned and may be wrapped; numbers never are.
      may_go: whether it may be left out to fit the width.
    """

    name: str
    cells: Sequence[str]
    is_text: bool = False
    may_go: bool = False

    def width(self, *, stacked: bool) -> int:
        """Characters of the widest line, with lines broken at newlines or not."""
        texts = [*_words(self.name, stacked), *self.cells]
        lines = [line for text in texts for line in _laid(text, stacked).split("\n")]
        return max(map(cell_len, lines))


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first column names the rows. If it is wider than the terminal, cells are broken at their newlines,
    then text is wrapped, then columns that `may_go` are left out, the last first, with a note. If that is not enough,
    the remaining columns form further tables below, each with the first column.

    Attributes:
      title: printed above.
      columns: at least one.
      sections: rows that a line is drawn above.
    """

    title: str
    columns: Sequence[Column]
    sections: Sequence[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, style="italic", overflow="fold")
        blocks, stacked = fit(self.columns, options.max_width)
        for block in blocks:
            yield self._draw(block, stacked, options.max_width)
        shown = {column.name for block in blocks for column in block}
        left_out = [column.name for column in self.columns if column.name not in shown]
        if left_out:
            yield Text(f"Left out for want of room: {', '.join(left_out)}.", overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def _draw(self, block: Sequence[Column], stacked: bool, width: int) -> Drawn:
        drawn, widths = Drawn(), _widths(block, stacked, width)
        for column, wide in zip(block, widths, strict=True):
            justify = "left" if column.is_text else "right"
            drawn.add_column(Text(column.name), justify=justify, overflow="fold", width=wide)
        for index, row in enumerate(zip(*(column.cells for column in block), strict=True)):
            if index in self.sections:
                drawn.add_section()
            drawn.add_row(*(Text(_laid(cell, stacked)) for cell in row))
        return drawn


def show(thing: RenderableType, console: Console | None = None) -> None:
    """Prints at the width of the terminal, and elsewhere without wrapping or truncation.

    Args:
      thing: a table or text.
      console: standard output when not given.
    """
    console = console or Console()
    if console.is_terminal:
        console.print(thing)
        return
    if isinstance(thing, str):
        thing = console.render_str(thing)
    options = console.options.update(width=UNLIMITED, no_wrap=isinstance(thing, Text))
    console.print(Segments(console.render(thing, options)), crop=False, end="")


def fit(columns: Sequence[Column], width: int) -> tuple[list[list[Column]], bool]:
    """Lays out columns within a width in characters.

    Returns:
      The columns of each table, one below the other, and whether lines are broken at newlines.
    """
    kept = list(columns)
    if sum(column.width(stacked=False) + BORDERS for column in kept) + 1 <= width:
        return [kept], False
    for column in [None, *(column for column in reversed(columns) if column.may_go)]:
        if column is not None:
            kept.remove(column)
        if sum(map(_least, kept)) + 1 <= width:
            return [kept], True
    first, *others = kept
    blocks, room = [[first]], width - 1 - _least(first)
    for column in others:
        if _least(column) > room and len(blocks[-1]) > 1:
            blocks.append([first])
            room = width - 1 - _least(first)
        blocks[-1].append(column)
        room -= _least(column)
    return blocks, True


def _least(column: Column) -> int:
    """Returns the smallest width of a column in characters, with borders."""
    if not column.is_text:
        return column.width(stacked=True) + BORDERS
    words = [word for text in (column.name, *column.cells) for word in text.split()]
    return min(LONG_WORD, max(map(cell_len, words), default=0)) + BORDERS


def _widths(block: Sequence[Column], stacked: bool, width: int) -> list[int]:
    """Returns the width of each column in characters, without borders; text takes the room that numbers leave."""
    widths = [column.width(stacked=stacked) for column in block]
    over = sum(widths) + BORDERS * len(widths) + 1 - width
    texts = [index for index, column in enumerate(block) if column.is_text]
    unbroken = [(index, _least(block[index]) - BORDERS) for index in texts]
    for index, least in [*unbroken, *((index, LEAST_TEXT) for index in texts)]:
        narrower = max(min(widths[index], least), widths[index] - max(over, 0))
        over -= widths[index] - narrower
        widths[index] = narrower
    return widths


def _words(name: str, stacked: bool) -> list[str]:
    return name.split() if stacked else [name]


def _laid(text: str, stacked: bool) -> str:
    return text if stacked else text.replace("\n", " ")


def number(value: float | None) -> str:
    """Formats a number of results, `nan` for JSON's null."""
    return "nan" if value is None else f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"


def thousands(count: float) -> str:
    """Formats a count in three or four digits, as in `12.3k` or `4.56M`."""
    if count >= 1e6:
        return f"{count / 1e6:.2f}M"
    return f"{count / 1e3:.1f}k" if count >= 1e3 else f"{count:.0f}"


def interval(ends: Sequence[float | None]) -> str:
    """Formats an interval, as in `-2.56 to -2.12`."""
    low, high = ends
    return f"{number(low)} to {number(high)}"


def interval_over(num_seeds: int) -> str:
    """Describes over what an interval of `ci95_over_seeds` was computed."""
    return "over seeds and tasks" if num_seeds > 1 else "over tasks alone (one seed)"
