"""Eight host devices for every test, and small configurations over the registries."""

import dataclasses
import os
import sys

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 8)

from metarl_jax import envs, learners, outer  # noqa: E402
from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig  # noqa: E402
from metarl_jax.core.advantages import AdvantageConfig  # noqa: E402

BRAX = ("half_cheetah_dir", "half_cheetah_vel", "ant_dir")

COMPILATION = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(autouse=True, scope="session")
def compilation_cache(tmp_path_factory):
    """The folder of compiled programs, shared by all workers: tests compile the same ones again and again."""
    session = tmp_path_factory.getbasetemp()
    shared = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session
    folder = shared / "compilation_cache"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)  # of commands: never the user's own
    return folder


@pytest.fixture(autouse=True, scope="module")
def _forget_executables():
    """On a CPU each maps a thousand pieces of memory, and a process may have 65530."""
    yield
    jax.clear_caches()


@pytest.fixture
def strict_ranks():
    """Broadcasting between arrays of different rank is an error."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def small_config():
    """`small_config(learner, env, **changes)`: a configuration of seconds for anything that is registered."""

    def make(learner: str = "maml", env: str = "point_robot", outer_method: str = "ppo", **changes):
        learner_config = learners.get(learner)()
        environment = envs.get(env)()
        if any(field.name == "horizon" for field in dataclasses.fields(environment)):
            environment = dataclasses.replace(environment, horizon=5)
        outer_class = outer.get(outer_method)
        advantage, options = AdvantageConfig(), {}
        if not learner_config.needs_round_advantages:
            known = {field.name for field in dataclasses.fields(outer_class)}
            wanted = {"rounds": "all", "value_coefficient": 0.5}
            options = {name: value for name, value in wanted.items() if name in known}
            baseline = "none" if outer_method == "trpo" else "value"
            advantage = AdvantageConfig(baseline=baseline, credit="trial", normalization="batch")
        outer_config = outer_class(**options)
        config = Config(
            env=environment,
            learner=learner_config,
            outer=outer_config,
            advantage=advantage,
            num_meta_steps=4,
            num_tasks=8,
            num_rounds=3,
            num_episodes=4,
            evaluation=EvaluationConfig(num_tasks=8),
            runtime=RuntimeConfig(num_devices=1),
        )
        return dataclasses.replace(config, **changes)

    return make


def assert_trees_close(actual, expected, rtol=1e-4, atol=1e-5):
    """Every float of two trees agrees to tolerance, and everything else exactly."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)


@pytest.fixture
def trees_close():
    """`assert_trees_close`, which tests cannot import."""
    return assert_trees_close


@pytest.fixture
def compilations():
    """A list that grows by one with every compilation."""
    events = []

    def listen(event, seconds, **_):
        if event == COMPILATION:
            events.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_collection_modifyitems(items):
    if sys.version_info >= (3, 12):
        reason = "gymnax 1.0 needs jax < 0.12, and so Python 3.11"
        for item in items:
            if "gymnax" in item.name or "cart-pole" in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))
