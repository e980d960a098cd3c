"""How time and memory grow with one size of a run at a time: `metarl bench --scale`."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_jax.analysis.figures import COLORS, new_figure, save
from metarl_jax.analysis.throughput import measure_variants
from metarl_jax.config import Config


def measure_scaling(
    axes: Mapping[str, Mapping[str, Config]],
    *,
    repeats: int = 5,
    steps: int | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Times the whole meta-step along each axis, on which one field varies.

    Args:
      axes: for each field, configurations by value, of which all other fields are the same.
      repeats, steps, progress: as in `throughput.measure`.

    Returns:
      The content of `metarl bench --scale … --json`: for each axis its `points`, each with the value, the env-steps and
      seconds of a meta-step, nanoseconds and bytes of an env-step, and compile seconds. `bytes` is None if the
      compiler does not report memory. The time of an env-step is constant where a meta-step grows linearly.

    Raises:
      UserError: for a bad configuration, naming the field.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    report: dict[str, Any] = {}
    for field, configs in axes.items():
        report = measure_variants(
            dict(configs),
            repeats=repeats,
            steps=steps,
            progress=lambda message, field=field: progress(f"{field}: {message}"),
        )
        found[field] = [_point(value, x) for value, x in report["variants"].items()]
    return {"preset": report["preset"], "device": report["device"], "axes": found}


def _point(value: str, variant: dict[str, Any]) -> dict[str, Any]:
    rate = variant["env_steps_per_second"]
    seconds, temporary = variant["meta_step_seconds"]["median"], variant["meta_step_bytes"]
    env_steps = variant["env_steps"]
    return {
        "value": value,
        "env_steps": round(env_steps),
        "meta_step_seconds": seconds,
        "nanoseconds": {
            name: 1e9 / rate[end]
            for name, end in {"median": "median", "min": "max", "max": "min"}.items()
        },
        "bytes": None if temporary is None else temporary / env_steps,
        "meta_step_bytes": temporary,
        "compile_seconds": variant["compile_seconds"],
    }


def growth(points: Sequence[dict[str, Any]]) -> list[float | None]:
    """Returns, for each point of an axis, the exponent by which the time of a meta-step grows with its env-steps since
    the point before: 1 is linear. None for the first, and where the env-steps are the same."""
    exponents: list[float | None] = [None]
    for before, now in itertools.pairwise(points):
        more = math.log(now["env_steps"] / before["env_steps"])
        longer = math.log(now["meta_step_seconds"] / before["meta_step_seconds"])
        exponents.append(longer / more if abs(more) > 0.05 else None)
    return exponents


def draw_scaling(report: dict[str, Any], path: Path) -> None:
    """Draws time and memory of an env-step against each axis.

    Args:
      report: the result of `measure_scaling`.
      path: where to write the figure.
    """
    axes = report["axes"]
    figure = new_figure((3.2 * len(axes) + 0.6, 5.0))
    panels = figure.subplots(2, len(axes), squeeze=False, sharey="row")
    for column, (field, points) in enumerate(axes.items()):
        places, labels = range(len(points)), [point["value"] for point in points]
        times = [point["nanoseconds"] for point in points]
        medians = [x["median"] for x in times]
        errors = [
            [x["median"] - x["min"] for x in times],
            [x["max"] - x["median"] for x in times],
        ]
        panels[0, column].errorbar(places, medians, errors, fmt="o-", ms=4, color=COLORS[0])
        panels[0, column].set_title(field, fontsize="medium")
        memory = [math.nan if p["bytes"] is None else p["bytes"] for p in points]
        panels[1, column].plot(places, memory, "s-", ms=4, color=COLORS[1])
        panels[1, column].set_xlabel(field)
        for panel in panels[:, column]:
            panel.set_xticks(places, labels)
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="y", alpha=0.25)
    for panel in panels[:, 0]:  # of the whole row, once all of it is drawn
        panel.set_ylim(bottom=0.0)
    panels[0, 0].set_ylabel("ns per env-step")
    panels[1, 0].set_ylabel("bytes per env-step, a device")
    figure.suptitle(f"{report['preset']}: whole meta-step; flat is linear", fontsize="medium")
    save(figure, path)
