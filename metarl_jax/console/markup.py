"""Tables as Markdown and as HTML."""

import html
from collections.abc import Iterator

from metarl_jax.console.tables import Column, Table


def as_markdown(table: Table) -> str:
    """Returns a table without its title."""
    lines = [[column.name for column in table.columns], ["---"] * len(table.columns), *_rows(table)]
    return "\n".join(f"| {' | '.join(line)} |".replace("\n", " ") for line in lines)


def as_html(table: Table) -> str:
    """Returns a table with its title as the caption, in an element that scrolls where the page is narrow."""
    heads = "".join(_cell("th", column, column.name) for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(map(_cell, ["td"] * len(row), table.columns, row)) + "</tr>"
        for row in _rows(table)
    )
    caption = html.escape(table.title)
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _rows(table: Table) -> Iterator[tuple[str, ...]]:
    return zip(*(column.cells for column in table.columns), strict=True)


def _cell(tag: str, column: Column, text: str) -> str:
    kind = ' class="text"' if column.is_text else ""
    return f"<{tag}{kind}>{html.escape(text).replace(chr(10), '<br>')}</{tag}>"
