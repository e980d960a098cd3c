"""A one-legged hopper whose body is uncertain: the ensemble of models of EPOpt."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import check_split
from metarl_jax.envs.brax.base import BraxFamily, Physics, Robot, Torso

HOPPER = Robot("brax.envs.hopper:Hopper", observation_size=11, action_size=3)
_CONTROL_COST = 1e-3
_ALIVE_BONUS = 1.0
_LOWEST_HEIGHT = 0.7  # m
_LARGEST_PITCH = 0.2  # rad


def reward_of_progress(torso: Torso, action: jax.Array) -> jax.Array:
    """Returns the reward of Gym's hopper and walker, vₓ - 0.001‖a‖² + 1, `[]`."""
    return torso.velocity[0] - _CONTROL_COST * jnp.sum(action**2) + _ALIVE_BONUS


def hopper_has_fallen(torso: Torso) -> jax.Array:
    """Returns whether the torso is at 0.7 m or below, or pitched by 0.2 rad or more, `[]` bool."""
    return (torso.position[2] <= _LOWEST_HEIGHT) | (jnp.abs(torso.pitch) >= _LARGEST_PITCH)


class HopperBody(struct.PyTreeNode):
    """One task of `HopperEnsemble`, `[]` float32 each.

    Attributes:
      torso_mass: kg.
      friction: sliding friction coefficient of the foot.
      damping: N·m·s/rad, of the three joints.
      armature: kg·m², the rotor's inertia at the three joints.
    """

    torso_mass: jax.Array
    friction: jax.Array
    damping: jax.Array
    armature: jax.Array


class _Truncated(NamedTuple):
    """A normal distribution, cut to [low, high]."""

    mean: float
    std: float
    low: float
    high: float

    def sample_outside(self, key: jax.Array) -> jax.Array:
        """Draws a value at most one standard deviation beyond either end."""
        beyond = jax.random.uniform(key, (), jnp.float32, minval=-self.std, maxval=self.std)
        return jnp.where(beyond < 0, self.low, self.high) + beyond

    def sample(self, key: jax.Array) -> jax.Array:
        low, high = (self.low - self.mean) / self.std, (self.high - self.mean) / self.std
        value = self.mean + self.std * jax.random.truncated_normal(key, low, high)
        return jnp.clip(value, self.low, self.high)


SOURCE = {
    "torso_mass": _Truncated(6.0, 1.5, 3.0, 9.0),
    "friction": _Truncated(2.0, 0.25, 1.5, 2.5),
    "damping": _Truncated(2.5, 1.0, 1.0, 4.0),
    "armature": _Truncated(1.0, 0.25, 0.5, 1.5),
}
"""The source distribution of each field of a `HopperBody`, all independent."""


@dataclasses.dataclass(frozen=True)
class HopperEnsemble(BraxFamily):
    """Hop forward with a body that is not known.

    The task is a `HopperBody`, drawn from the source distribution of EPOpt, normal distributions that are cut:

      torso mass  N(6, 1.5²) kg on [3, 9]             friction  N(2, 0.25²) on [1.5, 2.5]
      damping     N(2.5, 1²) N·m·s/rad on [1, 4]      armature  N(1, 0.25²) kg·m² on [0.5, 1.5]

    The `ood` split draws each of them uniformly up to one standard deviation beyond either end.

    Brax's hopper is MuJoCo's, in the same units: its nominal body has 3.67 kg, 2, 1 and 1. The torso's moment of
    inertia goes with its mass, as if it were denser. What Brax derives from the nominal body to regularise its
    constraint solver stays as it is.

    With vₓ the torso's mean forward velocity over a step in m/s and a the action clipped to [-1, 1], the reward is vₓ -
    0.001‖a‖² + 1. The episode terminates when the torso is below 0.7 m or pitched by more than 0.2 rad; the step that
    falls earns its bonus too, as in Gym. The observation `[11]` is height, pitch and joint angles, then velocities,
    clipped to ±10. Joint positions and velocities begin at rest + U[-0.005, 0.005].

    On `spring` and `positional`, Brax has neither joint damping nor armature, and gives every link of this robot the
    mass 1 kg: such a physics does not know most of the task, so that neither may be chosen.

    References:
      Rajeswaran et al., "EPOpt: Learning Robust Neural Network Policies Using Model Ensembles", ICLR 2017.
    """

    name: ClassVar[str] = "hopper_ensemble"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    robot: ClassVar[Robot] = HOPPER
    backends: ClassVar[tuple[str, ...]] = ("generalized", "mjx")

    horizon: int = bounded(200, at_least=1)
    """Steps per episode, of 0.008 s each."""
    backend: str = "generalized"
    """The physics: `generalized` or `mjx`."""

    def sample(self, key: jax.Array, split: str = "train") -> HopperBody:
        check_split(self, split)
        keys = jax.random.split(key, len(SOURCE))
        draw = _Truncated.sample_outside if split == "ood" else _Truncated.sample
        values = zip(SOURCE.items(), keys, strict=True)
        return HopperBody(**{name: draw(source, key) for (name, source), key in values})

    def physics_of(self, task: HopperBody) -> Physics:
        system = self.physics.env.sys
        relative_mass = task.torso_mass / system.link.inertia.mass[0]
        # The last three degrees of freedom are the joints; those before place the torso in the plane.
        return self.physics.replace(
            mass=system.link.inertia.mass.at[0].set(task.torso_mass),
            inertia=self.physics.inertia.at[0].multiply(relative_mass),
            damping=system.dof.damping.at[-3:].set(task.damping),
            armature=system.dof.armature.at[-3:].set(task.armature),
            friction=system.geom_friction.at[-1, 0].set(task.friction),
        )

    def reward(self, task: HopperBody, torso: Torso, action: jax.Array) -> jax.Array:
        """vₓ - 0.001‖a‖² + 1."""
        del task
        return reward_of_progress(torso, action)

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso is below 0.7 m, or pitched by more than 0.2 rad."""
        return hopper_has_fallen(torso)
