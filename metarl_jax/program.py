"""`build`: from a configuration to the pure functions of a run."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import machine, returns
from metarl_jax.config import Config, RuntimeConfig, evaluated_learner, validate
from metarl_jax.env import Discrete, TaskDistribution, encoded_action_size
from metarl_jax.evaluate import control_spec, make_evaluate
from metarl_jax.jax_settings import make_key, under_fixed_settings
from metarl_jax.learner import MetaLearner
from metarl_jax.outer import Outer
from metarl_jax.step import StepSpec, make_init, make_step
from metarl_jax.task_axis import TaskAxis, make_task_axis
from metarl_jax.trees import largest_divisor
from metarl_jax.types import Array, Device, InnerState, Key, Metrics, TrainState

CACHED_BYTES = 4 * 2**20
"""What the inner states of tasks that act side by side may have on a core of a CPU. A transformer's rings of 256 KiB a
task took 2.0 s side by side for 48 tasks, and 0.5 s for 16 (docs/performance.md)."""


class Program(NamedTuple):
    """The pure functions of a run, and its parts.

    Attributes:
      init: key to the first `TrainState`.
      step: one meta-step, `state` to `(state, metrics)`. Not jitted, so that it composes with `scan` and `vmap`.
      evaluate: (state, key, split="test", num_tasks=None) to mean returns `[tasks, K]` on fresh tasks.
      evaluate_control: (control, key, split="test", num_tasks=None, step=0) to the same for the `random` or `oracle`
        policy or a known strategy, on the tasks that a learner is evaluated on after so many meta-steps.
      env, learner, outer, axis: the parts.
      config: what it was built from.
    """

    init: Callable[[Key], TrainState]
    step: Callable[[TrainState], tuple[TrainState, Metrics]]
    evaluate: Callable[..., Array]
    evaluate_control: Callable[..., Array]
    env: TaskDistribution
    learner: MetaLearner
    outer: Outer
    axis: TaskAxis
    config: Config


def build(config: Config) -> Program:
    """From a configuration to the functions of a run.

    May be called inside a trace: float hyperparameters can be tracers, so that `vmap` over them is a sweep in one
    program. Only concrete values are validated.

    Raises:
      ValueError: naming the field, the value and the remedy.
    """
    spec = make_spec(config)
    evaluate, evaluate_control = _make_evaluations(config, spec)
    return Program(
        init=make_init(spec),
        step=make_step(spec),
        evaluate=evaluate,
        evaluate_control=evaluate_control,
        env=spec.env,
        learner=spec.learner,
        outer=spec.outer,
        axis=spec.axis,
        config=config,
    )


@under_fixed_settings
def make_spec(config: Config) -> StepSpec:
    """The parts and sizes of the meta-step of a configuration.

    Raises:
      ValueError: naming the field, the value and the remedy.
    """
    validate(config)
    axis = make_task_axis(select_devices(config))
    learner = config.learner.make(config.env)
    spec = StepSpec(
        env=config.env,
        learner=learner,
        outer=config.outer.make(config.num_meta_steps, learner.parameter_groups),
        advantages=returns.make_estimator(config.advantage),
        axis=axis,
        num_meta_steps=config.num_meta_steps,
        num_tasks=config.num_tasks,
        num_rounds=config.num_rounds,
        num_episodes=config.num_episodes,
        normalize_observations=config.normalize_observations,
        collect_block=config.runtime.collect_block,
        update_block=config.runtime.update_block,
        remat=config.runtime.remat,
    )
    if _platform(config.runtime) != "cpu":
        return spec
    if spec.collect_block is None:
        # Inner states of more tasks leave the cache of a core, and fewer pay for more steps of a scan.
        num_bytes = inner_state_bytes(learner, config.num_episodes)
        spec = spec._replace(collect_block=max(1, CACHED_BYTES // max(1, num_bytes)))
    if spec.update_block is None and learner.weights_per_task:
        # Beyond one set of weights, a batched matrix product leaves the cache of a core.
        spec = spec._replace(update_block=1)
    return spec


def inner_state_bytes(learner: MetaLearner, num_episodes: int) -> int:
    """Bytes of the inner state of one task, with so many episodes side by side; what outlives trials is shared."""

    def begin(key: Key) -> InnerState:
        return learner.begin(learner.init(key), (), key, num_episodes)

    state = jax.eval_shape(begin, make_key(0))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def select_devices(config: Config) -> list[Device]:
    """The devices of a run: those asked for, or as many as share the tasks evenly.

    Raises:
      ValueError: if the platform or the number of devices is not there.
    """
    devices = allowed_devices(config)
    if config.runtime.num_devices is None:
        groups = config.num_tasks // config.outer.task_group
        return devices[: largest_divisor(groups, len(devices))]
    return devices


def check_memory(config: Config) -> None:
    """Refuses to train on trials of which the record alone does not fit into memory.

    What else a meta-step needs is known only when it is compiled.

    Raises:
      ValueError: naming the sizes and the remedy.
    """
    sizes = {name: getattr(config, name) for name in ("num_tasks", "num_rounds", "num_episodes")}
    num_steps = math.prod(sizes.values()) * config.env.episode_length
    num_bytes = num_steps * _step_bytes(config)
    memory = machine.memory_bytes(allowed_devices(config))
    if memory is not None and num_bytes > memory:
        given = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"{given} of {config.env.episode_length} steps need at least {num_bytes / 2**30:,.0f} GiB, and the "
            f"memory has {memory / 2**30:,.0f} GiB: choose a smaller {max(sizes, key=lambda name: sizes[name])}"
        )


def _step_bytes(config: Config) -> int:
    """Bytes of what is kept of a step until the update: its reward, whether it is valid and, where it is replayed, what
    the learner saw and did, with the likelihood and the advantage of that."""
    space = config.env.action_space
    seen = config.env.observation_size + encoded_action_size(space) + 1
    action = 1 if isinstance(space, Discrete) else space.size
    replayed = 4 * (seen + action + 2) if config.outer.reads_advantages else 0
    return 5 + replayed


def allowed_devices(config: Config) -> list[Device]:
    """The devices that a run may use: as many of its platform as it asks for, or all of them.

    Raises:
      ValueError: if the platform or the number of devices is not there.
    """
    wanted, platform = config.runtime.num_devices, _platform(config.runtime)
    devices = jax.devices(platform)
    if wanted is not None and wanted > len(devices):
        raise ValueError(
            f"runtime.num_devices={wanted}, but there are {len(devices)} {platform} devices: ask for fewer, or leave "
            "it out"
        )
    return devices[:wanted]


def with_runtime(config: Config, asked: RuntimeConfig | None, say: Callable[[str], None]) -> Config:
    """The configuration of a run that goes on here, wherever it was trained: devices are no part of what was learned.

    Args:
      config: as it was trained.
      asked: where to compute now; as in training when not given. What differs from training must be there.
      say: is told of a platform or devices of training that are not here; those that are here are used instead.
    """
    trained = config.runtime
    runtime = trained if asked is None else asked
    if runtime.platform == trained.platform and not _has(runtime.platform):
        say(
            f"trained with runtime.platform={trained.platform!r}, which is not here: computing on "
            f"{jax.default_backend()}"
        )
        runtime = dataclasses.replace(runtime, platform="auto")
    wanted = runtime.num_devices
    if wanted is not None and wanted == trained.num_devices and _has(runtime.platform):
        platform = _platform(runtime)
        found = len(jax.devices(platform))
        if wanted > found:
            say(
                f"trained with runtime.num_devices={wanted}, but there are {found} {platform} devices here: using as "
                "many as share the tasks evenly"
            )
            runtime = dataclasses.replace(runtime, num_devices=None)
    return dataclasses.replace(config, runtime=runtime)


def _has(platform: str) -> bool:
    """Whether there are devices of this platform."""
    try:
        return platform == "auto" or bool(jax.devices(platform))
    except RuntimeError:
        return False


def _platform(runtime: RuntimeConfig) -> str:
    """The platform of a run, checked to be there."""
    wanted = runtime.platform
    if wanted == "auto":
        return jax.default_backend()
    if not _has(wanted):
        raise ValueError(
            f"runtime.platform={wanted!r} was asked for, but JAX finds no such device (it has "
            f"{jax.default_backend()}): install JAX for it, or choose runtime.platform=auto"
        )
    return wanted


def _make_evaluations(config: Config, spec: StepSpec):
    """`evaluate` and `evaluate_control` with the defaults of the configuration."""
    options = config.evaluation
    sizes = {
        "num_rounds": options.num_rounds or config.num_rounds,
        "num_episodes": options.num_episodes or config.num_episodes,
    }
    evaluated = spec
    if options.inner_lr_factors is not None:
        evaluated = spec._replace(learner=evaluated_learner(config).make(config.env))
    learner_evaluate = make_evaluate(evaluated, deterministic=options.deterministic, **sizes)

    def evaluate(state: TrainState, key: Key, split="test", num_tasks: int | None = None) -> Array:
        return learner_evaluate(
            state, key, split, options.num_tasks if num_tasks is None else num_tasks
        )

    @under_fixed_settings
    def evaluate_control(
        control: str, key: Key, split="test", num_tasks: int | None = None, step: Array | int = 0
    ) -> Array:
        controlled = control_spec(spec, control, sizes["num_rounds"])
        state = make_init(controlled)(key).replace(step=jnp.asarray(step, jnp.int32))
        control_evaluate = make_evaluate(controlled, deterministic=False, **sizes)
        return control_evaluate(
            state, key, split, options.num_tasks if num_tasks is None else num_tasks
        )

    return evaluate, evaluate_control
