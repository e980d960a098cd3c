"""Running statistics against numpy over the whole stream."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import normalize


def test_batches_of_any_size_merge_to_the_statistics_of_the_stream():
    rng = np.random.default_rng(0)
    stream = (rng.normal(size=(3, 5, 40, 2)) * [1.0, 30.0] + [5.0, -200.0]).astype(np.float32)
    valid = rng.random((3, 5, 40)) < 0.7
    running = normalize.init(2)
    for batch, mask in zip(stream, valid, strict=True):
        running = normalize.update(running, jax.vmap(normalize.from_batch)(batch, mask))
    seen = stream[valid]
    assert float(running.count) == len(seen)
    np.testing.assert_allclose(running.mean, seen.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(running.variance(), seen.var(axis=0), rtol=1e-3)
    normalized = normalize.normalize(running, jnp.asarray(seen))
    np.testing.assert_allclose(normalized.mean(axis=0), 0.0, atol=1e-2)
    np.testing.assert_allclose(normalized.std(axis=0), 1.0, atol=1e-2)


def test_before_anything_is_seen_nothing_changes():
    observation = jnp.array([[0.5, -2.0]])
    normalized = normalize.normalize(normalize.init(2), observation)
    np.testing.assert_allclose(normalized, observation, rtol=1e-3)


def test_a_batch_without_valid_rows_changes_nothing():
    running = normalize.from_batch(jnp.arange(6.0).reshape(3, 2), jnp.ones(3, bool))
    nothing = normalize.from_batch(jnp.full((3, 2), 7.0), jnp.zeros(3, bool))
    after = normalize.update(running, jax.tree.map(lambda x: x[None], nothing))
    jax.tree.map(np.testing.assert_allclose, after, running)
