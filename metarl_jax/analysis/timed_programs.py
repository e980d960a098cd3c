"""The programs that `metarl bench` times: the simulator alone, the parts of a meta-step, and the whole of it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.baselines.policies import control_spec
from metarl_jax.config import Config
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.target import traced_for
from metarl_jax.core.types import Device, Key, MetaState, Metrics, TrainState, Trial
from metarl_jax.program.compilation import compiler_options, donated
from metarl_jax.program.devices import replicated
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.segments import STEPS_PER_START
from metarl_jax.program.step import StepSpec, make_init, make_meta_batch, make_step, sample_tasks


class Compiled(NamedTuple):
    """A program ready to be timed.

    Attributes:
      call: runs it once and returns arrays to wait for.
      compile_seconds: tracing, lowering and compiling.
      temporary_bytes: memory on each device besides arguments and results, if the compiler reports it.
    """

    call: Callable[[], Any]
    compile_seconds: float
    temporary_bytes: int | None


def make_simulate(spec: StepSpec) -> Callable[[Key], Metrics]:
    """Returns the simulator alone: the trials of a meta-step under random actions. It returns sums of rewards and
    observations, so that the compiler cannot remove the simulation. Its `env_steps` are all that it computes, those
    after the end of an episode too: under random actions a robot falls at once, and steps at the same cost.
    """
    spec = control_spec(spec, "random")
    advantages = make_estimator(PLAIN_RETURNS)
    num_rounds = spec.num_rounds
    if spec.num_segments > 1:  # of which a segment prepares as many episodes as follow here
        num_rounds = min(num_rounds, (spec.segment_steps or 0) // STEPS_PER_START + 2)

    def one(_, task, key) -> Metrics:
        trial = collect_trial(
            spec.env,
            spec.learner,
            advantages,
            MetaState(()),
            task,
            key,
            num_rounds=num_rounds,
            num_episodes=spec.num_episodes,
            num_steps=spec.segment_steps,
        )
        timestep = trial.rollout.timestep
        observed = [x.sum(dtype=jnp.float32) for x in jax.tree.leaves(timestep.observation)]
        return {
            "env_steps": jnp.int32(timestep.valid.size),
            "reward": trial.rollout.reward.sum(),
            "observation": jnp.stack(observed).sum(),
        }

    def simulate(key: Key) -> Metrics:
        task_key, trial_key = jax.random.split(key)
        tasks = sample_tasks(spec, task_key, spec.num_tasks, "train")
        keys = jax.random.split(trial_key, spec.num_tasks)
        sums = spec.axis.map(one, (), tasks, keys, block=spec.collect_block)
        return jax.tree.map(lambda x: x.sum(), sums)

    return traced_for(spec.target, simulate)


def make_collect(spec: StepSpec) -> Callable[[TrainState, Key], Trial]:
    """Returns the first half of a meta-step: it samples tasks, and collects the learner's trials `[N, K, T, E]`."""

    def collect(state: TrainState, key: Key) -> Trial:
        task_key, trial_key = jax.random.split(key)
        tasks = sample_tasks(spec, task_key, spec.num_tasks, "train")
        return make_meta_batch(spec, state, tasks).collect(state.meta.params, trial_key)

    return traced_for(spec.target, collect)


def compile_all(
    spec: StepSpec, config: Config, devices: Sequence[Device], progress: Callable[[str], None]
) -> dict[str, Compiled]:
    """Compiles the programs, by name, and runs each once."""
    everywhere = replicated(spec.axis, devices)
    init = jax.jit(make_init(spec), out_shardings=everywhere)
    key = jax.device_put(make_key(config.seed), everywhere)
    state = jax.block_until_ready(init(key))

    def compiled(name: str, fn: Callable, *args):
        progress(f"compiling: {name}")
        return _compiled(jax.jit(fn), config, devices, *args)

    simulate, costs = compiled("simulator", make_simulate(spec), key)
    programs = {"simulator": Compiled(lambda: simulate(key), *costs)}
    collects = {"collect": spec}
    if spec.learner.adapt is not None:
        collects["act"] = spec._replace(learner=spec.learner._replace(adapt=None))
    for name, parts in collects.items():
        collect, costs = compiled(name, make_collect(parts), state, key)
        programs[name] = Compiled(lambda collect=collect: collect(state, key), *costs)
    for program in programs.values():
        jax.block_until_ready(program.call())
    progress("compiling: meta-step")
    return programs | {"meta-step": compile_step(spec, config, devices)}


def compile_step(spec: StepSpec, config: Config, devices: Sequence[Device]) -> Compiled:
    """Compiles the whole meta-step, and runs it once; every call continues from the state of the previous one."""
    everywhere = replicated(spec.axis, devices)
    init = jax.jit(make_init(spec), out_shardings=everywhere)
    training = [jax.block_until_ready(init(jax.device_put(make_key(config.seed), everywhere)))]
    step = jax.jit(make_step(spec), donate_argnums=donated(config), out_shardings=everywhere)
    step, costs = _compiled(step, config, devices, training[0])

    def take_step() -> Metrics:
        training[0], metrics = step(training[0])
        return metrics

    jax.block_until_ready(take_step())
    return Compiled(take_step, *costs)


def _compiled(jitted: Any, config: Config, devices: Sequence[Device], *args: Any):
    """Returns the executable for these arguments, its compile seconds, and its temporary bytes."""
    start = time.perf_counter()
    executable = jitted.lower(*args).compile(compiler_options(config, devices[0].platform))
    passed = time.perf_counter() - start
    plan = executable.memory_analysis()
    return executable, (passed, None if plan is None else plan.temp_size_in_bytes)
