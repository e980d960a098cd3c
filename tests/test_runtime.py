"""Options of `runtime` that say how to compute: they change results by the rounding of floats at most."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.interpreters import mlir
from jax.extend.core.primitives import dot_general_p
from probes import CHEAP

import metarl_jax
from metarl_jax.analysis.dry_run import dry_run
from metarl_jax.config import RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.sizes import parse_bytes, show_bytes
from metarl_jax.program.build import check_memory, make_spec
from metarl_jax.program.compilation import compiler_options
from metarl_jax.program.devices import with_runtime
from metarl_jax.program.memory import Blocks, blocks_of, estimate
from metarl_jax.program.replay import replay_trial
from metarl_jax.runs.executables import Executables, run_functions

SIZES = {
    "maml": {"hidden_sizes": (5,)},
    "rl2": {"hidden_size": 5},
    "hypernetwork": {"hidden_size": 5},
}
"""A gradient, a memory and a structure learner."""


def with_options(config, **options):
    runtime = dataclasses.replace(config.runtime, **options)
    return dataclasses.replace(config, runtime=runtime)


def tiny(small_config, learner, outer="policy_gradient", **changes):
    """A configuration that compiles in a second or two."""
    config = small_config(learner, "point_robot", outer, num_rounds=2, **changes)
    env = dataclasses.replace(config.env, horizon=4)
    learner = dataclasses.replace(config.learner, **SIZES[learner])
    advantage = dataclasses.replace(config.advantage, baseline="none")
    return dataclasses.replace(config, env=env, learner=learner, advantage=advantage)


def traced(config):
    """The program of a meta-step, as JAX has traced it."""
    program = metarl_jax.build(config)
    return str(jax.make_jaxpr(program.step)(jax.eval_shape(program.init, jax.random.key(0))))


def after_a_step(config):
    """The state and the metrics after one meta-step."""
    program = metarl_jax.build(config)
    state = jax.jit(program.init)(jax.random.key(0))
    return jax.jit(program.step)(state)


def products(config, platform):
    """The matrix products in the program of a platform that need not be there."""
    text = dry_run(config, platform).text
    return [line for line in text.splitlines() if "dot_general" in line]


def record(config):
    """The state and the trial of a task."""
    program = metarl_jax.build(config)

    def collect(key):
        state = program.init(key)
        return state, program.trial(state, program.env.sample(key), key)

    return jax.jit(collect)(jax.random.key(0))


@pytest.mark.parametrize("num_steps", [None, pytest.param(7, marks=pytest.mark.slow)])
def test_unrolled_steps_are_the_same_steps(small_config, trees_close, num_steps):
    config = tiny(small_config, "rl2", num_steps=num_steps)
    plain, unrolled = (with_options(config, unroll=n) for n in (1, 2))
    trees_close(record(plain), record(unrolled), rtol=1e-4, atol=1e-5)
    assert "unroll=2" in traced(unrolled)
    assert "unroll=2" not in traced(plain)


@pytest.mark.parametrize(("asked", "lowered"), [("highest", "HIGHEST"), ("default", "DEFAULT")])
def test_products_have_the_precision_that_was_asked_for(small_config, asked, lowered):
    config = with_options(tiny(small_config, "maml"), matmul_precision=asked)
    found = products(config, "gpu")
    assert found
    assert all(f"precision = [{lowered}, {lowered}]" in line for line in found)


def test_float32_is_the_default():
    assert RuntimeConfig().matmul_precision == "highest"


@pytest.fixture
def factors_are_rounded(monkeypatch):
    """Lets XLA:CPU multiply as an accelerator does that is asked for bfloat16."""
    rules = mlir._platform_specific_lowerings["cpu"]
    entry = rules[dot_general_p]

    def rule(ctx, *factors, precision, **params):
        if precision is not jax.lax.DotAlgorithmPreset.BF16_BF16_F32:
            return entry.rule(ctx, *factors, precision=precision, **params)

        def product(*factors):
            rounded = [jax.lax.reduce_precision(x, 8, 7) for x in factors]
            return dot_general_p.bind(*rounded, precision=None, **params)

        return mlir.lower_fun(product, multiple_results=False)(ctx, *factors)

    monkeypatch.setitem(rules, dot_general_p, type(entry)(rule, inline=True))
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize("learner", SIZES)
def test_networks_multiply_in_bfloat16_and_add_in_float32(small_config, learner):
    config = with_options(tiny(small_config, learner), product_dtype="bfloat16")
    found = products(config, "gpu")
    assert found
    for line in found:
        assert "lhs_precision_type = bf16, rhs_precision_type = bf16" in line
        assert "accumulation_type = f32" in line
        assert line.endswith("f32>")


@pytest.mark.parametrize(
    "learner", ["maml", "rl2", pytest.param("hypernetwork", marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("factors_are_rounded")
def test_a_replay_rounds_as_its_record_did(small_config, learner):
    config = tiny(small_config, learner)
    config_of_rounded = with_options(config, product_dtype="bfloat16")
    (_, exact), (state, rounded) = record(config), record(config_of_rounded)
    replay = jax.jit(partial(replay_trial, make_spec(config_of_rounded).learner))
    replayed = replay(state.meta.params, state.meta.memory, rounded)
    ratio = replayed.distribution.log_prob(rounded.rollout.action) - rounded.rollout.log_prob
    np.testing.assert_allclose(ratio, 0.0, atol=1e-3)
    # Other answers than those of float32, but close to them.
    seen = [trial.rollout.policy.distribution.mode()[0] for trial in (exact, rounded)]
    assert np.any(seen[0] != seen[1])
    np.testing.assert_allclose(*seen, atol=0.03)


@pytest.mark.slow
@pytest.mark.usefixtures("factors_are_rounded")
def test_a_step_with_rounded_products_is_finite(small_config):
    state, metrics = after_a_step(
        with_options(tiny(small_config, "maml"), product_dtype="bfloat16")
    )
    assert metrics["skipped"] == 0
    assert all(x.dtype != jnp.bfloat16 for x in jax.tree.leaves(state))


def test_only_a_gpu_is_told_to_be_deterministic():
    wanted = {"xla_gpu_deterministic_ops": True}
    assert compiler_options(CHEAP, "gpu") == wanted
    for platform in ("cpu", "tpu"):
        assert compiler_options(CHEAP, platform) == CHEAP.env.compiler_options(platform)
    assert compiler_options(with_options(CHEAP, deterministic=False), "gpu") == {}
    # XLA knows the name, whatever the platform.
    assert jax.jit(lambda x: x + 1, compiler_options=wanted)(1.0) == 2.0


def test_a_state_that_is_not_donated_stays(trees_close):
    found = []
    for donate in (True, False):
        config = with_options(CHEAP, donate=donate)
        executables = Executables(run_functions(metarl_jax.build(config)))
        first = executables.init()
        after, _, _ = executables.chunk(first, 2)
        assert {x.is_deleted() for x in jax.tree.leaves(first.meta.params)} == {donate}
        found.append(after)
        text = dry_run(config, "cpu").text
        assert ("tf.aliasing_output" in text or "jax.buffer_donor" in text) == donate
    trees_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "size"), [("12GiB", 12 * 2**30), ("0.5 MB", 500_000), ("7B", 7), ("1TB", 10**12)]
)
def test_sizes_are_read(text, size):
    assert parse_bytes("runtime.memory_limit", text) == size


@pytest.mark.parametrize("text", ["12", "GiB", "-1GiB", "0MB", "3 iB", "1gib"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UserError, match=r"runtime.memory_limit=.* such as 12GiB"):
        make_spec(with_options(CHEAP, memory_limit=text))


def test_sizes_are_shown():
    assert [show_bytes(size) for size in (3, 2048, 1.5 * 2**30)] == ["3 B", "2 KiB", "1.5 GiB"]


def test_memory_decides_about_blocks_and_no_more(small_config, trees_close):
    free = with_options(tiny(small_config, "maml"), update_block=8)
    spec = make_spec(free)
    need, blocks = estimate(free, spec), blocks_of(free, spec)
    assert blocks == Blocks(8, 8, 8)
    assert need.total(blocks) < need.total(Blocks(16, 8, 8))
    assert need.per_differentiated > need.per_simulated > 0

    def limited(*sizes):
        return with_options(free, memory_limit=f"{need.total(Blocks(*sizes))}B")

    assert traced(limited(8, 8, 8)) == traced(free)
    cut = limited(8, 1, 3)
    assert blocks_of(cut, make_spec(cut)).updated == 2  # the largest divisor of 8 tasks
    trees_close(after_a_step(cut), after_a_step(free), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"memory_limit=.* for num_tasks=8: .*choose num_tasks=3,"):
        check_memory(limited(3, 1, 1))
    with pytest.raises(UserError, match="choose shorter episodes"):
        check_memory(with_options(free, memory_limit=f"{need.fixed}B"))


def test_a_minibatch_is_the_largest_block(small_config):
    config = tiny(small_config, "rl2", "ppo")
    config = dataclasses.replace(config, outer=dataclasses.replace(config.outer, num_minibatches=4))
    assert blocks_of(config, make_spec(config, "gpu")) == Blocks(8, 8, 2)


def test_another_precision_is_told():
    said = []
    with_runtime(CHEAP, with_options(CHEAP, product_dtype="bfloat16").runtime, said.append)
    assert said == [
        "trained with runtime.product_dtype='float32': computing with 'bfloat16', which rounds otherwise"
    ]
