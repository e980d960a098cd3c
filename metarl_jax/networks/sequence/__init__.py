"""Sequence cores: models that carry information from one step of a trial to the next.

A core is a flax module with

- `init_carry(num_episodes)`: the carry before anything was read, a pytree of `[E, ...]`;
- `project(inputs)`: `[..., I]` to what a step reads; it does not depend on the carry, so that a whole sequence is
  projected at once;
- `__call__(carry, projected, valid)`: one step, to (carry, features `[E, F]`); where `valid` `[E]` is False the carry
  stays as it was;
- `describe(carry)`: what a picture shows of the carry, arrays `[E, Z]` by name; empty where there is little to see;
- `sequence(carry, projected, valid)`: the same over `[S, E]` in parallel, where `is_parallel`. It must answer what the
  steps would have answered, whatever steps are valid.
"""

from typing import Literal

import flax.linen as nn

from metarl_jax.networks.sequence.gated import GRU, LSTM
from metarl_jax.networks.sequence.min_gru import MinGRU
from metarl_jax.networks.sequence.transformer import Transformer

CoreName = Literal["gru", "lstm", "min_gru", "transformer"]


def make_core(
    name: CoreName,
    size: int,
    num_layers: int,
    num_heads: int,
    context_length: int,
    init_timescale: float | None = None,
) -> nn.Module:
    """Returns a core by name.

    Args:
      size: number of its features.
      num_layers: layers of the parallel cores.
      num_heads: attention heads of the transformer.
      context_length: steps that the transformer looks back on.
      init_timescale: steps over which the slowest entries of the others remember before training, if that is chosen.
    """
    if name == "gru":
        return GRU(size, init_timescale)
    if name == "lstm":
        return LSTM(size, init_timescale)
    if name == "min_gru":
        return MinGRU(size, num_layers, init_timescale)
    return Transformer(size, num_layers, num_heads, context_length)
