"""Robots whose masses, inertias, damping and friction differ from task to task."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import check_split
from metarl_jax.envs.brax.base import BraxFamily, Physics, Robot, Torso
from metarl_jax.envs.brax.hopper import HOPPER, hopper_has_fallen, reward_of_progress

_BASE, _DAMPING_BASE = 1.5, 1.3


class PhysicsFactors(struct.PyTreeNode):
    """Factors of the nominal physics of a robot, float32.

    Attributes:
      mass: `[L]`, of each link.
      inertia: `[L, 3]`, of the principal moments of each link.
      damping: `[J]`, of each joint.
      friction: `[G, 3]`, sliding, torsional and rolling, of each geometry, the floor among them.
    """

    mass: jax.Array
    inertia: jax.Array
    damping: jax.Array
    friction: jax.Array


@dataclasses.dataclass(frozen=True)
class RandomPhysics(BraxFamily):
    """Move forward with a body that is not known.

    The task is a `PhysicsFactors`. Each factor is drawn by itself, 1.5^u for masses, inertias and friction and 1.3^u
    for damping, with u ~ U[-s, s] and s = `log_scale`. The `ood` split draws |u| from [s, 1.25 s]. The task is applied
    to the Brax system inside the compiled program: a new physics needs no compilation.

    With vₓ the torso's mean forward velocity over a step of 0.008 s in m/s and a the action clipped to [-1, 1], the
    reward is vₓ - 0.001‖a‖² + 1; the step that falls earns its bonus too, as in Gym. Observations are heights and
    angles, then velocities clipped to ±10. Joint positions and velocities begin at rest + U[-0.005, 0.005].

    On `spring` and `positional`, Brax reads neither joint damping nor moments of inertia of these robots: such a
    physics does not know most of the task, so that neither may be chosen.

    References:
      Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019, and its `rand_param_envs`.
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    backends: ClassVar[tuple[str, ...]] = ("generalized", "mjx")
    num_joints: ClassVar[int]
    """J; the degrees of freedom before them place the torso in the plane."""

    horizon: int = bounded(200, at_least=1)
    """Steps per episode, of 0.008 s each."""
    backend: str = "generalized"
    """The physics: `generalized` or `mjx`."""
    log_scale: float = bounded(3.0, above=0)
    """Largest exponent s of a factor: 3 multiplies by 0.30 to 3.4, and damping by 0.46 to 2.2."""

    def sample(self, key: jax.Array, split: str = "train") -> PhysicsFactors:
        check_split(self, split)
        system = self.physics.env.sys
        num_links, num_geometries = len(system.link.inertia.mass), len(system.geom_friction)
        shapes = {
            "mass": (num_links,),
            "inertia": (num_links, 3),
            "damping": (self.num_joints,),
            "friction": (num_geometries, 3),
        }

        def factors(name: str, key: jax.Array) -> jax.Array:
            exponent = self.log_scale * jax.random.uniform(key, shapes[name], minval=-1.0)
            if split == "ood":
                sign = jnp.where(exponent < 0, -1.0, 1.0)
                exponent = sign * self.log_scale + 0.25 * exponent
            return (_DAMPING_BASE if name == "damping" else _BASE) ** exponent

        keys = jax.random.split(key, len(shapes))
        return PhysicsFactors(
            **{name: factors(name, key) for name, key in zip(shapes, keys, strict=True)}
        )

    def physics_of(self, task: PhysicsFactors) -> Physics:
        system = self.physics.env.sys
        return self.physics.replace(
            mass=system.link.inertia.mass * task.mass,
            inertia=self.physics.inertia * task.inertia,
            damping=system.dof.damping.at[-self.num_joints :].multiply(task.damping),
            friction=system.geom_friction * task.friction,
        )

    def reward(self, task: PhysicsFactors, torso: Torso, action: jax.Array) -> jax.Array:
        """vₓ - 0.001‖a‖² + 1."""
        del task
        return reward_of_progress(torso, action)

    def oracle_observation(self, task: PhysicsFactors) -> jax.Array:
        """Returns the logarithms of all factors, `[4 L + J + 3 G]`."""
        return jnp.log(super().oracle_observation(task))


@dataclasses.dataclass(frozen=True)
class Walker2dParams(RandomPhysics):
    """Walk forward on two legs with a body that is not known: `RandomPhysics`, with a planar walker.

    The episode terminates when the torso is not between 0.8 m and 2 m high, or pitched by more than 1 rad. The
    observation is `[17]`, and the action `[6]`. Brax's walker is MuJoCo's, with joints damped by 0.1 N·m·s/rad.

    References:
      Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019.
    """

    name: ClassVar[str] = "walker2d_params"
    robot: ClassVar[Robot] = Robot("brax.envs.walker2d:Walker2d", 17, 6)
    num_joints: ClassVar[int] = 6

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso is outside [0.8, 2] m, or pitched by 1 rad or more."""
        height = torso.position[2]
        return (height <= 0.8) | (height >= 2.0) | (jnp.abs(torso.pitch) >= 1.0)


@dataclasses.dataclass(frozen=True)
class HopperParams(RandomPhysics):
    """Hop forward with a body that is not known: `RandomPhysics`, with a hopper.

    The episode terminates when the torso is below 0.7 m, or pitched by more than 0.2 rad. The observation is `[11]`,
    and the action `[3]`.

    References:
      Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019.
    """

    name: ClassVar[str] = "hopper_params"
    robot: ClassVar[Robot] = HOPPER
    num_joints: ClassVar[int] = 3

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso is at 0.7 m or below, or pitched by 0.2 rad or more."""
        return hopper_has_fallen(torso)
