"""Mistakes in a user's file, as the command line tells them: one line, exit code 2, and no run folder."""

import os
import subprocess
import sys
import textwrap

import pytest

from metarl_jax.cli.main import main

FILE = '''
import dataclasses

import jax
import jax.numpy as jnp
from metarl_jax import Box, EnvState, LearnerConfig, OuterConfig, TaskDistribution


@dataclasses.dataclass(frozen=True)
class Push(TaskDistribution):
    """Push a point to where the task says."""

    horizon: int = 20
    """Steps of an episode."""

    @property
    def episode_length(self):
        return self.horizon

    @property
    def observation_size(self):
        return 2

    @property
    def action_space(self):
        return Box(1)

    def sample(self, key, split="train"):
        return jax.random.uniform(key)

    def reset(self, task, key):
        return EnvState(jnp.zeros(2), 0.0, False, ())

    def step(self, task, state, action):
        place = state.observation + 0.1 * jnp.clip(action, -1.0, 1.0)
        return EnvState(place, -jnp.abs(place[0] - task), False, ())


@dataclasses.dataclass(frozen=True)
class WideReward(Push):
    def step(self, task, state, action):
        after = super().step(task, state, action)
        return after.replace(reward=after.reward[None])


@dataclasses.dataclass(frozen=True)
class Branches(Push):
    def step(self, task, state, action):
        if action[0] > 0:
            return state
        return super().step(task, state, action)


@dataclasses.dataclass(frozen=True)
class FloatLength(Push):
    horizon: float = 20.0


@dataclasses.dataclass(frozen=True)
class NoDefault(Push):
    mass: float = dataclasses.field(kw_only=True)


class Undecorated(Push):
    mass = 1.0


@dataclasses.dataclass(frozen=True)
class Refuses(Push):
    def validate(self):
        raise ValueError("env.horizon is never right")


@dataclasses.dataclass(frozen=True)
class Unmade(LearnerConfig):
    pass


@dataclasses.dataclass(frozen=True)
class UnmadeOuter(OuterConfig):
    pass


class Stranger:
    pass
'''


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    """A folder with a user's file in it, in which commands run."""
    (tmp_path / "push.py").write_text(textwrap.dedent(FILE))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "push.py"


CASES = [
    (
        "check push.py:WideReward",
        r"WideReward.step returned a reward that is a float32 array of shape (1,)",
    ),
    ("check push.py:Unmade", "Unmade must define make"),
    ("check push.py:UnmadeOuter", "UnmadeOuter must define make"),
    ("check push.py:Stranger", "Stranger is not a subclass of TaskDistribution"),
    ("check push.py:Pusch", "did you mean 'Push'?"),
    ("check", "metarl check needs FILE:CLASS"),
    ("check push.py:Push --speed 3", "unknown option --speed"),
    ("train rl2 --env push.py:WideReward", "WideReward.step returned a reward"),
    ("train maml --env push.py:Branches --seeds 2", "push.py:"),
    ("train rl2 --env push.py:FloatLength", "FloatLength.episode_length is the float 20.0"),
    ("train rl2 --env push.py:NoDefault", "NoDefault.mass has no default"),
    ("train rl2 --env push.py:Undecorated", "Undecorated is not a frozen dataclass"),
    ("train rl2 --env push.py:Refuses", "env.horizon is never right"),
    (
        "train maml-point-robot --env push.py:FloatLength",
        "FloatLength.episode_length is the float 20.0",
    ),
    ("train push.py:Unmade --env point_robot", "Unmade must define make"),
]


@pytest.mark.parametrize(("command", "message"), CASES)
def test_a_mistake_is_one_line_and_leaves_no_folder(user_file, capsys, command, message):
    assert main(command.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith("metarl: error: ")
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (user_file.parent / "runs").exists()


def test_a_right_class_is_said_to_be_fine(user_file, capsys):
    assert main(["check", "push.py:Push"]) == 0
    assert capsys.readouterr().out.startswith("push.py:Push: fine: 20 steps, 2 observation entries")


def test_a_process_says_it_without_a_traceback(user_file):
    command = "import sys; from metarl_jax.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "train", "rl2", "--env", "push.py:Branches"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Branches.step cannot run" in line
    assert "`if action[0] > 0:`" in line
    assert not (user_file.parent / "runs").exists()
