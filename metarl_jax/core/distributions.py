"""Distributions over actions, as pytrees: they cross `jit`, `vmap` and `scan` like arrays.

Kept here, and small, because distrax and rlax depend on an unpinned nightly build of TensorFlow Probability.
Every method works over any leading axes.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct

LOG_2PI = 1.8378770664093453
MASKED_LOGIT = -1e9


class Distribution(Protocol):
    """The interface of a distribution over actions.

    A sample is a function of noise that depends on nothing but the shapes of the distribution: `sample(key)` is
    `transform(noise(key))`. So the noise of many steps can be drawn at once, before their distributions are known.
    """

    def noise(self, key: jax.Array) -> jax.Array: ...

    def transform(self, noise: jax.Array) -> jax.Array: ...

    def sample(self, key: jax.Array) -> jax.Array: ...

    def mode(self) -> jax.Array: ...

    def log_prob(self, action: jax.Array) -> jax.Array: ...

    def entropy(self) -> jax.Array: ...

    def kl(self, other) -> jax.Array: ...


class _Sampled:
    """Implements `sample` for distributions that define `noise` and `transform`."""

    def noise(self, key: jax.Array) -> jax.Array:
        """Draws the noise of one sample. Only the shapes of the distribution are used, so that `jax.eval_shape`
        suffices."""
        raise TypeError(f"{type(self).__name__} must define noise")

    def transform(self, noise: jax.Array) -> jax.Array:
        """Maps noise to a sample."""
        raise TypeError(f"{type(self).__name__} must define transform")

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws an action."""
        return self.transform(self.noise(key))


class Categorical(_Sampled, struct.PyTreeNode):
    """Distribution over `{0, …, A-1}` with unnormalised log-probabilities `logits` `[..., A]`."""

    logits: jax.Array

    def masked(self, mask: jax.Array) -> "Categorical":
        """Returns the distribution conditioned on actions where `mask` `[..., A]` is True.

        Masked logits are so low that their probability is 0 in float32, and finite, so that 0 · log 0 is 0 in the
        entropy, in a divergence and in their derivatives.
        """
        return Categorical(jnp.where(mask, self.logits, MASKED_LOGIT))

    def noise(self, key: jax.Array) -> jax.Array:
        """Gumbel noise `[..., A]`."""
        return jax.random.gumbel(key, self.logits.shape, self.logits.dtype)

    def transform(self, noise: jax.Array) -> jax.Array:
        """Returns the int32 action `[...]` with the greatest perturbed logit."""
        return jnp.argmax(self.logits + noise, axis=-1).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """Returns the most likely action `[...]`."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """log p(action), `[...]`."""
        log_probs = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """−Σ p log p, `[...]`, in nats."""
        log_probs = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def kl(self, other: "Categorical") -> jax.Array:
        """KL(self ‖ other) = Σ p (log p − log q), `[...]`, in nats."""
        log_p, log_q = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


class DiagonalGaussian(_Sampled, struct.PyTreeNode):
    """Normal distribution with diagonal covariance: `mean` and `log_std`, both `[..., A]`."""

    mean: jax.Array
    log_std: jax.Array

    def noise(self, key: jax.Array) -> jax.Array:
        """Standard normal noise `[..., A]`."""
        return jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def transform(self, noise: jax.Array) -> jax.Array:
        """Returns a float action `[..., A]`, not clipped: environments clip."""
        return self.mean + jnp.exp(self.log_std) * noise

    def mode(self) -> jax.Array:
        """Returns the mean, `[..., A]`."""
        return self.mean

    def log_prob(self, action: jax.Array) -> jax.Array:
        """log p(action) = −½ Σ (z² + 2 log σ + log 2π) with z = (action − mean)/σ, `[...]`."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * jnp.sum(z * z + 2.0 * self.log_std + LOG_2PI, axis=-1)

    def entropy(self) -> jax.Array:
        """Σ (log σ + ½ log 2πe), `[...]`, in nats."""
        return jnp.sum(self.log_std + 0.5 * (LOG_2PI + 1.0), axis=-1)

    def kl(self, other: "DiagonalGaussian") -> jax.Array:
        """KL(self ‖ other) = Σ (log σ'/σ + (σ² + (μ − μ')²) / 2σ'² − ½), `[...]`, in nats."""
        scaled = (self.mean - other.mean) * jnp.exp(-other.log_std)
        ratio = jnp.exp(2.0 * (self.log_std - other.log_std))
        return jnp.sum(other.log_std - self.log_std + 0.5 * (ratio + scaled**2 - 1.0), axis=-1)


class Uniform(_Sampled, struct.PyTreeNode):
    """Uniform distribution over the box `[low, high]`, both `[..., A]`."""

    low: jax.Array
    high: jax.Array

    def noise(self, key: jax.Array) -> jax.Array:
        """Uniform noise in [0, 1), `[..., A]`."""
        return jax.random.uniform(key, self.low.shape, self.low.dtype)

    def transform(self, noise: jax.Array) -> jax.Array:
        """Returns a float action `[..., A]`."""
        return self.low + (self.high - self.low) * noise

    def mode(self) -> jax.Array:
        """Returns the middle of the box, `[..., A]`."""
        return 0.5 * (self.low + self.high)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """−Σ log(high − low) inside the box and −∞ outside, `[...]`."""
        inside = jnp.all((action >= self.low) & (action <= self.high), axis=-1)
        return jnp.where(inside, -self.entropy(), -jnp.inf)

    def entropy(self) -> jax.Array:
        """Σ log(high − low), `[...]`, in nats."""
        return jnp.sum(jnp.log(self.high - self.low), axis=-1)

    def kl(self, other: "Uniform") -> jax.Array:
        """KL(self ‖ other), `[...]`, in nats; ∞ where `other` does not cover `self`."""
        covered = jnp.all((self.low >= other.low) & (self.high <= other.high), axis=-1)
        return jnp.where(covered, other.entropy() - self.entropy(), jnp.inf)
