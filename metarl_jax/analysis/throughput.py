"""Throughput of the meta-step, compared with the simulator alone, and the time of its parts: `metarl bench`."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from metarl_jax.analysis.timed_programs import Compiled, compile_all, compile_step
from metarl_jax.config import Config
from metarl_jax.core import machine
from metarl_jax.core.types import Device
from metarl_jax.program.build import check_memory, make_spec
from metarl_jax.program.devices import select_devices

TARGET_SECONDS = 0.5
"""Seconds of one measurement if the number of calls is not given."""


def measure(
    config: Config,
    *,
    repeats: int = 5,
    steps: int | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Times a configuration.

    Args:
      repeats: measurements of each program, taken in turns.
      steps: calls in one measurement; as many as take half a second when not given.
      progress: receives a description of the current activity.

    Returns:
      The content of `metarl bench --json`: rates in env-steps/s, of all steps for the simulator and of valid steps for
      the meta-step; `valid_share`, of the steps of a meta-step; `ratio`, the time of the simulator over that of the
      meta-step, which computes as many steps; times in s, memory in bytes.

    Raises:
      UserError: for a bad configuration, naming the field.
    """
    spec = make_spec(config)
    check_memory(config)
    devices = select_devices(config)
    programs = compile_all(spec, config, devices, progress)
    calls = {name: steps or _calibrate(program) for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    env_steps: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats):
        progress(f"measuring, {repeat + 1} of {repeats}")
        for name, program in programs.items():
            passed, steps_of_calls = _time(program.call, calls[name])
            seconds[name].append(passed / calls[name])
            env_steps[name].append(steps_of_calls / calls[name])

    def divided(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
        return _spread([a / b for a, b in zip(above, below, strict=True)])

    return {
        "preset": config.name,
        "device": machine.specification(devices),
        "sizes": {
            "num_tasks": config.num_tasks,
            "num_rounds": config.num_rounds,
            "num_episodes": config.num_episodes,
            "episode_length": config.env.episode_length,
            "num_steps": spec.segment_steps,
        },
        "repeats": repeats,
        "calls_per_measurement": calls,
        "compile_seconds": {name: program.compile_seconds for name, program in programs.items()},
        "simulator_env_steps_per_second": divided(env_steps["simulator"], seconds["simulator"]),
        "meta_step_env_steps_per_second": divided(env_steps["meta-step"], seconds["meta-step"]),
        "ratio": divided(seconds["simulator"], seconds["meta-step"]),
        "valid_share": divided(env_steps["meta-step"], env_steps["simulator"]),
        "meta_step_seconds": _spread(seconds["meta-step"]),
        "where_the_time_goes": _parts(seconds),
        "peak_memory": {
            "host_bytes": _peak_host_bytes(),
            "device_bytes": _peak_bytes(devices),
            "meta_step_bytes": programs["meta-step"].temporary_bytes,
        },
    }


def measure_variants(
    configs: dict[str, Config],
    *,
    repeats: int = 5,
    steps: int | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Times the whole meta-step of several configurations in turns, so that noise of the machine affects all equally.

    Args:
      configs: by name; rates are compared with that of the first.
      repeats, steps, progress: as in `measure`.

    Returns:
      The content of `metarl bench --against … --json`: for each name the rate in env-steps/s, its ratio to that of the
      first in the same turn, seconds of a meta-step and of compiling, its bytes on each device, and its env-steps.

    Raises:
      UserError: for a bad configuration, naming the field.
    """
    specs = {name: (make_spec(config), config) for name, config in configs.items()}
    for config in configs.values():
        check_memory(config)
    programs = {}
    for name, (spec, config) in specs.items():
        progress(f"compiling {name}")
        programs[name] = compile_step(spec, config, select_devices(config))
    calls = {name: steps or _calibrate(program) for name, program in programs.items()}
    turns: list[dict[str, tuple[float, float]]] = []
    for repeat in range(repeats):
        progress(f"measuring, {repeat + 1} of {repeats}")
        turns.append({name: _time(p.call, calls[name]) for name, p in programs.items()})

    def rate(turn: dict[str, tuple[float, float]], name: str) -> float:
        seconds, env_steps = turn[name]
        return env_steps / seconds

    first = next(iter(configs))
    variants = {
        name: {
            "env_steps_per_second": _spread([rate(turn, name) for turn in turns]),
            "ratio": _spread([rate(turn, name) / rate(turn, first) for turn in turns]),
            "meta_step_seconds": _spread([turn[name][0] / calls[name] for turn in turns]),
            "compile_seconds": program.compile_seconds,
            "meta_step_bytes": program.temporary_bytes,
            "env_steps": statistics.median(turn[name][1] / calls[name] for turn in turns),
        }
        for name, program in programs.items()
    }
    device = machine.specification(select_devices(configs[first]))
    return {"preset": configs[first].name, "device": device, "variants": variants}


def _time(call: Callable[[], Any], num_calls: int) -> tuple[float, float]:
    """Returns the seconds of this many calls, and the env-steps that they report.

    Each is waited for: on a CPU, programs with collectives that are in flight together can take
    each other's threads, and then wait for ever.
    """
    reported = []
    start = time.perf_counter()
    for _ in range(num_calls):
        result = jax.block_until_ready(call())
        if isinstance(result, dict):
            reported.append(result["env_steps"])
    return time.perf_counter() - start, float(sum(map(int, reported)))


def _calibrate(program: Compiled) -> int:
    """Returns the number of calls that last about `TARGET_SECONDS`."""
    seconds = min(_time(program.call, 1)[0], _time(program.call, 1)[0])
    return max(1, min(1000, round(TARGET_SECONDS / seconds)))


def _parts(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Returns the seconds of the parts of a meta-step, as differences between programs measured in turns."""
    acting = "act" if "act" in seconds else "collect"
    stages = ["simulator", acting, "collect", "meta-step"]
    names = ["simulating", "acting and recording", "adapting", "updating"]
    parts = {}
    previous = [0.0] * len(seconds["simulator"])
    for name, stage in zip(names, stages, strict=True):
        differences = [now - before for now, before in zip(seconds[stage], previous, strict=True)]
        parts[name] = _spread(differences)
        previous = seconds[stage]
    return parts


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _peak_host_bytes() -> int:
    """Returns the peak resident size of this process in bytes, compilation included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _peak_bytes(devices: Sequence[Device]) -> int | None:
    """Returns the peak memory of any device in bytes, if the platform reports it."""
    counts = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
    known = [count for count in counts if count is not None]
    return max(known) if known else None
