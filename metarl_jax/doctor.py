"""Whether this machine can run the library: versions, devices, and known bad combinations."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from metarl_jax.commands.backend import device_count_is_forced, prepare_backend
from metarl_jax.commands.options import parse
from metarl_jax.machine import num_usable_cores, processor

HELP = """Print versions, devices and cores, and what is known not to work.

Exit code 1 if anything is bad.

A bug report begins with the output of `metarl doctor --json`."""

Version = tuple[int, ...]


class Requirement(NamedTuple):
    """Versions of a package that are known to work: from `least` on, and before `below`."""

    package: str
    least: Version
    below: Version
    reason: str = "not tried"


REQUIREMENTS = (
    Requirement("jax", (0, 10), (0, 13), "its functions for devices and meshes change by version"),
    Requirement("jaxlib", (0, 10), (0, 13), "must go with jax"),
    Requirement("flax", (0, 12), (0, 13)),
    Requirement("optax", (0, 2, 8), (0, 3)),
    Requirement("orbax-checkpoint", (0, 12), (0, 13), "checkpoints may not be read"),
    Requirement("brax", (0, 14, 2), (0, 15)),
    Requirement("mujoco", (3, 17), (4,), "4.0.0 computes wrong accelerations"),
    Requirement("mujoco-mjx", (3, 17), (4,), "must go with mujoco"),
    Requirement("numpy", (2,), (3,)),
    Requirement("tyro", (0, 9), (2,)),
)


class Finding(NamedTuple):
    """One thing that a user should know; `bad` if it will not work."""

    bad: bool
    message: str


@dataclasses.dataclass(frozen=True)
class DoctorOptions:
    """Options of `metarl doctor`."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the report as JSON and nothing else on stdout."""


def main(args: list[str]) -> int:
    """`metarl doctor`."""
    options = parse(DoctorOptions, args, prog="metarl doctor", description=HELP)
    prepare_backend()
    report = examine()
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)
    return 1 if report["bad"] else 0


def examine() -> dict[str, Any]:
    """The report: versions, devices, cores, settings, and lists of what is `bad` and of `notes`."""
    versions = installed_versions()
    devices, findings = examine_devices()
    findings += check_versions(versions, sys.version_info[:3])
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "versions": versions,
        "devices": devices,
        "cores": {"usable": num_usable_cores(), "all": os.cpu_count()},
        "device_count_forced": device_count_is_forced(),
        "compilation_cache": os.environ.get("JAX_COMPILATION_CACHE_DIR"),
        "bad": [finding.message for finding in findings if finding.bad],
        "notes": [finding.message for finding in findings if not finding.bad],
    }


def installed_versions() -> dict[str, str | None]:
    """Version by package, None where it is not installed."""
    versions: dict[str, str | None] = {"metarl_jax": None}
    for package in (*versions, *(requirement.package for requirement in REQUIREMENTS)):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def check_versions(versions: dict[str, str | None], python: Version) -> list[Finding]:
    """What is wrong with these versions, if anything."""
    findings = []
    if python < (3, 11):
        found = ".".join(map(str, python))
        findings.append(Finding(True, f"Python {found} is too old: use 3.11 or newer"))
    for package, least, below, reason in REQUIREMENTS:
        version = versions.get(package)
        wanted = f"{package}>={_text(least)},<{_text(below)}"
        if version is None:
            findings.append(Finding(True, f"{package} is missing: pip install '{wanted}'"))
        elif not least <= _parse(version) < below:
            message = f"{package} {version} ({reason}): pip install '{wanted}'"
            findings.append(Finding(True, message))
    jax, jaxlib = versions.get("jax"), versions.get("jaxlib")
    if jax and jaxlib and _parse(jax)[:2] != _parse(jaxlib)[:2]:
        message = f"jax {jax} does not go with jaxlib {jaxlib}: pip install --upgrade jax jaxlib"
        findings.append(Finding(True, message))
    return findings


def examine_devices() -> tuple[list[dict[str, Any]], list[Finding]]:
    """The devices that JAX finds, and what is wrong with them."""
    import jax

    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:  # jax 0.10 asserts where no platform is left
        asked = os.environ.get("JAX_PLATFORMS", "any")
        reason = f": {error}" if str(error) else ""
        message = f"JAX finds no device (platforms: {asked}{reason}): unset JAX_PLATFORMS"
        return [], [Finding(True, message)]
    devices = [
        {
            "platform": device.platform,
            "kind": device.device_kind,
            "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        }
        for device in found
    ]
    findings = []
    if found[0].platform == "cpu" and any(Path("/dev").glob("nvidia[0-9]*")):
        findings.append(
            Finding(
                False,
                "there is an NVIDIA GPU, but JAX does not use it: pip install 'jax[cuda13]' "
                "(or cuda12)",
            )
        )
    if found[0].platform == "cpu" and len(found) < num_usable_cores():
        findings.append(
            Finding(
                False,
                f"JAX has {len(found)} CPU device(s) for {num_usable_cores()} cores: "
                "unset JAX_NUM_CPU_DEVICES and XLA_FLAGS to use them all",
            )
        )
    return devices, findings


def print_report(report: dict[str, Any]) -> None:
    """The report for a reader."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]python[/]   {report['python']} on {report['system']}")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    console.print(f"[bold]packages[/] {versions}")
    kinds = [f"{device['kind']} ({device['platform']})" for device in report["devices"]]
    counted = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)) or "none"
    console.print(f"[bold]devices[/]  {counted}")
    cores = report["cores"]
    usable = f"{cores['usable']} usable of {cores['all']}"
    console.print(f"[bold]cores[/]    {usable}, {report['processor']}")
    cache = report["compilation_cache"] or "none (set JAX_COMPILATION_CACHE_DIR to keep programs)"
    console.print(f"[bold]compiled programs[/] {cache}")
    for message in report["notes"]:
        console.print("[yellow]note[/]", end=" ")
        console.print(message, markup=False)
    for message in report["bad"]:
        console.print("[red]bad[/] ", end=" ")
        console.print(message, markup=False)
    if not report["bad"]:
        console.print("[green]nothing is wrong[/]")


def _parse(version: str) -> Version:
    """`"0.12.0.1rc1"` to `(0, 12, 0, 1)`; what follows the numbers is left out."""
    numbers = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _text(version: Version) -> str:
    return ".".join(map(str, version))
