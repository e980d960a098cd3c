"""What a policy does before it has learned anything, in any box of actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.spaces import Array, Box, Discrete, encode_action
from metarl_jax.networks.encoders import make_encoder
from metarl_jax.networks.layers import MIN_LOG_STD, ActionDistribution, MLPPolicy


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 1.0), (-0.1, 0.1), (0.0, 1.0), (10.0, 20.0), (100.0, 101.0)]
)
def test_a_policy_begins_in_the_middle_of_the_box(low, high):
    """Mean in the middle, deviation exp(log_std_init) half-widths: 68% of the first actions lie inside."""
    space = Box(2, low, high)
    encoder = make_encoder("flat", Array((3,)))
    policy = MLPPolicy(space, encoder, hidden_sizes=(8,), log_std_init=-0.5)
    observation = jax.random.normal(jax.random.key(1), (4, 3))
    params = policy.init(jax.random.key(0), observation)
    distribution = policy.apply(params, observation).distribution
    half = (high - low) / 2
    np.testing.assert_allclose(distribution.mean, (low + high) / 2, atol=0.1 * half)
    np.testing.assert_allclose(jnp.exp(distribution.log_std), np.exp(-0.5) * half, rtol=1e-5)


def test_an_action_is_seen_as_where_it_lies_in_the_box():
    action = jnp.array([99.0, 100.0, 100.25, 101.0, 300.0])
    seen = encode_action(Box(5, 100.0, 101.0), action)
    np.testing.assert_allclose(seen, [-1.0, -1.0, -0.5, 1.0, 1.0], atol=1e-5)
    action = jnp.array([-2.0, -0.3, 1.0])
    np.testing.assert_allclose(encode_action(Box(3), action), [-1.0, -0.3, 1.0], rtol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box(1, 1.0, -1.0), r"low=1.0, high=-1.0"),
        (lambda: Box(1, 2.0, 2.0), r"low=2.0, high=2.0"),
        (lambda: Box(1, 0.0, float("inf")), "high=inf"),
        (lambda: Box(1, float("nan"), 1.0), "low=nan"),
        (lambda: Box(0), "size=0"),
        (lambda: Discrete(0), "num_actions=0"),
    ],
)
def test_spaces_without_room_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("first", [-5.5, 0.0, 2.0])
def test_a_deviation_has_a_gradient_wherever_it_is(first):
    module = ActionDistribution(Box(1), first)
    outputs = jnp.zeros((1, 1))
    params = module.init(jax.random.key(0), outputs)

    def log_std(params):
        return module.apply(params, outputs).log_std[0, 0]

    np.testing.assert_allclose(log_std(params), first, rtol=1e-5)
    shape = params["params"]["log_std"].shape
    for parameter in (first, -9.0, -100.0):
        value, gradient = jax.value_and_grad(log_std)(
            {"params": {"log_std": jnp.full(shape, parameter)}}
        )
        assert value > MIN_LOG_STD
        assert gradient["params"]["log_std"][0] > 0.0
