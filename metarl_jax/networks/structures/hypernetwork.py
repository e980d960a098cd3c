"""Hypernetworks: dense layers whose weights are a function of a code of the task."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.spaces import ActionSpace
from metarl_jax.core.types import Array, Key, PolicyOut
from metarl_jax.networks.layers import (
    ACTIVATIONS,
    ActionDistribution,
    Dense,
    num_outputs,
    orthogonal,
)

Generation = Literal["full", "chunked", "low_rank", "film", "concat"]
HyperInit = Literal["bias", "small", "normal"]


class GeneratedDense(nn.Module):
    """A dense layer y = (W₀ + ΔW(e)) x + b₀ + Δb(e) of inputs `[..., I]` for codes e `[Z]` or `[..., Z]`.

    With the initialisation `bias`, W₀ is that of an ordinary layer and Δ = 0 for every code (Bias-HyperInit). With
    `small`, the generator has a fifth of the initialisation of an ordinary layer instead of zeros: where all tasks
    start from one code, zeros are a saddle point, at which neither the code nor the generator has a gradient. With
    `normal`, W₀ = 0 (but for FiLM and concat) and the generator is initialised as any dense layer would be, which knows
    the size of the code and nothing of the layer whose weights it makes. Subclasses say what Δ is.

    References:
      Ha, Dai & Le, "HyperNetworks", ICLR 2017.
      Beck et al., "Hypernetworks in Meta-Reinforcement Learning", CoRL 2022, for the initialisation.
    """

    only_modulates: ClassVar[bool] = False
    """Whether Δ has no effect if W₀ = 0."""

    size: int
    kernel_scale: float
    hyper_init: HyperInit

    @nn.compact
    def __call__(self, code: Array, x: Array) -> Array:
        has_base = self.hyper_init != "normal" or self.only_modulates
        base_init = orthogonal(self.kernel_scale) if has_base else nn.initializers.zeros
        kernel = self.param("kernel", base_init, (x.shape[-1], self.size))
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        if self.hyper_init == "normal":
            generator_init = nn.initializers.lecun_normal()
        else:
            scale = {"bias": 0.0, "small": 0.2}[self.hyper_init]
            generator_init = orthogonal(scale * self.kernel_scale)
        return self.change(code, x, kernel, bias, generator_init)

    def change(self, code, x, kernel, bias, generator_init) -> Array:
        """Returns the output of the layer, from its weights W₀ and b₀ and the code."""
        raise NotImplementedError


class FullDense(GeneratedDense):
    """ΔW(e) = Σ_z e_z K_z, and Δb likewise: every weight has a linear map of its own from the code.

    For a code at each step the weights are never written out: y_o = Σ_z e_z Σ_i K_{zio} x_i is one product, to what
    each entry of the code would add, `[..., Z, O]`, and a weighted sum. (The outer products e ⊗ x are as much
    arithmetic, but XLA:CPU is several times as slow with them.)
    """

    def change(self, code, x, kernel, bias, generator_init) -> Array:
        num_inputs, code_size = x.shape[-1] + 1, code.shape[-1]

        def init(key, shape):
            flat = generator_init(key, (code_size, num_inputs * self.size))
            return flat.reshape(shape)

        maps = self.param("maps", init, (code_size, num_inputs, self.size))
        if code.ndim == 1:
            # Not as a product, whose derivatives are outer products.
            change = jnp.sum(code[:, None, None] * maps, axis=0)
            return x @ (kernel + change[:-1]) + bias + change[-1]
        inputs = jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1))], axis=-1)
        added = inputs @ maps.swapaxes(0, 1).reshape(num_inputs, -1)
        added = added.reshape(*x.shape[:-1], code_size, self.size)
        return x @ kernel + bias + jnp.einsum("...z,...zo->...o", code, added)


class ChunkedDense(GeneratedDense):
    """Δ in C chunks of a few columns, each by the same small network from the code and an embedding of the chunk.

    Δ_c(e) = g(e, v_c) with g = dense ∘ tanh ∘ dense: beyond W₀, a wider layer has more embeddings, and no more else.

    References:
      von Oswald et al., "Continual learning with hypernetworks", ICLR 2020.
    """

    chunk_size: int = 8
    embedding_size: int = 8
    hidden_size: int = 32

    def change(self, code, x, kernel, bias, generator_init) -> Array:
        num_chunks = -(-self.size // self.chunk_size)  # the last may have more than is needed
        shape = (num_chunks, self.embedding_size)
        embeddings = self.param("chunks", nn.initializers.normal(1.0), shape)
        leading = code.shape[:-1]
        inputs = jnp.concatenate(
            [
                jnp.broadcast_to(code[..., None, :], (*leading, num_chunks, code.shape[-1])),
                jnp.broadcast_to(embeddings, (*leading, *shape)),
            ],
            axis=-1,
        )
        hidden = jnp.tanh(nn.Dense(self.hidden_size, kernel_init=orthogonal())(inputs))
        out = nn.Dense((x.shape[-1] + 1) * self.chunk_size, kernel_init=generator_init)(hidden)
        change = out.reshape(*leading, num_chunks, x.shape[-1] + 1, self.chunk_size)
        change = jnp.moveaxis(change, -3, -2).reshape(*leading, x.shape[-1] + 1, -1)
        change = change[..., : self.size]
        if code.ndim == 1:
            return x @ (kernel + change[:-1]) + bias + change[-1]
        generated = jnp.einsum("...i,...io->...o", x, change[..., :-1, :]) + change[..., -1, :]
        return x @ kernel + bias + generated


class LowRankDense(GeneratedDense):
    """ΔW(e) = U diag(A e) V with R rows in V: the code scales R directions, and shifts the bias."""

    rank: int = 8

    def change(self, code, x, kernel, bias, generator_init) -> Array:
        down = self.param("down", orthogonal(1.0), (x.shape[-1], self.rank))
        up = self.param("up", orthogonal(1.0), (self.rank, self.size))
        scale = nn.Dense(self.rank, use_bias=False, kernel_init=generator_init, name="scale")(code)
        shift = nn.Dense(self.size, use_bias=False, kernel_init=generator_init, name="shift")(code)
        return x @ kernel + bias + ((x @ down) * scale) @ up + shift


class FiLMDense(GeneratedDense):
    """y = (1 + Γ e) ∘ (W₀ x + b₀) + B e: the code scales and shifts every output.

    References:
      Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
    """

    only_modulates: ClassVar[bool] = True

    def change(self, code, x, kernel, bias, generator_init) -> Array:
        scale = nn.Dense(self.size, use_bias=False, kernel_init=generator_init, name="scale")(code)
        shift = nn.Dense(self.size, use_bias=False, kernel_init=generator_init, name="shift")(code)
        return (1.0 + scale) * (x @ kernel + bias) + shift


class ConcatDense(GeneratedDense):
    """y = W₀ x + b₀ + B e: the code is one more input of a layer whose weights all tasks share."""

    only_modulates: ClassVar[bool] = True

    def change(self, code, x, kernel, bias, generator_init) -> Array:
        shift = nn.Dense(self.size, use_bias=False, kernel_init=generator_init, name="shift")(code)
        return x @ kernel + bias + shift


LAYERS: dict[Generation, type[GeneratedDense]] = {
    "full": FullDense,
    "chunked": ChunkedDense,
    "low_rank": LowRankDense,
    "film": FiLMDense,
    "concat": ConcatDense,
}


class GeneratedPolicy(nn.Module):
    """A feed-forward policy and value function whose layers are generated from the code.

    With `embedding_size`, the observation passes a layer of that size first, which all tasks share. The value is
    generated from the last hidden layer of the policy or, with `separate_value`, from hidden layers of its own. With
    `bounded_code` the generator reads the tanh of the code.

    Inferred codes are short at first, 0.1 to 0.3, whatever the initialisation of the generator, for a step of an
    optimizer in each map moves a weight by Σ_z |e_z| as much: with a scale of 3, half-cheetahs learned far more slowly.
    """

    action_space: ActionSpace
    code_size: int
    hidden_sizes: Sequence[int]
    activation: str
    log_std_init: float
    generation: Generation
    hyper_init: HyperInit
    has_value: bool
    embedding_size: int | None = None
    separate_value: bool = False
    bounded_code: bool = False

    @property
    def code_scale(self) -> float:
        return 0.4

    def init_code(self, key: Key) -> Array:
        """Returns a random code of length 1 or so."""
        return jax.random.normal(key, (self.code_size,)) / math.sqrt(self.code_size)

    @nn.compact
    def __call__(self, code: Array, observation: Array) -> PolicyOut:
        layer, activate = LAYERS[self.generation], ACTIVATIONS[self.activation]
        if self.bounded_code:
            code = jnp.tanh(code)
        if self.embedding_size is not None:
            observation = activate(Dense(self.embedding_size)(observation))

        def hidden(x: Array) -> Array:
            for size in self.hidden_sizes:
                x = activate(layer(size, 2.0**0.5, self.hyper_init)(code, x))
            return x

        x = hidden(observation)
        space = self.action_space
        outputs = layer(num_outputs(space), 0.01, self.hyper_init)(code, x)
        value = jnp.zeros(observation.shape[:-1])
        if self.has_value:
            seen = hidden(observation) if self.separate_value else x
            value = layer(1, 1.0, self.hyper_init)(code, seen)[..., 0]
        distribution = ActionDistribution(space, self.log_std_init)(outputs)
        latent = jnp.broadcast_to(code, (*observation.shape[:-1], self.code_size))
        return PolicyOut(distribution, value, latent)
