"""Distributions against samples and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from metarl_jax.core.distributions import Categorical, DiagonalGaussian, Uniform

P = Categorical(jnp.array([0.3, -1.0, 2.0]))
Q = Categorical(jnp.array([0.0, 0.5, 1.0]))
G = DiagonalGaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.7]))
H = DiagonalGaussian(jnp.array([0.0, -0.5]), jnp.array([0.0, 0.3]))
U = Uniform(jnp.array([-1.0, 0.0]), jnp.array([1.0, 0.5]))
V = Uniform(jnp.array([-2.0, -1.0]), jnp.array([1.0, 1.0]))


@pytest.mark.parametrize(("p", "q"), [(P, Q), (G, H), (U, V)])
def test_entropy_and_kl_are_expectations(p, q):
    samples = jax.vmap(p.sample)(jax.random.split(jax.random.key(0), 100_000))
    log_p, log_q = jax.vmap(p.log_prob)(samples), jax.vmap(q.log_prob)(samples)
    for values, expected in ((-log_p, p.entropy()), (log_p - log_q, p.kl(q))):
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - float(expected)) < 4 * error + 1e-5
    assert float(p.kl(p)) == pytest.approx(0.0, abs=1e-6)


def test_gaussian_log_prob_is_scipys():
    action = jnp.array([0.1, 0.2])
    expected = stats.norm(np.asarray(G.mean), np.exp(np.asarray(G.log_std))).logpdf(action).sum()
    assert float(G.log_prob(action)) == pytest.approx(expected, abs=1e-5)


def test_categorical_frequencies_and_mode():
    samples = jax.vmap(P.sample)(jax.random.split(jax.random.key(1), 50_000))
    frequency = np.bincount(np.asarray(samples), minlength=3) / len(samples)
    np.testing.assert_allclose(frequency, jax.nn.softmax(P.logits), atol=0.01)
    assert int(P.mode()) == 2
    assert samples.dtype == jnp.int32


def test_outside_of_the_box_is_impossible():
    assert float(U.log_prob(jnp.array([2.0, 0.1]))) == -np.inf
    assert float(V.kl(U)) == np.inf
