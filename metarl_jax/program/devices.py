"""The devices of a run."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.task_axis import TaskAxis
from metarl_jax.core.trees import largest_divisor
from metarl_jax.core.types import Device, InnerState, Key, TrainState
from metarl_jax.learners.base import MetaLearner
from metarl_jax.outer.base import Outer


def replicated(axis: TaskAxis, devices: Sequence[Device]) -> Sharding:
    """Returns the sharding in which every device of the axis holds the whole array."""
    if axis.mesh is None:
        return SingleDeviceSharding(devices[0])
    return NamedSharding(axis.mesh, PartitionSpec())


def state_sharding(
    outer: Outer, axis: TaskAxis, devices: Sequence[Device], state: TrainState
) -> TrainState:
    """Returns the sharding of each array of a state: replicated, except trials that are under way, and the arrays that
    `Outer.sharded` spreads with the tasks."""
    everywhere = replicated(axis, devices)
    shardings = jax.tree.map(lambda _: everywhere, state)
    if axis.mesh is None:
        return shardings
    by_task = NamedSharding(axis.mesh, PartitionSpec(axis.name))
    if state.live is not None:
        trials = jax.tree.map(lambda _: by_task, state.live.trials)
        shardings = shardings.replace(live=shardings.live.replace(trials=trials))
    if outer.sharded is None:
        return shardings
    opt_state = jax.tree.map(
        lambda has_tasks: by_task if has_tasks else everywhere, outer.sharded(state.opt_state)
    )
    return shardings.replace(opt_state=opt_state)


CACHED_BYTES = 4 * 2**20
"""Largest total size, in bytes, of the inner states of tasks that act side by side on a core of a CPU. A transformer's
rings of 256 KiB a task took 2.0 s side by side for 48 tasks, and 0.5 s for 16 (docs/results/performance.md)."""


def inner_state_bytes(learner: MetaLearner, num_episodes: int) -> int:
    """Returns the bytes of the inner state of one task with this many parallel episodes, without the shared memory."""

    def begin(key: Key) -> InnerState:
        return learner.begin(learner.init(key), (), key, num_episodes)

    state = jax.eval_shape(begin, make_key(0))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def select_devices(config: Config) -> list[Device]:
    """Returns the devices of a run: the requested number, or the most that share the tasks evenly.

    Raises:
      UserError: if the platform or the number of devices is not available.
    """
    devices = allowed_devices(config)
    if config.runtime.num_devices is not None:
        return devices
    groups, processes = config.num_tasks // config.outer.task_group, jax.process_count()
    if groups % processes:
        raise UserError(
            f"num_tasks={config.num_tasks} cannot be shared by {processes} processes"
            + (f" in groups of {config.outer.task_group}" if config.outer.task_group > 1 else "")
            + f": choose a multiple of {processes * config.outer.task_group}, or fewer processes"
        )
    local = largest_divisor(groups // processes, len(devices) // processes)
    return _of_each_process(devices, local * processes)


def allowed_devices(config: Config) -> list[Device]:
    """Returns the devices that a run may use: the requested number on its platform, or all of them.

    Raises:
      UserError: if the platform or the number of devices is not available.
    """
    wanted, platform = config.runtime.num_devices, platform_of(config.runtime)
    devices = jax.devices(platform)
    processes = jax.process_count()
    if wanted is not None and wanted % processes:
        raise UserError(
            f"runtime.num_devices={wanted} cannot be shared by {processes} processes: choose a multiple, or leave it "
            "out"
        )
    if wanted is not None and wanted > len(devices):
        raise UserError(
            f"runtime.num_devices={wanted}, but there are {len(devices)} {platform} devices: ask for fewer, or leave "
            "it out"
        )
    return devices if wanted is None else _of_each_process(devices, wanted)


def _of_each_process(devices: Sequence[Device], number: int) -> list[Device]:
    """Returns so many of the devices, the same number of each process: a compiled call needs them all."""
    processes = jax.process_count()
    ranked = sorted(devices, key=lambda device: (device.process_index, device.id))
    local = len(ranked) // processes
    return [device for i, device in enumerate(ranked) if i % local < number // processes]


def with_runtime(config: Config, asked: RuntimeConfig | None, say: Callable[[str], None]) -> Config:
    """Returns the configuration of a run adapted to this machine; results do not depend on the devices of training.

    Args:
      config: as it was trained.
      asked: where to compute now; as in training when not given. Values that differ from training must be available.
      say: receives a message if the platform or devices of training are not available; available ones are used instead.
    """
    trained = config.runtime
    runtime = trained if asked is None else asked
    for name in ("matmul_precision", "product_dtype"):
        before, now = getattr(trained, name), getattr(runtime, name)
        if now != before:
            say(
                f"trained with runtime.{name}={before!r}: computing with {now!r}, which rounds otherwise"
            )
    if runtime.platform == trained.platform and not _has(runtime.platform):
        say(
            f"trained with runtime.platform={trained.platform!r}, which is not available here: computing on "
            f"{platform_of(RuntimeConfig())}"
        )
        runtime = dataclasses.replace(runtime, platform="auto")
    wanted = runtime.num_devices
    if wanted is not None and wanted == trained.num_devices and _has(runtime.platform):
        platform = platform_of(runtime)
        found = len(jax.devices(platform))
        if wanted > found:
            say(
                f"trained with runtime.num_devices={wanted}, but there are {found} {platform} devices here: using as "
                "many as share the tasks evenly"
            )
            runtime = dataclasses.replace(runtime, num_devices=None)
        elif wanted % jax.process_count():
            say(
                f"trained with runtime.num_devices={wanted}, which {jax.process_count()} processes cannot share: using "
                "as many as share the tasks evenly"
            )
            runtime = dataclasses.replace(runtime, num_devices=None)
    return dataclasses.replace(config, runtime=runtime)


def _has(platform: str) -> bool:
    """Whether there are devices of this platform."""
    try:
        return platform == "auto" or bool(jax.devices(platform))
    except RuntimeError:
        return False


def platform_of(runtime: RuntimeConfig) -> str:
    """Returns the platform of the devices of a run, and checks that it is available."""
    wanted = runtime.platform
    if wanted == "auto":
        return jax.devices()[0].platform
    if not _has(wanted):
        raise UserError(
            f"runtime.platform={wanted!r} was asked for, but JAX finds no such device (it has "
            f"{jax.devices()[0].platform}): install JAX for it, or choose runtime.platform=auto"
        )
    return wanted
