"""A planar half-cheetah that must find out which way, or how fast, to run."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Mark
from metarl_jax.envs.base import check_split
from metarl_jax.envs.brax.base import (
    BACKENDS,
    PLAYGROUND,
    BraxFamily,
    Robot,
    Torso,
    check_choice,
)
from metarl_jax.envs.brax.drawing import mark_heading, mark_speed
from metarl_jax.envs.goals import sample_speed

_HALF_CHEETAH = Robot(
    "brax.envs.half_cheetah:Halfcheetah",
    observation_size=17,
    action_size=6,
    playground="CheetahRun",
)
_CONTROL_COST = 0.05
_TOP_VELOCITY = {"finn17": 2.0, "pearl19": 3.0}


@dataclasses.dataclass(frozen=True)
class HalfCheetahDir(BraxFamily):
    """Run forward or backward, as the task says.

    The task is the direction d ∈ {-1, +1}, `[]` float32, with equal odds. The reward is d·vₓ -
    0.05‖a‖², with vₓ the torso's forward velocity in m/s and a the action clipped to [-1, 1];
    episodes do not terminate.

    There are two tasks in all, so no held-out set exists: the `test` split draws the same two.

    Differences from the sources. vₓ is the torso's mean velocity over a step of 0.05 s, as in PEARL
    and ProMP; MAML reads the instantaneous velocity of the centre of mass. The observation `[17]`
    is joint positions without x, then velocities, as in ProMP; MAML and PEARL append the torso's
    centre of mass `[3]`. On `spring` and `positional` Brax gives the front shin and foot motors
    gears 100 and 100, where MuJoCo's model has 60 and 30.

    On `playground` the robot is the cheetah of the DeepMind Control Suite, which has the same joints,
    observation and action in another body. It begins with joint angles drawn from all of their
    range, after 2 s of settling: an episode of 200 steps costs 240 steps of simulation there.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
        ICML 2017.
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
        Variables", ICML 2019.
    """

    name: ClassVar[str] = "half_cheetah_dir"
    note: ClassVar[str] = "two tasks in all: `test` draws the training tasks again"
    num_skills: ClassVar[int] = 2
    robot: ClassVar[Robot] = _HALF_CHEETAH
    backends: ClassVar[tuple[str, ...]] = (*BACKENDS, PLAYGROUND)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return jnp.where(jax.random.bernoulli(key), 1.0, -1.0).astype(jnp.float32)

    def skill(self, task: jax.Array) -> jax.Array:
        return (task > 0).astype(jnp.int32)

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """d·vₓ - 0.05‖a‖²."""
        return task * torso.velocity[0] - _CONTROL_COST * jnp.sum(action**2)

    def marks(self, task: jax.Array, path: np.ndarray) -> Sequence[Mark]:
        return [mark_heading((task, 0.0), path)]


@dataclasses.dataclass(frozen=True)
class HalfCheetahVel(BraxFamily):
    """Run at a velocity that is not observed.

    The task is the target velocity v* in m/s, `[]` float32: U[0, 2] for `finn17`, U[0, 3] for
    `pearl19`. The reward is -|vₓ - v*| - 0.05‖a‖², with vₓ the torso's forward velocity in m/s and
    a the action clipped to [-1, 1]; episodes do not terminate. The `ood` split draws the half range
    above: U[2, 3] and U[3, 4.5].

    The variants differ in the range of v* alone. Differences from the sources are those of
    `HalfCheetahDir`; PEARL's fixed set of 100 training and 30 test velocities is replaced by fresh
    draws.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
        ICML 2017.
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
        Variables", ICML 2019.
    """

    name: ClassVar[str] = "half_cheetah_vel"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    robot: ClassVar[Robot] = _HALF_CHEETAH
    backends: ClassVar[tuple[str, ...]] = (*BACKENDS, PLAYGROUND)

    variant: str = "finn17"
    """`finn17`: target velocities up to 2 m/s; `pearl19`: up to 3 m/s."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return sample_speed(key, _TOP_VELOCITY[self.variant], outside=split == "ood")

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """-|vₓ - v*| - 0.05‖a‖²."""
        return -jnp.abs(torso.velocity[0] - task) - _CONTROL_COST * jnp.sum(action**2)

    def marks(self, task: jax.Array, path: np.ndarray) -> Sequence[Mark]:
        return [mark_speed(task, path, self.physics.dt)]

    def validate(self) -> None:
        super().validate()
        check_choice("variant", self.variant, tuple(_TOP_VELOCITY))
