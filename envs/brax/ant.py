"""A four-legged ant that must find out which way, where to, or how fast to walk."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Mark
from metarl_jax.envs.base import check_split
from metarl_jax.envs.brax.base import BraxFamily, Robot, Torso, check_choice
from metarl_jax.envs.brax.drawing import mark_heading, mark_place, mark_speed
from metarl_jax.envs.goals import sample_heading, sample_speed, sample_square

_ANT = Robot("brax.envs.ant:Ant", observation_size=27, action_size=8, is_planar=False)
_ANT_WITH_POSITION = Robot(
    "brax.envs.ant:Ant", 29, 8, (("exclude_current_positions_from_observation", False),), False
)
_HEALTHY_HEIGHT = (0.2, 1.0)
_TOP_SPEED = 3.0
_GOAL_RANGE = 3.0


class _Terms(NamedTuple):
    control_cost: float
    alive_bonus: float


_TERMS = {"finn17": _Terms(0.005, 0.05), "pearl19": _Terms(0.5, 1.0)}


@dataclasses.dataclass(frozen=True)
class AntDir(BraxFamily):
    """Walk in a direction that is not observed.

    The task is the heading u, a unit vector `[2]` float32 in the plane: (±1, 0) with equal odds for
    `finn17`, (cos φ, sin φ) with φ ~ U[0, 2π) rad for `pearl19`. With v the torso's velocity in m/s
    and a the action clipped to [-1, 1], the reward is

        finn17:  u·v - 0.005‖a‖² + 0.05
        pearl19: u·v - 0.5‖a‖² + 1.0

    and the episode terminates when the torso's height leaves [0.2, 1.0] m. The step that falls
    earns its bonus too, as in the sources.

    `finn17` has two tasks in all, so no held-out set exists: its `test` split draws the same two.
    `pearl19` covers the whole circle, so there is nothing outside the range either.

    Differences from the sources. Both subtract a contact cost of 0.0005‖clip(cfrc_ext, ±1)‖², at
    most 0.042 a step; Brax does not compute external contact forces, so it is left out. For the
    same reason the observation `[27]` is positions without x and y, then velocities, as in PEARL;
    MAML adds x, y, the contact forces and the torso's orientation matrix and centre of mass. The
    ant starts 0.55 m above the ground, not 0.75. v is the torso's mean velocity over a step of 0.05
    s, as in PEARL; MAML reads the instantaneous velocity of the centre of mass. On `positional`
    Brax sets the motors' gear to 200, where the model has 150.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
        ICML 2017.
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
        Variables", ICML 2019.
    """

    name: ClassVar[str] = "ant_dir"
    note: ClassVar[str] = (
        "finn17 has two tasks in all: its `test` split draws the training tasks again; pearl19 covers the circle, so "
        "that no task is out of distribution"
    )
    robot: ClassVar[Robot] = _ANT

    variant: str = "finn17"
    """`finn17`: forward or backward; `pearl19`: any direction in the plane."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        if self.variant == "finn17":
            sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
            return sign * jnp.array([1.0, 0.0], jnp.float32)
        return sample_heading(key)

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """u·v - control cost + alive bonus."""
        terms = _TERMS[self.variant]
        forward = jnp.dot(task, torso.velocity[:2])
        return forward - terms.control_cost * jnp.sum(action**2) + terms.alive_bonus

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso's height is outside [0.2, 1.0] m."""
        return torso.has_left(*_HEALTHY_HEIGHT)

    def marks(self, task: jax.Array, path: np.ndarray) -> Sequence[Mark]:
        return [mark_heading(task, path)]

    def validate(self) -> None:
        super().validate()
        check_choice("variant", self.variant, tuple(_TERMS))


_GOAL_TERMS = {"finn17": _Terms(0.005, 4.05), "pearl19": _Terms(0.1, 0.0)}


@dataclasses.dataclass(frozen=True)
class AntGoal(BraxFamily):
    """Walk to a goal that is not observed.

    The task is the goal g `[2]` in m: U[-3, 3]² for `finn17`; r(cos φ, sin φ) with r = 3√U[0, 1] and φ ~ U[0, 2π) for
    `pearl19`, uniform on the disc. With p the torso's position in the plane after a step in m and a the action clipped
    to [-1, 1], the reward is

        finn17:  -‖p - g‖₁ - 0.005‖a‖² + 4 + 0.05
        pearl19: -‖p - g‖₁ - 0.1‖a‖²

    With `finn17` the episode terminates when the torso's height leaves [0.2, 1.0] m; `pearl19` never terminates. The
    `ood` split draws goals around those of training: from the frame between [-3, 3]² and [-4.5, 4.5]², or from the ring
    between 3 m and 4.5 m.

    Differences from the sources are those of `AntDir`, but that the position is observed here as in both sources,
    before the other entries: the observation is `[29]`.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019.
    """

    name: ClassVar[str] = "ant_goal"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    robot: ClassVar[Robot] = _ANT_WITH_POSITION

    variant: str = "finn17"
    """`finn17`: goals in a square; `pearl19`: goals in a disc, and no termination."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        if self.variant == "finn17":
            return sample_square(key, _GOAL_RANGE, reach=1.5 if split == "ood" else None)
        radius_key, angle_key = jax.random.split(key)
        low, high = (1.0, 1.5**2) if split == "ood" else (0.0, 1.0)
        square = jax.random.uniform(radius_key, (), jnp.float32, minval=low, maxval=high)
        return _GOAL_RANGE * jnp.sqrt(square) * sample_heading(angle_key)

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """-‖p - g‖₁ - control cost + bonus."""
        terms = _GOAL_TERMS[self.variant]
        distance = jnp.sum(jnp.abs(torso.position[:2] - task))
        return -distance - terms.control_cost * jnp.sum(action**2) + terms.alive_bonus

    def marks(self, task: jax.Array, path: np.ndarray) -> Sequence[Mark]:
        return [mark_place(task, path)]

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the ant has fallen, in `finn17`; never in `pearl19`."""
        return (
            torso.has_left(*_HEALTHY_HEIGHT)
            if self.variant == "finn17"
            else super().terminates(torso)
        )

    def validate(self) -> None:
        super().validate()
        check_choice("variant", self.variant, tuple(_GOAL_TERMS))


@dataclasses.dataclass(frozen=True)
class AntVel(BraxFamily):
    """Walk forward at a speed that is not observed.

    The task is the target speed v* ~ U[0, 3] m/s, `[]` float32. With vₓ the torso's forward velocity in m/s and a the
    action clipped to [-1, 1], the reward is -|vₓ - v*| + 1 - 0.005‖a‖² + 0.05; the episode terminates when the torso's
    height leaves [0.2, 1.0] m. The `ood` split draws U[3, 4.5]. Differences from the source are those of `AntDir`.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
    """

    name: ClassVar[str] = "ant_vel"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    robot: ClassVar[Robot] = _ANT

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return sample_speed(key, _TOP_SPEED, outside=split == "ood")

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """-|vₓ - v*| + 1 - 0.005‖a‖² + 0.05."""
        return -jnp.abs(torso.velocity[0] - task) - 0.005 * jnp.sum(action**2) + 1.05

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso's height is outside [0.2, 1.0] m."""
        return torso.has_left(*_HEALTHY_HEIGHT)

    def marks(self, task: jax.Array, path: np.ndarray) -> Sequence[Mark]:
        return [mark_speed(task, path, self.physics.dt)]
