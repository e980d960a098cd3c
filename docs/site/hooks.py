"""What MkDocs does to the pages of the site beyond rendering them (`hooks` in mkdocs.yml).

Facts are read from the code (`facts.py`), notebooks become pages (`notebooks.py`), equations become MathML, so that no
script or font has to be loaded, drawings become a part of the page, so that they follow its colours, and links to files
outside of `docs` become their paths.
"""

import re
from html import unescape
from pathlib import Path
from typing import Any

import facts
import notebooks
from latex2mathml.converter import convert
from mkdocs.structure.files import File

DOCS = Path(__file__).parents[1]
SOURCES = DOCS.parent / "build" / "sources" / "metarl_jax"
"""Links to the package, with the folders that stand beside it as its subpackages: what mkdocstrings reads."""

CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
EQUATION = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$<code>(.+?)</code>\$")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]+)(?:#[^)\s]*)?\)")
DRAWING = re.compile(r'<img alt="([^"]*)" src="([^"]+\.svg)" */?>')


def on_startup(**others: Any) -> None:
    """Links the package together where mkdocstrings looks for it (`paths` in mkdocs.yml)."""
    del others
    root = DOCS.parent
    SOURCES.mkdir(parents=True, exist_ok=True)
    for path in [*(root / "metarl_jax").iterdir(), root / "envs", root / "experiments"]:
        link = SOURCES / path.name
        if not link.exists() and path.name != "__pycache__":
            link.symlink_to(path)


def on_files(files: Any, config: Any) -> Any:
    """Returns the files of the site with a page for each notebook."""
    for path in sorted((DOCS / "notebooks").glob("*.py")):
        content = notebooks.as_markdown(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Returns the Markdown of a page with facts and equations filled in."""
    del others
    markdown = facts.fill(markdown, page.file.src_uri)
    folder = (DOCS / page.file.src_uri).parent
    parts = CODE.split(markdown)  # code blocks are at odd positions
    parts[::2] = [_with_equations(_without_outside_links(part, folder)) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, page: Any, **others: Any) -> str:
    """Returns the HTML of a page with its formulas within text, and its drawings, in it."""
    del others
    folder = (DOCS / page.file.src_uri).parent
    html = FORMULA.sub(lambda match: convert(unescape(match.group(1))), html)
    return DRAWING.sub(lambda match: _drawing(folder / match.group(2), match.group(1)), html)


def _with_equations(markdown: str) -> str:
    def equation(match: re.Match[str]) -> str:
        parts = " ".join(match.group(1).split()).split(
            r"\qquad"
        )  # which may stand below each other
        return f'<div class="equation">{"".join(convert(part, display="block") for part in parts)}</div>'

    return EQUATION.sub(equation, markdown)


def _without_outside_links(markdown: str, folder: Path) -> str:
    def replaced(match: re.Match[str]) -> str:
        target = (folder / match.group(2)).resolve()
        return match.group(0) if target.is_relative_to(DOCS) else match.group(1)

    return LINK.sub(replaced, markdown)


def _drawing(path: Path, description: str) -> str:
    # MkDocs has made the address relative to the built page, which lies where its source does.
    text = path.read_text(encoding="utf-8")
    svg = text[text.index("<svg") :].replace(
        "<svg", f'<svg role="img" aria-label="{description}"', 1
    )
    return f'<span class="drawing">{svg}</span>'
