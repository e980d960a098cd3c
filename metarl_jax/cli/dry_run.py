"""`metarl train --dry-run`: what a run would be, on devices that need not be there."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from metarl_jax.cli.backend import device_count_is_forced
from metarl_jax.cli.output import check_output, say_written
from metarl_jax.config import Config
from metarl_jax.console.tables import Column, Table, show
from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import bounded


@dataclasses.dataclass(frozen=True)
class DryRunOptions:
    """What to show of a run that is not started."""

    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train nothing: show the division of the tasks over `--devices`, shapes, memory, and the program for
    `--runtime.platform`, none of which need be there."""
    devices: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """With --dry-run: the number of devices; `runtime.num-devices`, or else one, when not given."""
    compile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --dry-run: compile the program too, and show the memory that it needs. For the platform of this machine."""
    program: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """With --dry-run: file for the program, as StableHLO."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --dry-run: print only JSON on stdout."""


def check(options: DryRunOptions) -> None:
    """Raises `UserError` for options of a dry run without one, or a file that cannot be written."""
    given = {
        "devices": options.devices,
        "compile": options.compile,
        "program": options.program,
        "json": options.json,
    }
    if not options.dry_run and any(given.values()):
        name = next(name for name, value in given.items() if value)
        raise UserError(f"{name}={given[name]!r} is of a dry run: add --dry-run, or leave it out")
    check_output("program", options.program)


def dry_run(config: Config, options: DryRunOptions) -> int:
    """Shows what a run would be."""
    num_devices = options.devices or config.runtime.num_devices or 1
    _make_devices(num_devices)

    from metarl_jax.analysis.dry_run import dry_run

    platform = config.runtime.platform
    platform = jax.devices()[0].platform if platform == "auto" else platform
    lowered = dry_run(config, platform, num_devices, compiles=options.compile)
    if options.json:
        print(json.dumps(lowered.report, indent=2))
    else:
        _print(lowered.report)
    if options.program is not None:
        options.program.write_text(lowered.text)
        say_written(options.program)
    return 0


def _make_devices(number: int) -> None:
    """Makes so many devices of the CPU, unless the backend runs already or the environment says how many there are."""
    if device_count_is_forced():
        return
    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:
        return


def _print(report: dict[str, Any]) -> None:
    tasks, state, trials = report["tasks"], report["state"], report["trials"]
    program, where = report["program"], f"{report['devices']} {report['platform']} device(s)"
    shapes = state["parameter_shapes"]
    title = f"{report['preset']}: {state['num_parameters']:,} parameters"
    show(
        Table(
            title,
            [Column("array", list(shapes), is_text=True), Column("shape", list(shapes.values()))],
        )
    )
    shapes = trials["shapes_per_task"]
    names, cells = list(shapes), list(shapes.values())
    title = "the trial of a task, [round, step, episode, …]"
    show(Table(title, [Column("array", names, is_text=True), Column("shape", cells)]))
    sizes = state["bytes_per_device"] | {
        "record of the trials": trials["bytes_per_device"],
        "a meta-step, estimated": report["estimated_bytes_per_device"],
    }
    compiled = report.get("compiled", {})
    needed = ("argument_bytes", "temporary_bytes", "output_bytes", "total_bytes_per_device")
    sizes |= {
        f"compiled: {name.removesuffix('_per_device').removesuffix('_bytes')}": compiled[name]
        for name in needed
        if name in compiled
    }
    columns = [
        Column("part", list(sizes), is_text=True),
        Column("MiB", [f"{size / 2**20:,.3f}" for size in sizes.values()]),
    ]
    show(Table(f"memory of one of {where}", columns))
    show(
        f"{tasks['all']} tasks on {where}: {tasks['per_device']} each, {tasks['collect_block']} simulated and "
        f"{tasks['update_block']} differentiated side by side"
    )
    numbers = (
        f"{program[name]} {name}"
        for name in ("all_reduce", "while", "dot_general", "convolution", "custom_call")
    )
    floats = "has float64" if program["float64"] else "no float64"
    show(
        f"program for {report['platform']}: {program['operations']:,} operations ({', '.join(numbers)}), {floats}, "
        f"lowered in {program['lower_seconds']:.1f} s"
        + (f", compiled in {compiled['seconds']:.1f} s" if compiled else "")
    )
