"""Builds the wheel and the source distribution, for tests and for `make release-check`."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {
    "metarl_jax": "metarl_jax",
    "envs": "metarl_jax/envs",
    "experiments": "metarl_jax/experiments",
}
"""Folder of the tree to where it is imported from."""

BUILD = """
from setuptools import build_meta
print(build_meta.build_sdist({out!r}), build_meta.build_wheel({out!r}), sep="\\n")
"""


def copy_sources(to: Path) -> None:
    """Copies what is packaged into a new folder, in which nothing of an earlier build is found."""
    to.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to)
    for name in SOURCES:
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))


def build(tree: Path, out: Path) -> tuple[Path, Path]:
    """Returns the paths of the source distribution and of the wheel, made of a copy of the sources; nothing is asked of
    a package index."""
    command = [sys.executable, "-c", BUILD.format(out=str(out))]
    subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel
