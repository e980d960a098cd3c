"""The inner gradient step: its derivative against plain autodiff, finite differences and a closed form."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.distributions import Categorical
from metarl_jax.learners.gradient import gradient_step, likelihood_ratio_surrogate
from metarl_jax.types import PolicyOut, TimeStep, Transition


def loss(params, data):
    x, y = data
    hidden = jnp.tanh(x @ params["w"] + params["b"])
    return jnp.mean((hidden @ params["v"] - y) ** 2)


def problem():
    keys = jax.random.split(jax.random.key(0), 5)
    params = {
        "w": jax.random.normal(keys[0], (3, 4)),
        "b": jax.random.normal(keys[1], (4,)),
        "v": jax.random.normal(keys[2], (4,)),
    }
    data = jax.random.normal(keys[3], (20, 3)), jax.random.normal(keys[4], (20,))
    return params, data


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("per_parameter", [False, True])
def test_derivative_is_that_of_plain_autodiff(trees_close, num_steps, per_parameter):
    params, data = problem()
    shape = jnp.shape if per_parameter else lambda _: ()
    inner_lr = jax.tree.map(lambda p: jnp.full(shape(p), 0.3), params)

    def plain(params, inner_lr, data):
        gradient = jax.grad(loss)(params, data)
        return jax.tree.map(lambda p, lr, g: p - lr * g, params, inner_lr, gradient)

    def after(step):
        def adapted_loss(params, inner_lr):
            for _ in range(num_steps):
                params = step(params, inner_lr)
            return loss(params, data)

        return jax.grad(adapted_loss, argnums=(0, 1))

    ours = after(lambda p, lr: gradient_step(loss, p, lr, data))(params, inner_lr)
    theirs = after(lambda p, lr: plain(p, lr, data))(params, inner_lr)
    trees_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_derivative_is_that_of_finite_differences():
    params, data = problem()
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def adapted_loss(flat):
        params = unravel(flat)
        inner_lr = jax.tree.map(lambda _: jnp.asarray(0.3, flat.dtype), params)
        adapted = gradient_step(loss, params, inner_lr, data)
        return loss(adapted, data)

    gradient = jax.grad(adapted_loss)(flat)
    direction = jax.random.normal(jax.random.key(9), flat.shape)
    step = 1e-2
    difference = adapted_loss(flat + step * direction) - adapted_loss(flat - step * direction)
    assert float(gradient @ direction) == pytest.approx(float(difference / (2 * step)), rel=2e-2)


def test_meta_gradient_of_the_softmax_bandit():
    """The exact meta-gradient (I + αH) g(θ + αg(θ)) at a published point, in expectation over actions.

    Expectations come from a record with one step for each action, whose advantage carries its probability.
    """
    theta, reward, alpha = jnp.array([0.2, -0.1, 0.3]), jnp.array([1.0, 0.5, 0.0]), 0.5

    def record(theta):
        """Every action once, so that the mean over steps with weights 3·p·r is the expectation."""
        probability = jax.nn.softmax(jax.lax.stop_gradient(theta))
        everywhere = jnp.zeros(3)
        return Transition(
            timestep=TimeStep(everywhere, everywhere, everywhere, everywhere, jnp.ones(3, bool)),
            action=jnp.arange(3),
            policy=PolicyOut(Categorical(theta), everywhere),
            log_prob=jnp.log(probability),
            reward=reward,
            advantage=3.0 * probability * reward,
            target=everywhere,
        )

    def surrogate(theta, rollout):
        logits = jnp.broadcast_to(theta, (3, 3))
        return likelihood_ratio_surrogate(Categorical(logits), rollout)

    adapted = gradient_step(surrogate, theta, jnp.asarray(alpha), record(theta))
    exact_return = jax.nn.softmax(adapted) @ reward
    assert float(exact_return) == pytest.approx(0.515616, abs=1e-5)

    def meta_objective(theta):
        adapted = gradient_step(surrogate, theta, jnp.asarray(alpha), record(theta))
        return -surrogate(adapted, record(adapted))

    meta_gradient = jax.grad(meta_objective)(theta)
    np.testing.assert_allclose(meta_gradient, [0.192139, -0.012932, -0.179207], atol=1e-5)
