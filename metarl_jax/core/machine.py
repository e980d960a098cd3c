"""Descriptions of the machine on which a figure was measured."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from metarl_jax.core.types import Device


def specification(devices: Sequence[Device]) -> dict[str, Any]:
    """Returns a description of devices of one kind, to be stated beside a figure."""
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": processor(),
        "cores": num_usable_cores(),
        "jax": jax.__version__,
    }


def describe(machine: dict[str, Any]) -> str:
    """Describes a machine, as in `2 x cpu device(s), AMD EPYC, 2 core(s)`."""
    devices = f"{machine['count']} x {machine['kind']} device(s)"
    return f"{devices}, {machine['processor']}, {machine['cores']} core(s)"


def processor() -> str:
    """Returns the name of the CPU, as far as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def processor_features() -> str:
    """Returns the name of the CPU and, where the system lists them, its instruction sets."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return f"{processor()} {value.strip()}"
    return processor()


def memory_bytes(devices: Sequence[Device]) -> int | None:
    """Returns the total memory of these devices in bytes, or None if unknown; on a CPU, the memory of the machine."""
    if devices[0].platform == "cpu":
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def num_usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
