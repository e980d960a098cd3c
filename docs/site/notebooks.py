"""The notebooks as pages of the site: their words and code, without results."""

from pathlib import Path

import jupytext


def as_markdown(path: Path) -> str:
    """Returns a notebook, a Python file with cells, as Markdown."""
    cells = [
        cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```"
        for cell in jupytext.read(path).cells
    ]
    title, *rest = "\n\n".join(cells).split("\n", 1)
    run = f"A notebook: `docs/notebooks/{path.name}`. `make notebooks` runs all of them, into `build/notebooks`."
    return "\n\n".join([title, run, *rest])
