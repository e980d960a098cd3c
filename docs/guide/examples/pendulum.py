"""Two task distributions of your own: a pendulum to swing up, and one to keep upright.

Mass and length differ between tasks and are not observed. The physics is that of the classic pendulum: a rod with
moment of inertia m l² / 3, gravity 10 m/s², a motor at the hinge.
"""

import dataclasses

import jax
import jax.numpy as jnp

from metarl_jax import Box, Discrete, EnvState, TaskDistribution, UserError

GRAVITY = 10.0  # m/s²
TIME_STEP = 0.05  # s
MAX_TORQUE = 2.0  # N m
MAX_VELOCITY = 8.0  # rad/s


def swing(task, angle, velocity, torque):
    """One time step: the angle (0 is upright, rad) and the velocity (rad/s) after it."""
    mass, length = task["mass"], task["length"]
    acceleration = 1.5 * GRAVITY / length * jnp.sin(angle) + 3.0 * torque / (mass * length**2)
    velocity = jnp.clip(velocity + TIME_STEP * acceleration, -MAX_VELOCITY, MAX_VELOCITY)
    angle = angle + TIME_STEP * velocity
    return jnp.mod(angle + jnp.pi, 2.0 * jnp.pi) - jnp.pi, velocity


def observe(angle, velocity):
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), velocity / MAX_VELOCITY])


@dataclasses.dataclass(frozen=True)
class Pendulum(TaskDistribution):
    """Swing a pendulum of unknown mass and length up, and hold it there."""

    horizon_is_task = False  # the pendulum swings on when the time is out

    horizon: int = 50
    """Steps of an episode, of 0.05 s each."""
    spread: float = 0.5
    """Masses (kg) and lengths (m) are drawn from 1 − spread to 1 + spread."""

    @property
    def episode_length(self):
        return self.horizon

    @property
    def action_space(self):
        return Box(1, -MAX_TORQUE, MAX_TORQUE)

    def sample(self, key, split="train"):
        mass, length = jax.random.uniform(
            key, (2,), minval=1.0 - self.spread, maxval=1.0 + self.spread
        )
        return {"mass": mass, "length": length}

    def reset(self, task, key):
        angle, velocity = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        angle = jnp.pi * angle
        return self._state(angle, velocity, reward=0.0)

    def step(self, task, state, action):
        torque = jnp.clip(action[0], -MAX_TORQUE, MAX_TORQUE)
        angle, velocity = state.simulator
        cost = angle**2 + 0.1 * velocity**2 + 0.001 * torque**2
        angle, velocity = swing(task, angle, velocity, torque)
        return self._state(angle, velocity, reward=-cost)

    def _state(self, angle, velocity, reward):
        return EnvState(
            observation=observe(angle, velocity),
            reward=reward,
            done=False,
            simulator=(angle, velocity),
            metrics={"upright": jnp.cos(angle)},
        )

    def validate(self):
        if not 0.0 <= self.spread < 1.0:
            raise UserError(f"env.spread={self.spread} must be at least 0 and less than 1")


@dataclasses.dataclass(frozen=True)
class Balance(Pendulum):
    """Keep a pendulum of unknown mass and length upright; an episode ends when it falls."""

    torque: float = 2.0
    """Of the motor, to the left or to the right (N m)."""

    @property
    def action_space(self):
        return Discrete(3)  # left, off, right

    def reset(self, task, key):
        angle, velocity = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)
        return self._state(angle, velocity, reward=0.0)

    def step(self, task, state, action):
        angle, velocity = swing(task, *state.simulator, self.torque * (action - 1))
        fallen = jnp.abs(angle) > 0.5
        after = self._state(angle, velocity, reward=jnp.where(fallen, 0.0, 1.0))
        return after.replace(done=fallen)
