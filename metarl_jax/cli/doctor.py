"""`metarl doctor`: checks whether this machine can run the library: versions, imports, devices, settings, and known bad
combinations."""

import dataclasses
import importlib
import importlib.metadata
import json
import os
import pkgutil
import platform
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from metarl_jax.cli.backend import device_count_is_forced, prepare_backend
from metarl_jax.cli.compilation_cache import kept_programs
from metarl_jax.cli.options import parse
from metarl_jax.core.jax_settings import SETTINGS, changed_settings, process_settings
from metarl_jax.core.machine import num_usable_cores, processor

HELP = """Print versions, devices, cores and settings, and what is known not to work.

Exit code 1 if anything is bad.

A bug report begins with the output of `metarl doctor --json`."""

DISTRIBUTION = "metarl_jax"

REASONS = {
    "jax": "its functions for devices and meshes change by version",
    "orbax-checkpoint": "checkpoints may not be read",
    "mujoco": "4.0.0 computes wrong accelerations",
    "mujoco-mjx": "must go with mujoco",
}
"""Known problems of package versions outside the required range."""


class Finding(NamedTuple):
    """A finding for the user; `bad` if it prevents the library from working."""

    bad: bool
    message: str


@dataclasses.dataclass(frozen=True)
class DoctorOptions:
    """Options of `metarl doctor`."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only JSON on stdout."""


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
    """Returns the report: versions, devices, cores, settings, and the lists `bad` and `notes`."""
    versions = installed_versions()
    devices, findings = examine_devices()
    findings += check_versions(versions, platform.python_version())
    findings += check_imports(DISTRIBUTION) + check_settings()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "versions": versions,
        "devices": devices,
        "cores": {"usable": num_usable_cores(), "all": os.cpu_count()},
        "device_count_forced": device_count_is_forced(),
        "compilation_cache": kept_programs(),
        "bad": [finding.message for finding in findings if finding.bad],
        "notes": [finding.message for finding in findings if not finding.bad],
    }


def requirements() -> list[Requirement]:
    """Returns the required packages of the installed distribution, without extras, and jaxlib."""
    texts = [*(importlib.metadata.requires(DISTRIBUTION) or ()), "jaxlib"]
    found = [Requirement(text) for text in texts]
    return [x for x in found if x.marker is None or x.marker.evaluate({"extra": ""})]


def installed_versions() -> dict[str, str | None]:
    """Returns versions by package, None if not installed."""
    versions: dict[str, str | None] = {}
    for package in (DISTRIBUTION, *(requirement.name for requirement in requirements())):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def check_versions(versions: dict[str, str | None], python: str) -> list[Finding]:
    """Returns the problems of these versions."""
    findings = []
    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    if not SpecifierSet(wanted).contains(python, prereleases=True):
        findings.append(Finding(True, f"Python {python} cannot be used: take Python{wanted}"))
    for requirement in requirements():
        package, version = requirement.name, versions.get(requirement.name)
        if version is None:
            findings.append(Finding(True, f"{package} is missing: pip install '{requirement}'"))
        elif not requirement.specifier.contains(version, prereleases=True):
            reason = REASONS.get(package, "not tried")
            message = f"{package} {version} ({reason}): pip install '{requirement}'"
            findings.append(Finding(True, message))
    jax, jaxlib = versions.get("jax"), versions.get("jaxlib")
    if jax and jaxlib and Version(jax).release[:2] != Version(jaxlib).release[:2]:
        message = f"jax {jax} does not go with jaxlib {jaxlib}: pip install --upgrade jax jaxlib"
        findings.append(Finding(True, message))
    return findings


def check_imports(package: str) -> list[Finding]:
    """Returns the modules of a package that cannot be imported here, each with its error."""
    modules = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    findings = []
    for name in [module.name for module in modules if not module.name.endswith("__main__")]:
        try:
            importlib.import_module(name)
        except Exception as error:
            message = f"{name} cannot be imported: {type(error).__name__}: {error}"
            findings.append(Finding(True, message))
    return findings


def check_settings() -> list[Finding]:
    """Returns settings of JAX in this process that the library overrides, or that make it slow."""
    findings = [
        Finding(
            False,
            f"{flag.upper()}={value} is set; metarl_jax computes with {SETTINGS[flag.removeprefix('jax_')]}",
        )
        for flag, value in changed_settings().items()
    ]
    if process_settings()["jax_disable_jit"]:
        message = "JAX_DISABLE_JIT is set: nothing is compiled, and training takes very long"
        findings.append(Finding(False, message))
    return findings


def examine_devices() -> tuple[list[dict[str, Any]], list[Finding]]:
    """Returns the devices that JAX finds, and problems with them."""
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
    """Prints the report as text."""
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
    cache = report["compilation_cache"] or "not kept (JAX_ENABLE_COMPILATION_CACHE is false)"
    console.print(f"[bold]compiled programs[/] {cache}")
    for message in report["notes"]:
        console.print("[yellow]note[/]", end=" ")
        console.print(message, markup=False)
    for message in report["bad"]:
        console.print("[red]bad[/] ", end=" ")
        console.print(message, markup=False)
    if not report["bad"]:
        console.print("[green]nothing is wrong[/]")
