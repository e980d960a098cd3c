"""What is made for one platform stays there: programs lowered for CPUs, GPUs and TPUs, none of which need be there."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.analysis.dry_run import dry_run
from metarl_jax.cli.main import main
from metarl_jax.core import linear_baseline
from metarl_jax.core.target import ANY, Target, traced_for
from metarl_jax.networks.layers import Dense, NarrowDense
from metarl_jax.program import build
from metarl_jax.program.build import make_spec

PLATFORMS = ("cpu", "gpu", "tpu")
LEARNERS = {
    "maml": {"hidden_sizes": (13, 13)},
    "rl2": {"hidden_size": 13},
    "modular": {"module_size": 13},
}
"""A gradient, a memory and a structure learner; no other size is 13."""

BLOCKS = re.compile(r"tensor<(\d+x)*2x194x\d+xf32>")
"""The 388 steps of a round of 4 episodes, as two blocks of rows."""
UNCUT = re.compile(r"dot_general [^\n]*\(tensor<388x\d+xf32>, tensor<\d+x\d+xf32>\) ->")
"""Those steps, uncut, of a single task."""
VECTOR_HEAD = re.compile(r"dot_general [^\n]*, tensor<([24]x)?13xf32>\) ->")
"""A product of 13 features, of tasks or of all, with the weights of a single output."""


def lowered(small_config, learner, platform):
    config = small_config(learner, "point_robot", num_tasks=4, num_episodes=4)
    config = dataclasses.replace(
        config,
        env=dataclasses.replace(config.env, horizon=97),
        learner=dataclasses.replace(config.learner, **LEARNERS[learner]),
    )
    return config, dry_run(config, platform)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_what_a_cpu_runs_faster_is_lowered_for_no_other_platform(small_config, learner, platform):
    config, (report, text) = lowered(small_config, learner, platform)
    is_cpu, is_gradient = platform == "cpu", learner == "maml"
    assert bool(BLOCKS.search(text)) == (is_cpu and is_gradient)
    assert not (is_cpu and UNCUT.search(text))
    assert bool(VECTOR_HEAD.search(text)) == is_cpu
    assert report["tasks"]["update_block"] == (1 if is_cpu and is_gradient else 4)
    assert report["tasks"]["collect_block"] == 4
    is_factorised = "getrf" in text or "LuDecomposition" in text
    assert is_factorised == (not is_cpu and is_gradient)
    assert bool(config.env.compiler_options(platform)) == is_cpu
    assert "callback" not in text
    assert not report["program"]["float64"]


def test_blocks_of_a_cpu_are_those_that_fit_into_its_cache(small_config, monkeypatch):
    monkeypatch.setattr(build, "CACHED_BYTES", 1)
    config = small_config("rl2", "point_robot")
    blocks = {platform: make_spec(config, platform).collect_block for platform in PLATFORMS}
    assert blocks == {"cpu": 1, "gpu": None, "tpu": None}


@pytest.mark.parametrize("module", [Dense(5), NarrowDense(3, 1.0)])
def test_both_forms_of_a_layer_agree(module):
    x = jax.random.normal(jax.random.key(0), (388, 7))
    params = module.init(jax.random.key(1), x)

    def loss(params, x):
        return jnp.sum(jnp.sin(module.apply(params, x)))

    def differentiated(platform):
        return jax.make_jaxpr(traced_for(Target(platform), jax.grad(loss)))(params, x)

    # What JAX has traced for one platform is not taken for another.
    assert str(differentiated("cpu")) != str(differentiated("gpu")) == str(differentiated(ANY))
    plain, blocked = (
        jax.jit(traced_for(Target(p), jax.grad(loss)))(params, x) for p in ("gpu", "cpu")
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, blocked
    )


@pytest.mark.parametrize("size", [5, 64, 96, 150])
def test_elimination_solves_what_a_factorisation_solves(size):
    """Row by row, and block by block, where the last block is whole or is not."""
    roots = jax.random.normal(jax.random.key(2), (size, 2 * size))
    matrix = roots @ roots.T / size + 0.1 * jnp.eye(size)
    target = jax.random.normal(jax.random.key(3), (size,))
    found = jax.jit(linear_baseline.eliminate_all)(matrix, target)
    expected = np.linalg.solve(np.float64(matrix), np.float64(target))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_operations_of_a_step_are_counted_in_the_lowered_program(capsys):
    words = ["bench", "rl2", "--env", "grid_navi", "--num-tasks", "4", "--ops"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    counts = report["operations_of_a_step"]
    assert (report["platform"], counts["simulator"]["products"]) == ("gpu", 0)
    # Encoder, projection and two of the gates, policy and value: as many as the arithmetic needs.
    assert counts["collect"]["products"] == 6
    assert 50 < counts["simulator"]["operations"] < counts["collect"]["operations"] < 400
    assert counts["collect"]["loops"] == 0
    assert main([*words, "--against", "num-tasks=8"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
