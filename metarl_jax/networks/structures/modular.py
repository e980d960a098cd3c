"""Modular networks: layers of modules, a routing over them for each task, and learned connections between them."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.spaces import ActionSpace
from metarl_jax.core.types import Array, Key, PolicyOut
from metarl_jax.networks.layers import ACTIVATIONS, NarrowDense, PolicyHead, orthogonal

Routing = Literal["soft", "top_k"]


def route(logits: Array, routing: Routing, num_active: int) -> Array:
    """Weights of modules from logits `[..., M]`: w = softmax(logits), or its k largest, scaled to the sum of 1.

    `top_k` has the gradient of the softmax (straight-through). Where two logits are the same but for rounding, a replay
    may choose another module than was recorded.

    References:
      Bengio, Léonard & Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013.
    """
    soft = nn.softmax(logits)
    if routing == "soft":
        return soft
    threshold = jax.lax.top_k(logits, num_active)[0][..., -1:]
    kept = jnp.where(logits >= threshold, soft, 0.0)
    hard = kept / kept.sum(axis=-1, keepdims=True)
    return soft + jax.lax.stop_gradient(hard - soft)


GATE_SPEED = 10.0
"""Factor of the effective step size of a gate, so that gates can close within a run."""


def openness(gates: Array) -> Array:
    """σ(10 gate), the cost of a connection."""
    return jax.nn.sigmoid(GATE_SPEED * gates)


def connection_strength(gates: Array, discrete: bool = False) -> Array:
    """Strength in [0, 1] of a connection: clip(2 σ(10 gate) − ½, 0, 1). At strength 0 the connection is cut: the policy
    no longer uses it, and no gradient opens it again. At strength 1 its gate has no gradient from the policy either,
    until the cost has closed it a little. With `discrete`, connections that are not cut have strength 1, and gates have
    no gradient.

    The stretched sigmoid of the hard concrete distribution, without its noise: a replay answers what was recorded. It
    is stretched further than there, so that what a cost has closed to a quarter is cut and not merely weak.

    References:
      Louizos, Welling & Kingma, "Learning Sparse Neural Networks through L0 Regularization", ICLR 2018.
    """
    strength = jnp.clip(2.0 * openness(gates) - 0.5, 0.0, 1.0)
    return jax.lax.stop_gradient(jnp.ceil(strength)) if discrete else strength


class ModularPolicy(nn.Module):
    """L layers of M modules of D units, policy and value; the code `[L·M]` are the logits of the routing.

    Module j of layer l answers h_lj = act(W_lj x_lj + b_lj) to x_lj = M Σ_i c_lij w_{l−1,i} h_{l−1,i}: w is the routing
    of the task, c the strength of a connection, which all tasks share. The modules of the first layer read the
    observation, and the heads read M Σ_j w_{Lj} h_{Lj}. The factor M gives routed outputs the scale of unrouted ones,
    without which the routing is learned far more slowly.

    References:
      Yang et al., "Multi-Task Reinforcement Learning with Soft Modularization", NeurIPS 2020.
    """

    action_space: ActionSpace
    num_layers: int
    num_modules: int
    module_size: int
    activation: str
    log_std_init: float
    routing: Routing
    num_active: int
    discrete_connections: bool
    has_value: bool

    @property
    def code_size(self) -> int:
        return self.num_layers * self.num_modules

    @property
    def code_scale(self) -> float:
        return 3.0

    def init_code(self, key: Key) -> Array:
        """Returns even routing, with just enough noise to break the symmetry between modules."""
        return 0.01 * jax.random.normal(key, (self.code_size,))

    @nn.compact
    def __call__(self, code: Array, observation: Array) -> PolicyOut:
        num_layers, num_modules, size = self.num_layers, self.num_modules, self.module_size
        logits = code.reshape(*code.shape[:-1], num_layers, num_modules)
        weights = route(logits, self.routing, self.num_active)
        activate = ACTIVATIONS[self.activation]
        modules_init = jax.vmap(orthogonal(), in_axes=(0, None))

        def modules(layer: int, num_inputs: int) -> tuple[Array, Array]:
            def init(key):
                return modules_init(jax.random.split(key, num_modules), (num_inputs, size))

            kernels = self.param(f"kernels_{layer}", init)
            zeros = nn.initializers.zeros
            return kernels, self.param(f"biases_{layer}", zeros, (num_modules, size))

        kernels, biases = modules(0, observation.shape[-1])
        hidden = activate(jnp.einsum("...i,mid->...md", observation, kernels) + biases)
        open_ = nn.initializers.constant(0.8 / GATE_SPEED)  # a strength of 0.88
        gates = self.param("gates", open_, (num_layers - 1, num_modules, num_modules))
        strength = connection_strength(gates, self.discrete_connections)
        for layer in range(1, num_layers):
            kernels, biases = modules(layer, size)
            mixing = num_modules * weights[..., layer - 1, :, None] * strength[layer - 1]
            mixed = jnp.einsum("...ij,...id->...jd", mixing, hidden)
            hidden = activate(jnp.einsum("...jd,jde->...je", mixed, kernels) + biases)
        features = jnp.einsum("...j,...jd->...d", num_modules * weights[..., -1, :], hidden)

        distribution = PolicyHead(self.action_space, self.log_std_init)(features)
        value = jnp.zeros(observation.shape[:-1])
        if self.has_value:
            value = NarrowDense(1, 1.0)(features)[..., 0]
        latent = jnp.broadcast_to(weights, (*observation.shape[:-1], num_layers, num_modules))
        return PolicyOut(distribution, value, latent)
