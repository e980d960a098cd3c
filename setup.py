"""Finds the packages of the distribution; pyproject.toml, which has the rest, cannot rename what it finds."""

from setuptools import find_packages, setup

MOVED = ("envs", "experiments")
"""Folders beside `metarl_jax` that are imported as its subpackages (`package-dir` in pyproject.toml)."""


def _under(*folders: str) -> list[str]:
    return find_packages(include=[pattern for name in folders for pattern in (name, f"{name}.*")])


setup(packages=_under("metarl_jax") + [f"metarl_jax.{name}" for name in _under(*MOVED)])
