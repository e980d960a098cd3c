"""What `pip install .` gives to others: every module, in the wheel and in the source distribution."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packages import SOURCES, build, copy_sources

from metarl_jax.cli.main import main

LATER = ("envs/robots/arms", "experiments/figures", "metarl_jax/learners/more")
"""Subpackages that do not exist, which would be found as well."""

VIEWER = [
    Path("metarl_jax/viewer") / name
    for name in ("page.html", "robots.js", "vendor/three.min.js", "vendor/LICENSE")
]
"""What pages of `metarl render` are made of."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the sources, with packages in it that may come."""
    copy = tmp_path_factory.mktemp("tree") / "copy"
    copy_sources(copy)
    for name in LATER:
        folder = copy / name
        folder.mkdir(parents=True)
        for parent in (folder, folder.parent):
            (parent / "__init__.py").touch()
    return copy


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    """The paths of a source distribution and of a wheel."""
    return build(tree, tmp_path_factory.mktemp("dist"))


def test_every_module_is_in_the_wheel_and_in_the_source_distribution(tree, built):
    modules = {
        path.relative_to(tree): Path(place) / path.relative_to(tree / folder)
        for folder, place in SOURCES.items()
        for path in (tree / folder).rglob("*.py")
    }
    sdist, wheel = built
    in_wheel = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    assert {*modules.values(), Path("metarl_jax/py.typed"), *VIEWER} <= in_wheel
    assert {path for path in in_wheel if path.suffix == ".py"} == set(modules.values())
    pretrained = {
        path.relative_to(tree)
        for path in (tree / "metarl_jax" / "pretrained").rglob("*")
        if path.is_file()
    }
    assert len(pretrained) > 5
    assert pretrained <= in_wheel
    with tarfile.open(sdist) as archive:
        in_sdist = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    others = {Path("setup.py"), Path("metarl_jax/py.typed"), *VIEWER}
    assert {*modules, *pretrained, *others} <= in_sdist


LIST_AND_BUILD = """
import sys
sys.path.insert(0, {place!r})
import jax, metarl_jax
from metarl_jax.cli.main import main
program = metarl_jax.build(metarl_jax.presets.get("modular-point-robot"))
jax.eval_shape(program.init, jax.random.key(0))
places = [x.__file__ for x in (metarl_jax, metarl_jax.envs, metarl_jax.presets)]
sys.exit(main(["list", "--json"]) or not all(x.startswith({place!r}) for x in places))
"""


def test_an_installed_wheel_lists_and_builds(built, tmp_path, capsys):
    """Unpacked elsewhere, first on the path, and run without docstrings: it lists what this tree does."""
    zipfile.ZipFile(built[1]).extractall(tmp_path)
    code = LIST_AND_BUILD.format(place=str(tmp_path))
    python = [sys.executable, "-OO", "-c", code]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert main(["list", "--json"]) == 0
    assert listed == json.loads(capsys.readouterr().out)
    assert listed["environments"]["grid_navi"]["group"] == "grid"
    assert all(listed["learners"].values())
