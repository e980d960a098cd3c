"""Names, files and modules: how classes of the user are found, and what is said where they cannot be."""

import dataclasses
import json
import sys
import textwrap
from typing import ClassVar

import pytest

from metarl_jax import config as configs
from metarl_jax import envs, experiments, learners, outer
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Entry, Registry
from metarl_jax.envs.bandit import Bandit
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.ppo import PPO

FILE = """
import dataclasses
from metarl_jax.envs.bandit import Bandit

@dataclasses.dataclass(frozen=True)
class Mine(Bandit):
    "Bandits of my own."

NOT_A_CLASS = 3
"""


@pytest.fixture
def file(tmp_path):
    def write(text=FILE, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.mark.parametrize("registry", [envs.registry, learners.registry, outer.registry])
def test_what_is_shipped_is_known_without_importing_it(registry):
    for name in registry.names():
        entry = registry.entry(name)
        assert entry.summary
        assert "\n" not in entry.summary
        assert registry.reference(registry.get(name)) == name
        assert registry.get(name).name == name


def test_presets_are_grouped_by_environment():
    for name in experiments.names():
        entry = experiments.registry.entry(name)
        if name == "rl2-cart-pole" and sys.version_info >= (3, 12):
            continue  # gymnax needs Python 3.11
        assert entry.group == experiments.get(name).env.name
        assert entry.summary


def test_a_class_of_a_file_is_found_once_and_by_the_same_reference(file, monkeypatch):
    path = file()
    cls = envs.get(f"{path}:Mine")
    assert cls.name == "Mine"
    monkeypatch.chdir(path.parent)
    assert envs.get("mine.py:Mine") is cls
    assert envs.registry.reference(cls) == f"{path}:Mine"
    config = dataclasses.replace(experiments.get("rl2-bandit"), env=cls(num_arms=3))
    values = json.loads(json.dumps(configs.to_dict(config)))
    assert values["env"] == {"name": f"{path}:Mine", "told_task": False, "num_arms": 3}
    assert configs.from_dict(values) == config


def test_a_class_of_a_module(monkeypatch, file):
    monkeypatch.chdir(file(name="a_module_of_mine.py").parent)
    cls = envs.get("a_module_of_mine:Mine")
    assert envs.registry.reference(cls) == "a_module_of_mine:Mine"
    assert envs.get("metarl_jax.envs.bandit:Bandit") is Bandit
    assert envs.registry.reference(Bandit) == "bandit"


@pytest.mark.parametrize(
    ("text", "reference", "message"),
    [
        (FILE, "mine.py:Mein", r"mine.py has no 'Mein': did you mean 'Mine'"),
        (FILE, "mine.py:Xyzzy", r"it defines Mine"),
        (FILE, "mine.py", r"'mine.py' does not name a class: write path/to/file.py:NAME"),
        (FILE, "mine.py:", r"does not name a class"),
        (FILE, "mine.py:NOT_A_CLASS", r"is no TaskDistribution"),
        (FILE, "other.py:Mine", r"there is no file '.*other.py'"),
        (FILE, "no_such_module:Mine", r"there is no module 'no_such_module': install it"),
        ("class Mine(:\n", "mine.py:Mine", r"mine.py, line 1: invalid syntax: correct it"),
        ("x = 1\ny = z\n", "mine.py:Mine", r"mine.py, line 2: NameError: name 'z' is not def"),
        ("import no_such", "mine.py:Mine", r"mine.py, line 1: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(file, monkeypatch, text, reference, message):
    monkeypatch.chdir(file(text).parent)
    with pytest.raises(UserError, match=message) as raised:
        envs.get(reference)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("base", [Bandit, MAML, PPO])
def test_a_class_without_a_name_is_called_as_in_python(base):
    class Mine(base):
        pass

    assert (Mine.name, base.name) == ("Mine", base.__name__.lower())


def test_a_class_that_is_defined_anew_takes_the_place_of_the_old_one():
    registry = Registry("env", "metarl_jax.envs.base:TaskDistribution", {"bandit": Entry("x:y")})

    def define():
        class Mine(Bandit):
            name: ClassVar[str] = "mine"

        return Mine

    first, second = define(), define()
    assert registry.register(first) is first
    registry.register(second)
    assert registry.get("mine") is second

    class Other(Bandit):
        name: ClassVar[str] = "mine"

    with pytest.raises(UserError, match="'mine' is already registered"):
        registry.register(Other)
    with pytest.raises(UserError, match="'bandit' is already registered"):
        registry.register(Bandit)
