"""Action spaces, and actions as learners see them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.core import Tracer

from metarl_jax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Discrete:
    """Actions `{0, …, num_actions − 1}`, int32."""

    num_actions: int

    def __post_init__(self) -> None:
        """Raises `UserError` where there is no action."""
        if self.num_actions < 1:
            raise UserError(f"Discrete(num_actions={self.num_actions}) must have at least 1 action")


@dataclasses.dataclass(frozen=True)
class Box:
    """Actions in `[low, high]^size`, float32. The environment clips what lies outside."""

    size: int
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Raises `UserError` where the bounds are not finite, or leave no room between them."""
        if self.size < 1:
            raise UserError(f"Box(size={self.size}) must have at least 1 entry")
        if isinstance(self.low, Tracer) or isinstance(self.high, Tracer):
            return
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(
                f"Box(low={self.low}, high={self.high}) must have finite bounds, with low below high"
            )

    @property
    def centre(self) -> float:
        """The middle of the box: the mean of the first policy."""
        return 0.5 * (self.low + self.high)

    @property
    def half_width(self) -> float:
        """Half of high − low: the unit of means and deviations about the centre."""
        return 0.5 * (self.high - self.low)


ActionSpace = Discrete | Box


def encode_action(action_space: ActionSpace, action: jax.Array) -> jax.Array:
    """The action as a learner sees it at the next step, `[..., A]` float32.

    One-hot for `Discrete`; for `Box` what was done of it, from −1 at the lower bound to 1 at the upper one.
    """
    if isinstance(action_space, Discrete):
        return jax.nn.one_hot(action, action_space.num_actions, dtype=jnp.float32)
    return jnp.clip((action - action_space.centre) / action_space.half_width, -1.0, 1.0)


def encoded_action_size(action_space: ActionSpace) -> int:
    """The number of entries of `encode_action`."""
    if isinstance(action_space, Discrete):
        return action_space.num_actions
    return action_space.size
