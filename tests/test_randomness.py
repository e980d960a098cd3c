"""Draws of a task distribution that no key decides."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.program.randomness import unkeyed


@dataclasses.dataclass(frozen=True)
class Keyed(PointRobot):
    name: ClassVar[str] = "keyed"


@dataclasses.dataclass(frozen=True)
class DrawnOnce(Keyed):
    def sample(self, key, split="train"):
        return super().sample(key, split) + np.random.default_rng().normal(size=2)


@dataclasses.dataclass(frozen=True)
class StartsAnywhere(Keyed):
    def reset(self, task, key):
        start = super().reset(task, key)
        return start.replace(observation=start.observation + np.random.default_rng().normal())


@dataclasses.dataclass(frozen=True)
class Noisy(Keyed):
    def step(self, task, state, action):
        after = super().step(task, state, action)
        return after.replace(reward=after.reward * float(np.random.default_rng().normal()))


@dataclasses.dataclass(frozen=True)
class OneTask(Keyed):
    def sample(self, key, split="train"):
        return jnp.ones(2)


def test_randomness_that_no_key_decides_is_told():
    assert unkeyed(Keyed()) == []
    for env, method in (
        (DrawnOnce(), "`sample` is another program"),
        (StartsAnywhere(), "`reset` is another program"),
        (Noisy(), "`step` is another program"),
        (OneTask(), "`sample` gave one task"),
    ):
        (message,) = unkeyed(env)
        assert method in message
