"""Encoders of observations: modules from a pytree of arrays to one vector of features.

`learner.encoder` names one, or else the environment does (`TaskDistribution.encoder`). To write your own, define a flax
module with a field `space`, the observation space, that maps observations `[..., *]` to features `[..., F]`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from metarl_jax.core import spaces
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Entry, Registry
from metarl_jax.core.types import Array
from metarl_jax.networks.layers import Dense

registry: Registry[type[nn.Module]] = Registry(
    "encoder",
    "flax.linen:Module",
    {
        "flat": Entry("metarl_jax.networks.encoders:FlatEncoder", "one vector, integers one-hot"),
        "grid": Entry(
            "metarl_jax.networks.encoders:GridEncoder", "integer grids: embeddings and convolutions"
        ),
    },
)


def make_encoder(name: str, space: spaces.ObservationSpace) -> nn.Module:
    """Returns the encoder of this name for observations of this space.

    Raises:
      UserError: for an unknown name, or a space that the encoder cannot read.
    """
    cls: Any = registry.get(name)
    encoder = cls(HashableSpace(space))
    check = getattr(encoder, "check_space", None)
    if check is not None:
        check()
    return encoder


class HashableSpace:
    """An observation space as an attribute of a flax module; flax would convert a plain dictionary to another type."""

    def __init__(self, space: spaces.ObservationSpace):
        self.value = space


class FlatEncoder(nn.Module):
    """Flattens an observation into one vector, integers one-hot. It has no parameters."""

    space: HashableSpace

    def __call__(self, observation: spaces.Observation) -> Array:
        return spaces.flatten(self.space.value, observation)


class GridEncoder(nn.Module):
    """Encodes integer grids `[H, W]` or `[H, W, C]` by embeddings and small convolutions; all other entries are
    flattened.

    Every channel of integers has an embedding table of its own. The convolutions are 2×2 and, written as dense layers
    over patches, seven times as fast on a CPU as XLA's for so few channels.

    References:
      Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", NeurIPS 2024, for the
        architecture.
    """

    space: HashableSpace
    embedding_size: int = 16
    sizes: Sequence[int] = (16, 32, 64)

    def check_space(self) -> None:
        """Raises `UserError` if the space has no integer grid."""
        if not any(map(_is_grid, spaces.space_leaves(self.space.value))):
            raise UserError(
                f"encoder='grid' needs Integers of shape (H, W) or (H, W, C) in observation_space, which is "
                f"{self.space.value}: choose encoder='flat'"
            )

    @nn.compact
    def __call__(self, observation: spaces.Observation) -> Array:
        features = []
        for leaf, x in spaces.pairs(self.space.value, observation):
            features.append(self._read_grid(leaf, x) if _is_grid(leaf) else leaf.flatten(x))
        return jnp.concatenate(features, axis=-1)

    def _read_grid(self, space: Any, x: Array) -> Array:
        """Integers `[..., H, W(, C)]` to features `[..., F]`."""
        channels = x[..., None] if len(space.shape) == 2 else x
        num_channels = channels.shape[-1]
        embed = self.param(
            "embedding",
            nn.initializers.normal(1.0),
            (num_channels, space.num_values, self.embedding_size),
        )
        x = jnp.concatenate(
            [embed[i][channels[..., i].astype(jnp.int32)] for i in range(num_channels)], axis=-1
        )
        for size in self.sizes:
            if min(x.shape[-3:-1]) < 2:
                break
            x = nn.relu(Dense(size)(_patches(x)))
        return x.reshape(*x.shape[:-3], -1)


def _is_grid(space: Any) -> bool:
    return isinstance(space, spaces.Integers) and len(space.shape) in (2, 3)


def _patches(x: Array) -> Array:
    """The 2×2 patches of `[..., H, W, C]`: `[..., H − 1, W − 1, 4C]`."""
    top, bottom = x[..., :-1, :, :], x[..., 1:, :, :]
    corners = [
        part[..., columns, :]
        for part in (top, bottom)
        for columns in (slice(0, -1), slice(1, None))
    ]
    return jnp.concatenate(corners, axis=-1)
