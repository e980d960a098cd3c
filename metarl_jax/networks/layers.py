"""Dense layers, heads for actions and a policy, as flax.linen modules: their parameters are plain dictionaries."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from metarl_jax.core.distributions import Categorical, DiagonalGaussian, Distribution
from metarl_jax.core.spaces import ActionSpace, Discrete, Observation
from metarl_jax.core.target import is_for_cpu
from metarl_jax.core.trees import join_leading, largest_divisor, split_leading
from metarl_jax.core.types import Array, PolicyOut

Activation = Literal["tanh", "relu", "elu", "swish"]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "elu": nn.elu,
    "swish": nn.swish,
}


def orthogonal(scale: float = 2.0**0.5) -> nn.initializers.Initializer:
    """Orthogonal initialisation that also accepts inputs of no entries (a bandit has no observation)."""
    initializer = nn.initializers.orthogonal(scale)

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return initializer(key, shape, dtype) if 0 not in shape else jnp.zeros(shape, dtype)

    return init


class Dense(nn.Module):
    """A dense layer: `[..., I]` to `[..., size]`.

    On a CPU, a long batch `[B, I]` is multiplied in blocks of up to 200 rows, each with a copy of the kernel. The same
    numbers come out, but the gradient of the kernel becomes a sum of products over 200 rows instead of one over all,
    which XLA:CPU computes at half the speed: a meta-step of MAML with 2000 rows a task takes a tenth to a fifth less
    time.
    """

    size: int
    kernel_scale: float = 2.0**0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", orthogonal(self.kernel_scale), (x.shape[-1], self.size))
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        is_known = x.ndim == 2 and isinstance(x.shape[0], int)  # or exported for any number of rows
        rows = largest_divisor(x.shape[0], 200) if is_known and is_for_cpu() else 0
        if rows < 64:
            return x @ kernel + bias
        blocks = split_leading(x, rows)
        return join_leading(blocks @ jnp.broadcast_to(kernel, (len(blocks), *kernel.shape))) + bias


class MLP(nn.Module):
    """Dense layers, each followed by the activation: `[..., I]` to `[..., sizes[-1]]`."""

    sizes: Sequence[int]
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for size in self.sizes:
            x = ACTIVATIONS[self.activation](Dense(size)(x))
        return x


class NarrowDense(nn.Module):
    """A dense layer for few outputs: features `[..., H]` to `[..., size]`.

    On a CPU, up to four outputs are a matrix-vector product each. XLA:CPU fuses those, and their derivatives, with
    what surrounds them, which takes a sixth off the gradient of a 64×64 policy with two actions.
    """

    size: int
    kernel_scale: float

    @nn.compact
    def __call__(self, features: Array) -> Array:
        kernel = self.param(
            "kernel", orthogonal(self.kernel_scale), (features.shape[-1], self.size)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        if self.size > 4 or not is_for_cpu():
            return features @ kernel + bias
        return jnp.stack([features @ kernel[:, i] for i in range(self.size)], axis=-1) + bias


MIN_LOG_STD = -6.0
"""Lower bound of the log standard deviation of an action, in half-widths of its box."""


def squareplus(x: Array) -> Array:
    """(x + √(x² + 1)) / 2: above 0 everywhere, close to x where x is large, and to 1/(4|x|) far below 0.

    Use it for learned quantities with a lower bound. Beyond a clip the gradient is zero and the quantity stays there;
    the gradient of softplus vanishes exponentially, that of squareplus as 1/(4x²).

    References:
      Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", 2021.
    """
    root = jnp.sqrt(x * x + 1.0)
    # The difference of large numbers below 0, as their quotient.
    return jnp.where(x > 0, 0.5 * (x + root), 0.5 / (root + jnp.abs(x)))


def inverse_squareplus(y: float | Array) -> Any:
    """Returns the x with squareplus(x) = y, for y > 0."""
    return y - 0.25 / y


class ActionDistribution(nn.Module):
    """Maps the `num_outputs` outputs of a network to a distribution over actions.

    `Discrete` gives a `Categorical`; `Box` a `DiagonalGaussian` whose mean is centre + half-width · output and whose
    deviation, a parameter of its own for each entry or for all of them, does not depend on the state. `log_std_init`
    is in half-widths: the first deviation of an action in ±0.1 or in [1, 1.2] is 0.1·exp(log_std_init).

    The log deviation is m + squareplus(p − m) with the lower bound m = `MIN_LOG_STD` and p the parameter; away from the
    bound it is close to p.
    """

    action_space: ActionSpace
    log_std_init: float = 0.0
    one_deviation: bool = False

    @nn.compact
    def __call__(self, outputs: Array) -> Distribution:
        space = self.action_space
        if isinstance(space, Discrete):
            return Categorical(outputs)
        shape = () if self.one_deviation else (space.size,)

        def first(key, shape):
            # Here and not outside: a traced `log_std_init` has no place where the policy is applied.
            del key
            value = MIN_LOG_STD + inverse_squareplus(self.log_std_init - MIN_LOG_STD)
            return jnp.full(shape, value, jnp.float32)

        free = self.param("log_std", first, shape)
        log_std = MIN_LOG_STD + squareplus(free - MIN_LOG_STD) + jnp.log(space.half_width)
        mean = space.centre + space.half_width * outputs
        return DiagonalGaussian(mean, jnp.broadcast_to(log_std, outputs.shape))


def num_outputs(space: ActionSpace) -> int:
    """Returns the number of outputs of a network that `ActionDistribution` reads."""
    return space.num_actions if isinstance(space, Discrete) else space.size


class PolicyHead(nn.Module):
    """Maps features `[..., H]` to a distribution over actions; before training, uniform or centred."""

    action_space: ActionSpace
    log_std_init: float = 0.0

    @nn.compact
    def __call__(self, features: Array) -> Distribution:
        outputs = NarrowDense(num_outputs(self.action_space), 0.01)(features)
        return ActionDistribution(self.action_space, self.log_std_init)(outputs)


class PerActionHead(nn.Module):
    """Scores the actions of a `Discrete` space with shared weights, from what is observed of each of them.

    logit_a = w·x_a with x_a = tanh(W f_a + (V f_a) ∘ (U h) + b), for features h `[..., H]` of the past and f_a
    `[..., A, F]` of the actions; uniform at first. The product lets the features say what a property of an action is
    worth. The value is a linear function of h and Σ_a x_a / A.

    References:
      Zaheer et al., "Deep Sets", NeurIPS 2017.
    """

    size: int = 64

    @nn.compact
    def __call__(self, features: Array, actions: Array) -> PolicyOut:
        known = Dense(self.size)(features)[..., None, :]
        hidden = jnp.tanh(Dense(self.size)(actions) + Dense(self.size)(actions) * known)
        logits = NarrowDense(1, 0.01)(hidden)[..., 0]
        summary = jnp.concatenate([features, hidden.mean(axis=-2)], axis=-1)
        return PolicyOut(Categorical(logits), NarrowDense(1, 1.0)(summary)[..., 0])


class MLPPolicy(nn.Module):
    """A feed-forward policy without a value function, from observations `[..., *]` that an encoder reads.

    With `context_size`, it also reads a parameter `context` of that size, initially zero, beside every observation.
    """

    action_space: ActionSpace
    observation_encoder: nn.Module
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    log_std_init: float = 0.0
    context_size: int = 0

    @nn.compact
    def __call__(self, observation: Observation) -> PolicyOut:
        inputs = self.observation_encoder(observation)
        leading = inputs.shape[:-1]
        if self.context_size:
            context = self.param("context", nn.initializers.zeros, (self.context_size,))
            context = jnp.broadcast_to(context, (*leading, self.context_size))
            inputs = jnp.concatenate([inputs, context], axis=-1)
        features = MLP(self.hidden_sizes, self.activation)(inputs)
        distribution = PolicyHead(self.action_space, self.log_std_init)(features)
        return PolicyOut(distribution, jnp.zeros(leading))
