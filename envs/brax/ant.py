"""A four-legged ant that must find out which way to walk."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.envs.base import check_split
from metarl_jax.envs.brax.base import BraxFamily, Robot, Torso, check_choice

_ANT = Robot("brax.envs.ant:Ant", observation_size=27, action_size=8)
_HEALTHY_HEIGHT = (0.2, 1.0)


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
        "finn17 has two tasks in all: its `test` split draws the training tasks again"
    )
    robot: ClassVar[Robot] = _ANT

    variant: str = "finn17"
    """`finn17`: forward or backward; `pearl19`: any direction in the plane."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        if self.variant == "finn17":
            sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
            return sign * jnp.array([1.0, 0.0], jnp.float32)
        angle = jax.random.uniform(key, (), jnp.float32, minval=0.0, maxval=2.0 * jnp.pi)
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """u·v - control cost + alive bonus."""
        terms = _TERMS[self.variant]
        forward = jnp.dot(task, torso.velocity[:2])
        return forward - terms.control_cost * jnp.sum(action**2) + terms.alive_bonus

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso's height is outside [0.2, 1.0] m."""
        low, high = _HEALTHY_HEIGHT
        height = torso.position[2]
        return (height < low) | (height > high)

    def oracle_observation(self, task: jax.Array) -> jax.Array:
        """The heading (cos φ, sin φ), `[2]`."""
        return task

    def validate(self) -> None:
        super().validate()
        check_choice("variant", self.variant, tuple(_TERMS))
