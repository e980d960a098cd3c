"""The store that outlives trials: reading by similarity, merging, and what is given up when it is full."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.learners import episodic_store


def filled(capacity, *keys):
    """A store with these keys, each with its number as the value."""
    keys = jnp.asarray(keys, jnp.float32)
    values = jnp.arange(len(keys), dtype=jnp.float32)[:, None]
    return episodic_store.write(episodic_store.empty(capacity, keys.shape[1], 1), keys, values, 0.1)


def test_an_empty_store_knows_nothing():
    value, _, familiarity = episodic_store.recall(
        episodic_store.empty(4, 2, 3), jnp.zeros((5, 2)), 2, 1.0
    )
    np.testing.assert_array_equal(value, np.zeros((5, 3)))
    np.testing.assert_array_equal(familiarity, np.zeros(5))


def test_recall_weighs_by_similarity():
    full = filled(4, [0.0, 0.0], [1.0, 0.0], [9.0, 9.0])
    value, _, familiarity = episodic_store.recall(
        full, jnp.array([[1.0, 0.0], [50.0, 50.0]]), 2, 1.0
    )
    near = np.exp(-0.5)
    np.testing.assert_allclose(value[:, 0], [1.0 / (1.0 + near), 0.0], rtol=1e-5)
    np.testing.assert_allclose(familiarity, [1.0, 0.0], atol=1e-6)


def test_near_duplicates_are_merged():
    full = filled(4, [0.0, 0.0], [1.0, 0.0], [0.05, 0.0])
    assert int((full.used_at >= 0).sum()) == 2
    value, _, _ = episodic_store.recall(full, jnp.zeros((1, 2)), 1, 0.01 + 1.0)
    assert float(value[0, 0]) > 1.9  # the newer value of the same task


def test_a_full_store_gives_up_what_was_written_longest_ago():
    full = filled(
        3, [0.0], [1.0], [2.0], [0.0], [3.0]
    )  # the first is written again, so the second is the oldest
    np.testing.assert_array_equal(np.sort(full.keys[:, 0]), [0.0, 2.0, 3.0])
    assert int(full.num_writes) == 5


def test_a_full_store_keeps_what_was_read():
    keys = jnp.array([[0.0], [1.0], [2.0], [0.2], [3.0]])  # the fourth has read the first
    full = episodic_store.write(episodic_store.empty(4, 1, 1), keys, keys, 0.1, 0.3)
    full = episodic_store.write(full, jnp.array([[4.0]]), jnp.array([[4.0]]), 0.1, 0.3)
    np.testing.assert_allclose(np.sort(full.keys[:, 0]), [0.0, 0.2, 3.0, 4.0])


def test_writing_is_traced_and_sequential():
    keys = jnp.array([[0.0], [0.0], [4.0]])
    write = jax.jit(
        lambda values: episodic_store.write(episodic_store.empty(2, 1, 1), keys, values, 0.1)
    )
    full = write(jnp.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_array_equal(full.values[:, 0], [2.0, 3.0])


def test_keys_far_from_zero_are_told_apart():
    """Distances of 0 and of 0.25 between keys whose squares are 10⁷."""
    full = filled(4, [1000.1, -3000.7], [1000.1, -3000.7], [1000.35, -3000.7])
    assert int((full.used_at >= 0).sum()) == 2
    _, _, familiarity = episodic_store.recall(full, jnp.array([[1000.1, -3000.7]]), 1, 0.3)
    np.testing.assert_allclose(familiarity, 1.0, atol=1e-6)


def test_a_store_outlives_the_range_of_its_counter():
    full = filled(3, [0.0], [1.0], [2.0])
    late = full.replace(used_at=full.used_at + (2**31 - 10), num_writes=jnp.int32(2**31 - 7))
    write = jax.jit(episodic_store.write)
    for number in range(20):
        late = write(late, jnp.full((1, 1), 3.0 + number), jnp.zeros((1, 1)), 0.1)
        assert int(late.used_at.min()) >= 0
        if number == 0:
            np.testing.assert_array_equal(np.sort(late.keys[:, 0]), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(np.sort(late.keys[:, 0]), [20.0, 21.0, 22.0])
