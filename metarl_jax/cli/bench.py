"""`metarl bench`: the options, and the report as a table."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.compilation_cache import keep_programs
from metarl_jax.cli.output import check_picture, say_written
from metarl_jax.cli.run_options import RunOptions, read_run
from metarl_jax.config import Config
from metarl_jax.console.activity import Activity
from metarl_jax.console.tables import Column, Table, show
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import under_fixed_settings
from metarl_jax.core.machine import describe
from metarl_jax.core.validation import bounded
from metarl_jax.runs.stopping import interruptible

HELP = """Measure a preset: env-steps/s of the simulator alone under random actions and of the whole
meta-step with the same batch, their ratio, where the time goes, compile seconds and peak memory.

Nothing is written. The programs take turns, so that a noisy machine disturbs all alike; numbers
are medians of the repeats, with the least and the greatest.

  {prog}
  {prog} --num-tasks 20 --num-rounds 2 --json
  {prog} --runtime.num-devices 1 --runtime.update-block 4

With `--against` only whole meta-steps are timed, of the preset as given and of each variant:

  metarl bench rl2-bandit --num-rounds 100 --against learner.core=min_gru learner.core=lstm

With `--scale` one field at a time varies, and time and memory of an env-step are shown against it, and drawn:

  metarl bench rl2-bandit --scale num-tasks=8,32,128 --scale num-episodes=1,4 --out scaling.png

With `--ops` nothing is timed: it counts the operations of one environment step in the lowered
program, of which a GPU runs a kernel for every few.

  metarl bench rl2-grid-navi --ops --runtime.platform gpu"""


@dataclasses.dataclass(frozen=True)
class BenchOptions(RunOptions):
    """Options of `metarl bench`."""

    repeats: int = bounded(5, at_least=1)
    """Number of measurements of each program."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of calls of a program in one measurement; when not given, as many as take half a second."""
    against: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE[,FIELD=VALUE …] …")] = ()
    """Variants to compare with, each as FIELD=VALUE,FIELD=VALUE."""
    scale: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=VALUE,VALUE,…")
    ] = ()
    """A field that varies alone, and its values: num-tasks=8,32,128. Repeat it for more fields."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Picture of `scale`; scaling.png in the working folder when not given."""
    ops: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Time nothing: count the operations of one environment step in the program lowered for `--runtime.platform`, which
    need not be there (`auto`: for a GPU)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only JSON on stdout."""


def main(args: list[str]) -> int:
    """`metarl bench PRESET …`, `metarl bench LEARNER --env ENV …`."""
    options, config = read_run(BenchOptions, "bench", args, HELP)
    if options.ops:
        return count_operations(config, options)
    configs = {"as given": config}
    for variant in options.against:
        _, configs[variant] = read_run(
            BenchOptions, "bench", [*args, *variant_flags(variant)], HELP
        )
    picture = options.out or Path("scaling.png")
    axes = _axes(options, args)
    start_backend(config.runtime.platform)
    keep_programs(config.runtime.compilation_cache)

    from metarl_jax.analysis.scaling import draw_scaling, measure_scaling
    from metarl_jax.analysis.throughput import measure, measure_variants

    times: dict[str, Any] = {"repeats": options.repeats, "steps": options.steps}
    with Activity(Console(stderr=True), "building") as activity:
        times["progress"] = activity.update
        if axes:
            measured = under_fixed_settings(lambda: measure_scaling(axes, **times))
        elif options.against:
            measured = under_fixed_settings(lambda: measure_variants(configs, **times))
        else:
            measured = under_fixed_settings(lambda: measure(config, **times))
        report = interruptible(measured)
    if axes:
        draw_scaling(report, picture)
        say_written(picture)
    if options.json:
        print(json.dumps(report, indent=2))
    elif axes:
        print_scaling(report)
    elif options.against:
        print_variants(report)
    else:
        print_report(report)
    return 0


def _axes(options: BenchOptions, args: list[str]) -> dict[str, dict[str, Config]]:
    """Returns, for each field of `--scale`, its configurations by value.

    Raises:
      UserError: for a malformed text, a value that the field cannot have, or a picture that could not be written.
    """
    if options.scale and options.against:
        raise UserError("scale and against both say what varies: give one of the two")
    if options.out is not None and not options.scale:
        raise UserError(f"out={str(options.out)!r} is the picture of --scale: give both or none")
    if options.scale:
        check_picture("out", options.out or Path("scaling.png"))
    axes: dict[str, dict[str, Config]] = {}
    for text in options.scale:
        field, equals, values = text.partition("=")
        if not (field and equals and values):
            raise UserError(f"scale={text!r} must be FIELD=VALUE,VALUE,…: num-tasks=8,32,128")
        axes[field] = {
            value: read_run(
                BenchOptions, "bench", [*args, *variant_flags(f"{field}={value}")], HELP
            )[1]
            for value in values.split(",")
        }
    return axes


def print_scaling(report: dict[str, Any]) -> None:
    """Prints the result of `metarl_jax.analysis.scaling.measure_scaling`, a table for each field."""
    from metarl_jax.analysis.scaling import growth

    device = report["device"]
    show(f"[bold]{report['preset']}[/] on {describe(device)}, jax {device['jax']}: whole meta-step")
    for field, points in report["axes"].items():
        columns = [Column(field, [point["value"] for point in points], is_text=True)]
        times = [point["nanoseconds"] for point in points]
        cells = {
            "env-steps": [f"{point['env_steps']:,}" for point in points],
            "ms": [f"{1e3 * point['meta_step_seconds']:,.2f}" for point in points],
            "ns per env-step": [f"{x['median']:,.0f}" for x in times],
            "least": [f"{x['min']:,.0f}" for x in times],
            "greatest": [f"{x['max']:,.0f}" for x in times],
            "growth": ["" if x is None else f"{x:.2f}" for x in growth(points)],
            "bytes per env-step": [
                "" if p["bytes"] is None else f"{p['bytes']:,.0f}" for p in points
            ],
            "compile, s": [f"{point['compile_seconds']:.1f}" for point in points],
        }
        columns += [Column(*named) for named in cells.items()]
        show(
            Table(
                "growth: exponent of the time of a meta-step in its env-steps, 1 is linear", columns
            )
        )


def count_operations(config: Config, options: BenchOptions) -> int:
    """`metarl bench … --ops`."""
    if options.scale:
        raise UserError(
            f"scale={' '.join(options.scale)!r} times programs, and --ops times nothing: give one of the two"
        )
    if options.against:
        raise UserError(
            f"against={' '.join(options.against)!r} compares times, and --ops times nothing: leave one of them out"
        )
    from metarl_jax.analysis.step_operations import step_operations

    platform = config.runtime.platform
    report = step_operations(config, "gpu" if platform == "auto" else platform)
    if options.json:
        print(json.dumps(report, indent=2))
        return 0
    counts = report["operations_of_a_step"]
    columns = [Column("", list(counts), is_text=True)]
    for name in ("operations", "products", "moves", "loops"):
        columns.append(Column(name, [f"{found[name]:,}" for found in counts.values()]))
    title = (
        f"{report['preset']} lowered for {report['platform']}: operations of one environment step"
    )
    show(Table(title, columns))
    return 0


def variant_flags(variant: str) -> list[str]:
    """Converts `learner.core=lstm,num-tasks=8` to command-line arguments.

    Raises:
      UserError: for a malformed text.
    """
    words = []
    for setting in variant.split(","):
        field, equals, value = setting.partition("=")
        if not (field and equals and value):
            raise UserError(
                f"against={variant!r} must be FIELD=VALUE[,FIELD=VALUE …]: learner.core=min_gru"
            )
        words.append(f"--{field.strip().lstrip('-')}={value}")
    return words


def print_variants(report: dict[str, Any]) -> None:
    """Prints the result of `metarl_jax.analysis.throughput.measure_variants` as a table."""
    device, variants = report["device"], report["variants"]
    rates = [found["env_steps_per_second"] for found in variants.values()]
    columns = [Column("", list(variants), is_text=True)]
    for name, field in (("env-steps/s", "median"), ("least", "min"), ("greatest", "max")):
        columns.append(Column(name, [f"{rate[field]:,.0f}" for rate in rates]))
    ratios = [f"{found['ratio']['median']:.2f}" for found in variants.values()]
    seconds = [f"{found['compile_seconds']:.1f}" for found in variants.values()]
    columns += [Column("ratio", ratios), Column("compile, s", seconds)]
    title = f"{report['preset']} on {describe(device)}, jax {device['jax']}: whole meta-step"
    show(Table(title, columns))


def print_report(report: dict[str, Any]) -> None:
    """Prints the result of `metarl_jax.analysis.throughput.measure` as tables."""
    device, sizes = report["device"], report["sizes"]
    if sizes["num_steps"] is None:
        each = f"{sizes['num_rounds']} rounds, {sizes['num_episodes']} episodes of {sizes['episode_length']} steps"
    else:
        each = (
            f"{sizes['num_episodes']} episodes side by side, {sizes['num_steps']} steps of a trial"
        )
    show(
        f"[bold]{report['preset']}[/] on {describe(device)}, jax {device['jax']}: {sizes['num_tasks']} tasks, {each}"
    )
    show(_throughput_table(report))
    show(_parts_table(report))
    seconds, memory = report["compile_seconds"], report["peak_memory"]
    sizes_in_memory = {
        "meta-step beside its state, a device": memory["meta_step_bytes"],
        "peak of the device": memory["device_bytes"],
        "peak of the process": memory["host_bytes"],
    }
    known = [f"{name} {x / 2**20:,.1f} MiB" for name, x in sizes_in_memory.items() if x is not None]
    show(
        f"compile: simulator {seconds['simulator']:.1f} s, meta-step {seconds['meta-step']:.1f} s\n"
        f"memory: {', '.join(known)}"
    )


def _throughput_table(report: dict[str, Any]) -> Table:
    rows = {
        "simulator alone": ("simulator_env_steps_per_second", "{:,.0f}"),
        "whole meta-step": ("meta_step_env_steps_per_second", "{:,.0f}"),
        "ratio": ("ratio", "{:.1%}"),
    }
    if report["valid_share"]["median"] < 1:
        rows |= {"valid share of its steps": ("valid_share", "{:.1%}")}
    columns = [Column("", list(rows), is_text=True)]
    for name in ("median", "min", "max"):
        cells = [style.format(report[field][name]) for field, style in rows.values()]
        columns.append(Column(name, cells))
    return Table(f"env-steps/s, {report['repeats']} measurements of each in turns", columns)


def _parts_table(report: dict[str, Any]) -> Table:
    total, parts = report["meta_step_seconds"]["median"], report["where_the_time_goes"]
    medians = [part["median"] for part in parts.values()]
    columns = [
        Column("", list(parts), is_text=True),
        Column("ms", [f"{1e3 * seconds:,.2f}" for seconds in medians]),
        Column("share", [f"{seconds / total:.1%}" for seconds in medians]),
    ]
    return Table(f"where the {1e3 * total:,.1f} ms of a meta-step go", columns)
