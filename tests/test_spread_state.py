"""What an outer method keeps of each task lies on the device of the task, is saved, and goes on elsewhere."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Probe, RandomWalk, Silent

import metarl_jax
from metarl_jax.config import CheckpointConfig, EvaluationConfig, RuntimeConfig
from metarl_jax.outer.base import Outer
from metarl_jax.runs.executables import Executables, run_functions

NUM_TASKS = 8


@dataclasses.dataclass(frozen=True)
class Remembering(RandomWalk):
    """Keeps the return of each task of the last meta-step, `[N]`."""

    name: ClassVar[str] = "remembering"

    def make(self, num_meta_steps, parameter_groups=()):
        inner = super().make(num_meta_steps, parameter_groups)

        def init(meta_params):
            return inner.init(meta_params), jnp.zeros(NUM_TASKS)

        def update(key, meta_params, opt_state, batch):
            state, returns = opt_state
            # What was kept tells in the parameters: a row that lands on another task's device would show.
            weights = jnp.arange(NUM_TASKS, dtype=jnp.float32)
            meta_params = jax.tree.map(lambda x: x + 0.01 * (weights @ returns), meta_params)
            meta_params, state, trials, metrics = inner.update(key, meta_params, state, batch)
            returns = trials.episode_returns().mean(axis=(1, 2))
            return meta_params, (state, returns), trials, metrics

        def sharded(opt_state):
            return jax.tree.map(lambda _: False, opt_state[0]), True

        return Outer(init, update, sharded)


@pytest.fixture
def config(small_config):
    def make(num_devices):
        config = small_config("rl2", "bandit", runtime=RuntimeConfig(num_devices=num_devices))
        return dataclasses.replace(
            config,
            learner=Probe(),
            outer=Remembering(),
            num_tasks=NUM_TASKS,
            num_meta_steps=4,
            log_every=1,
            evaluation=EvaluationConfig(every=0, num_tasks=8),
            checkpoint=CheckpointConfig(every=1),
        )

    return make


def test_state_with_tasks_lies_with_its_tasks(config):
    executables = Executables(run_functions(metarl_jax.build(config(4))))
    state, *_ = executables.chunk(executables.init(), 1)
    adam, returns = state.opt_state
    assert [shard.data.shape for shard in returns.addressable_shards] == [(2,)] * 4
    assert all(
        x.sharding.is_fully_replicated for x in jax.tree.leaves((adam, state.meta, state.key))
    )


def test_state_with_tasks_resumes_on_other_devices(config, tmp_path):
    metarl_jax.train(config(1), tmp_path / "whole", console=Silent())

    class StopAt(metarl_jax.Callback):
        def on_chunk(self, line):
            if line["step"] == 2:
                raise RuntimeError("the machine is taken away")

    with pytest.raises(RuntimeError, match="taken away"):
        metarl_jax.train(config(4), tmp_path / "cut", console=Silent(), callbacks=[StopAt()])
    found = metarl_jax.load(tmp_path / "cut", "last")
    assert 0 < int(found.state.step) < 4
    metarl_jax.resume(tmp_path / "cut", runtime=RuntimeConfig(num_devices=2), console=Silent())
    np.testing.assert_allclose(
        metarl_jax.load(tmp_path / "cut", "last").state.opt_state[1],
        metarl_jax.load(tmp_path / "whole", "last").state.opt_state[1],
        rtol=1e-5,
    )
