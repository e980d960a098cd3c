"""Spaces of observations and actions, and both as flat vectors.

An observation space is a pytree of `Array` and `Integers`, like the observations themselves: one `Array((17,))`, or a
dictionary `{"position": Array((2,)), "tiles": Integers((5, 5), num_values=9)}`.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from metarl_jax.core.errors import UserError

ObservationSpace = Any
"""A pytree whose leaves are `Array` and `Integers`."""
Observation = Any
"""A pytree of arrays of the structure of its space."""


@dataclasses.dataclass(frozen=True)
class Array:
    """Observations that are floats, of any shape."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def flat_size(self) -> int:
        """Entries in a flattened observation."""
        return math.prod(self.shape)

    def flatten(self, x: jax.Array) -> jax.Array:
        """`[..., *shape]` to float32 `[..., F]`."""
        return x.astype(jnp.float32).reshape(*x.shape[: x.ndim - len(self.shape)], self.flat_size)


@dataclasses.dataclass(frozen=True)
class Integers:
    """Observations that are integers in `{0, …, num_values − 1}`, of any shape: tiles of a grid, cards, a count."""

    shape: tuple[int, ...]
    num_values: int
    dtype: str = "int32"

    def __post_init__(self) -> None:
        """Raises `UserError` where there is no value."""
        if self.num_values < 1:
            raise UserError(f"Integers(num_values={self.num_values}) must have at least 1 value")

    @property
    def flat_size(self) -> int:
        """Entries in a flattened observation, in which each integer is one-hot."""
        return math.prod(self.shape) * self.num_values

    def flatten(self, x: jax.Array) -> jax.Array:
        """`[..., *shape]` to one-hot float32 `[..., F]`."""
        leading = x.shape[: x.ndim - len(self.shape)]
        values = jax.nn.one_hot(x.astype(jnp.int32), self.num_values, dtype=jnp.float32)
        return values.reshape(*leading, -1)


def space_leaves(space: ObservationSpace) -> list[Array | Integers]:
    """Returns the leaves of an observation space, in the order of `jax.tree.leaves`."""
    return jax.tree.leaves(space, is_leaf=is_space)


def flatten(space: ObservationSpace, observation: Observation) -> jax.Array:
    """Flattens an observation, with any leading axes, into one float32 vector `[..., F]`; integers become one-hot."""
    parts = [leaf.flatten(x) for leaf, x in pairs(space, observation)]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def flat_size(space: ObservationSpace) -> int:
    """Returns F, the number of entries of `flatten`."""
    return sum(leaf.flat_size for leaf in space_leaves(space))


def blank(space: ObservationSpace, *leading: int) -> Observation:
    """Returns an observation of zeros, with these leading axes."""
    return jax.tree.map(
        lambda leaf: jnp.zeros((*leading, *leaf.shape), leaf.dtype), space, is_leaf=is_space
    )


def space_of(observation: Observation) -> ObservationSpace:
    """Returns the space of an observation: `Array` for floats, `Integers` of two values for booleans.

    Args:
      observation: a pytree of arrays, or of their shapes and types.

    Raises:
      UserError: for integers, because their number of values cannot be inferred.
    """

    def of_leaf(path: Any, x: Any) -> Array | Integers:
        if jnp.issubdtype(x.dtype, jnp.floating):
            return Array(x.shape)
        if x.dtype == jnp.bool_:
            return Integers(x.shape, 2, "bool")
        name = jax.tree_util.keystr(path)
        raise UserError(
            f"observation{name} is {x.dtype}: define observation_space, with "
            f"Integers({x.shape}, num_values=…) in its place, or observe floats"
        )

    return jax.tree_util.tree_map_with_path(of_leaf, observation)


def pairs(
    space: ObservationSpace, observation: Observation
) -> list[tuple[Array | Integers, jax.Array]]:
    """Returns pairs of a leaf of the space and the array of the observation that belongs to it."""
    structure = jax.tree.structure(space, is_leaf=is_space)
    return list(zip(space_leaves(space), structure.flatten_up_to(observation), strict=True))


def is_space(node: Any) -> bool:
    """Whether this is a leaf of an observation space."""
    return isinstance(node, Array | Integers)


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
        """The middle of the box, `[]`: the mean of a policy before training."""
        return 0.5 * (self.low + self.high)

    @property
    def half_width(self) -> float:
        """Half of high − low: the unit of a policy's means and standard deviations."""
        return 0.5 * (self.high - self.low)


ActionSpace = Discrete | Box


def encode_action(action_space: ActionSpace, action: jax.Array) -> jax.Array:
    """Encodes an action as the learner reads it at the next step, `[..., A]` float32. `Discrete` actions become
    one-hot; `Box` actions are clipped and scaled, from −1 at the lower bound to 1 at the upper one.
    """
    if isinstance(action_space, Discrete):
        return jax.nn.one_hot(action, action_space.num_actions, dtype=jnp.float32)
    return jnp.clip((action - action_space.centre) / action_space.half_width, -1.0, 1.0)


def encoded_action_size(action_space: ActionSpace) -> int:
    """Returns the number of entries of `encode_action`."""
    if isinstance(action_space, Discrete):
        return action_space.num_actions
    return action_space.size
