"""`build` turns a configuration into the pure functions of a run."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from metarl_jax.config import Config, evaluated_learner, validate
from metarl_jax.core import machine
from metarl_jax.core.advantages import make_estimator
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import as_fixed_key, under_fixed_settings
from metarl_jax.core.spaces import Discrete, encoded_action_size, flat_size
from metarl_jax.core.target import BFLOAT16_PRODUCTS, Target, all_traced_for, traced_for
from metarl_jax.core.task_axis import TaskAxis, make_task_axis
from metarl_jax.core.types import (
    Array,
    Key,
    Metrics,
    TrainState,
    Trial,
)
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.told_task import as_observed
from metarl_jax.learners.base import MetaLearner
from metarl_jax.outer.base import Outer
from metarl_jax.program import memory
from metarl_jax.program.devices import (
    CACHED_BYTES,
    allowed_devices,
    inner_state_bytes,
    platform_of,
    select_devices,
)
from metarl_jax.program.evaluation import RETURN, Measured, make_measure
from metarl_jax.program.policy import Policy, make_policy
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.step import StepSpec, make_init, make_step


class Program(NamedTuple):
    """The pure functions of a run, and its parts.

    Attributes:
      init: key to the first `TrainState`.
      step: one meta-step, `state` to `(state, metrics)`. Not jitted, so that it composes with `scan` and `vmap`.
      measure: (state, key, split="test", num_tasks=None) to what is reached on fresh tasks: `return` and, as
        `env/NAME`, what the environment reports, each `[tasks, K]` (see `metarl_jax.program.evaluation`).
      evaluate: the same arguments to the returns alone.
      trial: (state, task, key, num_rounds=None, num_episodes=None, deterministic=False, record_states=False) to the
        record of one trial in one task (`metarl_jax.core.types.Trial`), with the environment's states if asked for.
      policy: state to the learner for a loop of your own (`metarl_jax.program.policy.Policy`).
      env, learner, outer, axis: the parts.
      config: what it was built from.
    """

    init: Callable[[Key], TrainState]
    step: Callable[[TrainState], tuple[TrainState, Metrics]]
    measure: Callable[..., Measured]
    evaluate: Callable[..., Array]
    trial: Callable[..., Trial]
    policy: Callable[[TrainState], Policy]
    env: TaskDistribution
    learner: MetaLearner
    outer: Outer
    axis: TaskAxis
    config: Config


def build(config: Config, platform: str | None = None) -> Program:
    """Builds the functions of a run from its configuration.

    May be called inside a trace: float hyperparameters can be tracers, so that `vmap` over them is a sweep in one
    program. Only concrete values are validated.

    Args:
      config: of the run.
      platform: what the program will run on, where that is not what its devices are; `metarl train --dry-run` lowers a
        program for a platform that is not there, and what is exported is for `any`.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    spec = make_spec(config, platform)
    measure, evaluate = _make_evaluations(config, spec)
    return Program(
        init=make_init(spec),
        step=make_step(spec),
        measure=measure,
        evaluate=evaluate,
        trial=_make_trial(spec),
        policy=lambda state: make_policy(spec.env, spec.learner, spec.advantages, state.meta),
        env=spec.env,
        learner=spec.learner,
        outer=spec.outer,
        axis=spec.axis,
        config=config,
    )


@under_fixed_settings
def make_spec(config: Config, platform: str | None = None) -> StepSpec:
    """Returns the parts and sizes of the meta-step of a configuration, for the platform of its devices or another one.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    validate(config)
    axis = make_task_axis(select_devices(config))
    env = as_observed(config.env)
    target = Target(
        platform or platform_of(config.runtime),
        config.runtime.unroll,
        config.runtime.matmul_precision,
    )
    of_learner = _of_learner(config, target)
    learner = all_traced_for(of_learner, config.learner.make(env))
    # Its update too: derivatives that a learner defines are traced where they are asked for.
    outer = config.outer.make(config.num_meta_steps, learner.parameter_groups)
    advantages = make_estimator(
        config.advantage,
        env.observation_space,
        horizon_is_task=env.horizon_is_task,
        by_steps=config.num_steps is not None,
    )
    spec = StepSpec(
        target=target,
        env=env,
        learner=learner,
        outer=all_traced_for(of_learner, outer),
        advantages=all_traced_for(target, advantages),
        axis=axis,
        num_meta_steps=config.num_meta_steps,
        num_tasks=config.num_tasks,
        num_rounds=config.num_rounds,
        num_episodes=config.num_episodes,
        num_steps=config.num_steps,
        num_segments=config.num_segments,
        normalize_observations=config.normalize_observations,
        collect_block=config.runtime.collect_block,
        update_block=config.runtime.update_block,
        remat=config.runtime.remat,
    )
    return memory.fit(config, spec if target.platform != "cpu" else _with_blocks_of_a_cpu(spec))


def _with_blocks_of_a_cpu(spec: StepSpec) -> StepSpec:
    """Returns the meta-step with the blocks that a core takes fastest, where none were asked for."""
    if spec.collect_block is None:
        # Inner states of more tasks leave the cache of a core, and fewer pay for more steps of a scan.
        num_bytes = inner_state_bytes(spec.learner, spec.num_episodes)
        spec = spec._replace(collect_block=max(1, CACHED_BYTES // max(1, num_bytes)))
    if spec.update_block is None and spec.learner.weights_per_task:
        # Beyond one set of weights, a batched matrix product leaves the cache of a core.
        spec = spec._replace(update_block=1)
    return spec


def _of_learner(config: Config, target: Target) -> Target:
    """Returns the target of the learner and its update, whose products are those of networks."""
    if config.runtime.product_dtype == "float32":
        return target
    return target._replace(precision=BFLOAT16_PRODUCTS)


def check_memory(config: Config) -> None:
    """Raises an error if the record of the trials alone does not fit into memory, or a meta-step by its estimate into
    `runtime.memory_limit`. The memory that the program will take is known only after compilation.

    Raises:
      UserError: naming the sizes and the remedy.
    """
    names = ("num_tasks", "num_rounds" if config.num_steps is None else "num_steps", "num_episodes")
    sizes = {name: getattr(config, name) for name in names}
    length = 1 if config.num_steps is not None else config.env.episode_length
    num_steps = math.prod(sizes.values()) * length // config.num_segments
    num_bytes = num_steps * _step_bytes(config)
    available = machine.memory_bytes(allowed_devices(config))
    if available is not None and num_bytes > available:
        given = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise UserError(
            f"{given} of {config.env.episode_length} step(s) need at least {num_bytes / 2**30:,.0f} GiB, and the "
            f"memory has {available / 2**30:,.0f} GiB: choose a smaller {max(sizes, key=lambda name: sizes[name])}"
        )
    if config.runtime.memory_limit is not None:
        memory.check(config, make_spec(config))


def _step_bytes(config: Config) -> int:
    """Returns the bytes stored per step until the update: reward, validity and, for replays, timestep, action,
    log-likelihood and advantage."""
    space = config.env.action_space
    seen = flat_size(as_observed(config.env).observation_space) + encoded_action_size(space) + 1
    action = 1 if isinstance(space, Discrete) else space.size
    replayed = 4 * (seen + action + 2) if config.outer.reads_advantages else 0
    return 5 + replayed


def _make_trial(spec: StepSpec) -> Callable[..., Trial]:
    @under_fixed_settings
    def trial(
        state: TrainState,
        task: Any,
        key: Key,
        num_rounds: int | None = None,
        num_episodes: int | None = None,
        deterministic: bool = False,
        record_states: bool = False,
    ) -> Trial:
        return collect_trial(
            spec.env,
            spec.learner,
            spec.advantages,
            state.meta,
            task,
            as_fixed_key(key),
            num_rounds=num_rounds or spec.num_rounds,
            num_episodes=num_episodes or spec.num_episodes,
            num_steps=spec.num_steps,
            deterministic=deterministic,
            record_states=record_states,
        )

    return traced_for(spec.target, trial)


def evaluation_sizes(config: Config) -> dict[str, Any]:
    """Returns the sizes of evaluated trials: `num_rounds`, `num_episodes`, `num_steps`."""
    options = config.evaluation
    return {
        "num_rounds": options.num_rounds or config.num_rounds,
        "num_episodes": options.num_episodes or config.num_episodes,
        "num_steps": config.num_steps,
    }


def _make_evaluations(config: Config, spec: StepSpec):
    """Returns `measure` and `evaluate` with the defaults of the configuration."""
    options = config.evaluation
    evaluated = spec
    if options.inner_lr_factors is not None:
        learner = evaluated_learner(config).make(spec.env)
        learner = all_traced_for(_of_learner(config, spec.target), learner)
        evaluated = spec._replace(learner=learner)
    learner_measure = make_measure(
        evaluated, deterministic=options.deterministic, **evaluation_sizes(config)
    )

    def measure(
        state: TrainState, key: Key, split="test", num_tasks: int | None = None
    ) -> Measured:
        return learner_measure(
            state, key, split, options.num_tasks if num_tasks is None else num_tasks
        )

    def evaluate(state: TrainState, key: Key, split="test", num_tasks: int | None = None) -> Array:
        return measure(state, key, split, num_tasks)[RETURN]

    return measure, evaluate
