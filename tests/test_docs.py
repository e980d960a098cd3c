"""The links of the documents, and the documents that code and help texts name."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ["metarl_jax", "envs", "experiments", "tests"]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
NAMED = re.compile(r"\bdocs/[\w/]+\.(?:md|png|py)\b")


def documents():
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_relative_links_lead_to_files():
    missing = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents()
        for link in LINK.findall(document.read_text())
        if "://" not in link and not (document.parent / link).exists()
    ]
    assert not missing


def test_documents_that_are_named_exist():
    files = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*files, *documents()]
        for name in NAMED.findall(path.read_text())
        if not (ROOT / name).exists()
    ]
    assert not missing


def test_every_picture_is_shown_somewhere():
    text = "".join(path.read_text() for path in documents())
    assert all(path.name in text for path in (ROOT / "docs").rglob("*.png"))
