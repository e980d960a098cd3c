"""Sequence cores: a sequence is what its steps are, whatever steps are valid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks.sequence import make_core
from metarl_jax.networks.sequence.key_value import KeyValueCore
from metarl_jax.networks.sequence.min_gru import associative_recurrence, linear_recurrence

CORES = {
    "gru": make_core("gru", 8, 2, 2, 6),
    "lstm": make_core("lstm", 8, 2, 2, 6),
    "min_gru": make_core("min_gru", 8, 2, 2, 6),
    "transformer": make_core("transformer", 8, 2, 2, 6),
    "key_value": KeyValueCore(8, num_slots=3, slot_size=4, num_heads=2, usage_decay=0.9),
}
PARALLEL = [name for name, core in CORES.items() if core.is_parallel]


@pytest.fixture(params=CORES)
def core(request):
    return CORES[request.param]


def init(core):
    """Parameters, with noise so that biases count."""

    def use(core, inputs):
        return core(core.init_carry(3), core.project(inputs), jnp.ones(3, bool))

    params = core.init(jax.random.key(0), jnp.zeros((3, 5)), method=use)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [x + 0.1 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def example(num_steps=11):
    """Inputs `[S, E, I]`, and episodes that end at different steps and begin anew."""
    inputs = jax.random.normal(jax.random.key(2), (num_steps, 3, 5))
    return inputs, jax.random.bernoulli(jax.random.key(3), 0.7, (num_steps, 3))


def step_through(core, params, carry, inputs, valid):
    def step(carry, inputs):
        projected = core.apply(params, inputs[0], method="project")
        return core.apply(params, carry, projected, inputs[1])

    return jax.lax.scan(step, carry, (inputs, valid))


@pytest.mark.parametrize("name", PARALLEL)
@pytest.mark.parametrize("first", [0, 4])
def test_a_sequence_is_its_steps(name, first, trees_close):
    """From the first step, and from a carry that steps have left; the transformer's ring has gone round by the end."""
    core = CORES[name]
    params, (inputs, valid) = init(core), example()
    carry = core.init_carry(3)
    if first:
        carry, _ = step_through(core, params, carry, inputs[:first], valid[:first])
    if name == "transformer":
        assert carry.is_surely_empty() == (first == 0)
    end, features = step_through(core, params, carry, inputs[first:], valid[first:])
    projected = core.apply(params, inputs[first:], method="project")
    found_end, found = core.apply(params, carry, projected, valid[first:], method="sequence")
    seen = np.asarray(valid[first:])
    np.testing.assert_allclose(found[seen], features[seen], atol=1e-5)
    trees_close(found_end, end, atol=1e-5)


def test_invalid_steps_leave_no_trace(core, trees_close):
    """The features of valid steps are those of the sequence without the others."""
    params, (inputs, valid) = init(core), example()
    end, features = step_through(core, params, core.init_carry(3), inputs, valid)
    for episode in range(3):
        kept = np.flatnonzero(valid[:, episode])
        alone = inputs[kept]  # the other episodes now read other steps, and must not matter
        end_alone, features_alone = step_through(
            core, params, core.init_carry(3), alone, jnp.ones((len(kept), 3), bool)
        )
        np.testing.assert_allclose(features[kept, episode], features_alone[:, episode], atol=1e-5)
        trees_close(*(jax.tree.map(lambda x, e=episode: x[e], t) for t in (end, end_alone)))


def test_features_depend_on_what_was_read_before(core):
    params, (inputs, _) = init(core), example(5)
    valid = jnp.ones((5, 3), bool)
    _, features = step_through(core, params, core.init_carry(3), inputs, valid)
    _, other = step_through(core, params, core.init_carry(3), inputs.at[1].add(1.0), valid)
    assert np.abs(features[-1] - other[-1]).max() > 1e-4
    np.testing.assert_array_equal(features[0], other[0])


def test_linear_recurrence_is_its_loop():
    decay = jax.random.uniform(jax.random.key(0), (7, 4))
    increment = jax.random.normal(jax.random.key(1), (7, 4))
    state = start = jax.random.normal(jax.random.key(2), (4,))
    expected = []
    for a, b in zip(decay, increment, strict=True):
        state = a * state + b
        expected.append(state)
    found = linear_recurrence(decay, increment, start)
    np.testing.assert_allclose(found, jnp.stack(expected), rtol=1e-5, atol=1e-6)
    from_start = increment.at[0].add(decay[0] * start)
    np.testing.assert_allclose(
        associative_recurrence(decay, from_start), jnp.stack(expected), rtol=1e-5, atol=1e-6
    )


def test_linear_recurrence_has_the_gradient_of_its_loop():
    decay = jax.random.uniform(jax.random.key(0), (7, 4))
    increment = jax.random.normal(jax.random.key(1), (7, 4))
    start, weights = jax.random.normal(jax.random.key(2), (2, 4))

    def loop(decay, increment, start):
        def step(state, inputs):
            state = inputs[0] * state + inputs[1]
            return state, state

        return jax.lax.scan(step, start, (decay, increment))[1]

    def loss(recurrence, *args):
        return jnp.sum(jnp.sin(recurrence(*args)) * weights)

    arguments = (decay, increment, start)
    found = jax.grad(lambda *args: loss(linear_recurrence, *args), (0, 1, 2))(*arguments)
    expected = jax.grad(lambda *args: loss(loop, *args), (0, 1, 2))(*arguments)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_transformer_forgets_what_is_beyond_its_context():
    """Two layers look back twice five steps at most."""
    core = CORES["transformer"]
    params, (inputs, _) = init(core), example(20)
    valid = jnp.ones((20, 3), bool)
    _, features = step_through(core, params, core.init_carry(3), inputs, valid)
    _, other = step_through(core, params, core.init_carry(3), inputs.at[4].add(1.0), valid)
    changed = np.abs(features - other).max(axis=(1, 2)) > 1e-6
    assert changed[4:15].all()
    assert not changed[15:].any()
    assert not changed[:4].any()


def test_key_value_fills_empty_slots_before_it_overwrites():
    core = CORES["key_value"]
    params, (inputs, _) = init(core), example(5)
    carry, occupied = core.init_carry(3), []
    for x in inputs:
        carry, _ = step_through(core, params, carry, x[None], jnp.ones((1, 3), bool))
        occupied.append(int((carry.usage[0] > 0).sum()))
    assert occupied == [1, 2, 3, 3, 3]


@pytest.mark.parametrize("name", ["gru", "lstm", "min_gru"])
def test_entries_forget_within_two_steps_to_the_longest_memory(name):
    """Where inputs and weights say nothing, entry i keeps 1 − 1/τ_i of itself at a step."""
    core = make_core(name, 8, 1, 2, 6, init_timescale=100.0)
    carry = core.init_carry(1)
    params = core.init(jax.random.key(0), carry, jnp.zeros((1, 3)), method=step_once)
    params = jax.tree.map(lambda x: x * (x.ndim == 1), params)  # biases alone
    before = jax.tree.map(jnp.ones_like, carry)
    after, _ = core.apply(params, before, jnp.zeros((1, 3)), method=step_once)
    cell = {"gru": after, "lstm": after[1], "min_gru": after}[name]
    expected = 1.0 - 1.0 / np.geomspace(2.0, 100.0, 8)
    np.testing.assert_allclose(np.ravel(cell), expected, rtol=1e-5)


def step_once(core, carry, inputs):
    return core(carry, core.project(inputs), jnp.ones(1, bool))
