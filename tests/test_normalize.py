"""Running statistics against numpy over the whole stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core import normalize


def test_batches_of_any_size_merge_to_the_statistics_of_the_stream():
    rng = np.random.default_rng(0)
    stream = (rng.normal(size=(3, 5, 40, 2)) * [1.0, 30.0] + [5.0, -200.0]).astype(np.float32)
    valid = rng.random((3, 5, 40)) < 0.7
    running = normalize.init(2)
    for batch, mask in zip(stream, valid, strict=True):
        running = normalize.update(running, jax.vmap(normalize.from_batch)(batch, mask))
    seen = stream[valid]
    assert float(running.count) == len(seen)
    np.testing.assert_allclose(running.mean, seen.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(running.variance(), seen.var(axis=0), rtol=1e-5)
    normalized = normalize.normalize(running, jnp.asarray(seen))
    np.testing.assert_allclose(normalized.mean(axis=0), 0.0, atol=1e-2)
    np.testing.assert_allclose(normalized.std(axis=0), 1.0, atol=1e-2)


def test_before_anything_is_seen_nothing_changes():
    observation = jnp.array([[0.5, -2.0]])
    normalized = normalize.normalize(normalize.init(2), observation)
    np.testing.assert_allclose(normalized, observation, rtol=1e-3)


def test_a_batch_without_valid_rows_changes_nothing():
    running = normalize.from_batch(jnp.arange(6.0).reshape(3, 2), jnp.ones(3, bool))
    nothing = normalize.from_batch(jnp.full((3, 2), jnp.nan), jnp.zeros(3, bool))
    after = normalize.update(running, jax.tree.map(lambda x: x[None], nothing))
    jax.tree.map(np.testing.assert_array_equal, after, running)


def test_what_invalid_rows_hold_does_not_matter():
    valid = jnp.array([False, True, True, False])
    batch = jnp.array([jnp.nan, 1.0, 3.0, jnp.inf])[:, None]
    statistics = normalize.from_batch(batch, valid)
    assert (float(statistics.count), *statistics.mean, *statistics.variance()) == (2.0, 2.0, 1.0)


@jax.jit
def see(statistics, batch):
    valid = jnp.ones(batch.shape[:-1], bool)
    return normalize.update(statistics, jax.vmap(normalize.from_batch)(batch, valid))


@pytest.mark.parametrize("value", [9.81, 1000.1, -101325.0])
def test_an_entry_that_never_changes_is_zero(value):
    statistics = normalize.init(1)
    for _ in range(20):
        statistics = see(statistics, jnp.full((7, 300, 1), value))
        assert normalize.normalize(statistics, jnp.full(1, value)) == 0.0
    assert statistics.mean == jnp.float32(value)
    # Steps of the last digit are rounding as well, and ten thousand times as much is not.
    rounding = jnp.float32(value) + jnp.spacing(jnp.float32(value)) * jnp.arange(2)[:, None]
    assert not normalize.normalize(see(statistics, rounding[None]), rounding).any()
    seen = jnp.float32(value) * (1.0 + 1e-3 * jax.random.normal(jax.random.key(0), (1, 500, 1)))
    statistics = see(normalize.init(1), seen)
    assert abs(float(normalize.normalize(statistics, seen).std()) - 1.0) < 0.1


def test_statistics_stay_right_however_long_the_run():
    """Beyond 2³² observations, where a meta-step adds less than a float32 total or mean can hold."""

    @jax.jit
    def many_steps(statistics):
        def step(statistics, key):
            # The observations of 2²⁰ episodes, as their moments: level 100 at first, 102 in the second half.
            mean = jnp.where(statistics.count_high < 1, 100.0, 102.0)
            mean += 1e-3 * jax.random.normal(key, (1, 1))
            batch = normalize.RunningStatistics(
                count_high=jnp.zeros(1, jnp.uint32),
                count_low=jnp.full(1, 429_497, jnp.uint32),
                mean=mean,
                central_moment=jnp.ones((1, 1)),
                mean_rest=jnp.zeros((1, 1)),
                moment_rest=jnp.zeros((1, 1)),
            )
            return normalize.update(statistics, batch), None

        keys = jax.random.split(jax.random.key(0), 20_000)
        return jax.lax.scan(step, statistics, keys)[0]

    statistics = many_steps(normalize.init(1))
    count = int(statistics.count_high) * 2**32 + int(statistics.count_low)
    assert count == 20_000 * 429_497 > 2**32
    np.testing.assert_allclose(statistics.count, count, rtol=1e-6)
    np.testing.assert_allclose(statistics.mean, 101.0, atol=1e-3)
    np.testing.assert_allclose(statistics.variance(), 2.0, rtol=1e-3)


def test_statistics_at_a_high_level_do_not_drift():
    def step(statistics, key):
        seen = 100.0 + jax.random.normal(key, (2, 20, 1))
        valid = jnp.ones((2, 20), bool)
        return normalize.update(statistics, jax.vmap(normalize.from_batch)(seen, valid)), None

    # As if 4e7 observations had been seen: a meta-step moves the mean by less than its last digit.
    start = normalize.from_batch(jnp.array([[99.0], [101.0]]), jnp.ones(2, bool))
    start = start.replace(count_low=jnp.uint32(40_000_000))
    keys = jax.random.split(jax.random.key(0), 50_000)
    statistics = jax.jit(lambda keys: jax.lax.scan(step, start, keys)[0])(keys)
    assert int(statistics.count_low) == 42_000_000
    np.testing.assert_allclose(statistics.mean, 100.0, atol=1e-3)
    np.testing.assert_allclose(statistics.variance(), 1.0, atol=1e-3)


def test_what_is_not_finite_is_not_hidden():
    statistics = normalize.from_batch(jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.ones(2, bool))
    found = normalize.normalize(statistics, jnp.array([jnp.inf, jnp.nan]))
    np.testing.assert_array_equal(found, [jnp.inf, jnp.nan])
