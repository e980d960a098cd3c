"""Figures of curves: adaptation over the rounds of a trial, and learning over meta-steps."""

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.analysis.figures import COLORS, floats, new_figure, one_panel, save
from metarl_jax.console.evaluation_tables import trained_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from metarl_jax.analysis.curves import Curve

CONTROL_STYLES = {"random": ("#8a8a8a", "--"), "oracle": ("#2f8f4e", "-.")}
LABEL: dict[str, Any] = {
    "xytext": (0, -9),
    "textcoords": "offset points",
    "ha": "center",
    "va": "top",
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
}
FAR = 4.0
"""A control farther from the curve than this multiple of the curve's span is not drawn to scale."""
LEGEND_LETTERS = 130
"""Letters of ordinary size that fit side by side below the curves of learning."""


def adaptation_curve(evaluation: dict[str, Any], path: Path) -> None:
    """Draws the return by round, with its 95% band, beside the controls.

    A control that lies so far off that the curve would be flat is named at the edge of the figure
    instead, with its value.

    Args:
      evaluation: the content of `eval.json`. `preset` and `env` are shown in the title, if given; with a `round_label`
        of `round`, rounds are counted in gradient steps.
      path: where to write the PNG.
    """
    figure, axes = one_panel()
    rounds, mean, ends = _draw_adaptation(axes, evaluation, COLORS[0], "learner")
    for x, y in zip(rounds, mean, strict=True) if len(mean) <= 6 else ():
        axes.annotate(f"{y:.2f}", (x, y), **LABEL)
    bounds = _bounds(*ends)
    for name, numbers in evaluation.get("controls", {}).items():
        _draw_control(axes, rounds, name, floats(numbers["return_mean"]), bounds)
    axes.margins(x=0.08, y=0.12)
    axes.set_ylabel("mean return of an episode")
    axes.set_title(_title(evaluation))
    axes.legend(frameon=False, loc="best")
    save(figure, path)


def splits_curve(evaluations: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws the return by round in each split of the tasks, with 95% bands.

    Args:
      evaluations: the content of `eval.json`, by split.
      path: where to write the PNG.
    """
    figure, axes = one_panel()
    for (split, evaluation), color in zip(evaluations.items(), itertools.cycle(COLORS)):
        _draw_adaptation(axes, evaluation, color, f"{split}, {evaluation['num_tasks']} tasks")
    axes.set_ylabel("mean return of an episode")
    axes.legend(frameon=False, loc="best")
    save(figure, path)


def learning_curves(curves: "Sequence[Curve]", path: Path) -> None:
    """Draws held-out return while training, against env-steps and meta-steps, and the adaptation at the end.

    Args:
      curves: one line each.
      path: where to write the figure.
    """
    figure = new_figure((13.0, 4.2))
    panels = figure.subplots(1, 3)
    for curve, color in zip(curves, itertools.cycle(COLORS)):
        name = curve.name + (f", {curve.num_seeds} seeds" if curve.num_seeds > 1 else "")
        rounds = _round_numbers(curve.round_label, len(curve.adaptation))
        lines = (
            (curve.env_steps, curve.learning, curve.learning_ci95),
            (curve.meta_steps, curve.learning, curve.learning_ci95),
            (rounds, curve.adaptation, curve.adaptation_ci95),
        )
        for axes, line in zip(panels, lines, strict=True):
            _draw_band(axes, *line, color, name, ".-")
    units = {curve.round_label for curve in curves}
    names = ("env-steps", "meta-steps", _round_axis(units.pop()) if len(units) == 1 else "round")
    titles = ("while training", "while training", "at the end")
    for axes, name, title in zip(panels, names, titles, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.set_xlabel(name)
        axes.set_title(f"held-out return, {title}", fontsize="medium")
    _count_rounds(panels[2])
    handles, labels = panels[2].get_legend_handles_labels()
    columns = _legend_columns(labels)
    labels = [_broken(label) for label in labels]
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=columns)
    save(figure, path)


def _legend_columns(labels: Sequence[str]) -> int:
    """Returns how many labels fit side by side."""
    longest = max((len(line) for label in labels for line in label.splitlines()), default=1)
    return max(1, min(3, len(labels), LEGEND_LETTERS // (longest + 8)))


def _broken(label: str) -> str:
    """Breaks lines that are longer than a legend is wide."""
    return "\n".join(
        part for line in label.splitlines() for part in textwrap.wrap(line, LEGEND_LETTERS) or [""]
    )


def _draw_adaptation(
    axes: "Axes", evaluation: dict[str, Any], color: str, label: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws the return by round; returns numbers of rounds `[K]`, means `[K]`, and ends of the band `[2, K]`."""
    mean = floats(evaluation["return_mean"])
    ends = np.stack([floats(pair) for pair in evaluation["ci95"]], axis=1)
    round_label = evaluation.get("round_label", "episode")
    rounds = _round_numbers(round_label, len(mean))
    _draw_band(axes, rounds, mean, ends, color, label, "o-")
    axes.set_xlabel(_round_axis(round_label))
    _count_rounds(axes)
    return rounds, mean, ends


def _draw_band(
    axes: "Axes",
    x: np.ndarray,
    mean: np.ndarray,
    ends: np.ndarray,
    color: str,
    label: str,
    style: str,
) -> None:
    """Draws a line with its band, whose ends are `[2, P]`."""
    axes.fill_between(x, *ends, color=color, alpha=0.2, linewidth=0)
    axes.plot(x, mean, style, color=color, label=label)


def _count_rounds(axes: "Axes") -> None:
    """Puts whole numbers alone on the axis of rounds."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _round_numbers(round_label: str, num_rounds: int) -> np.ndarray:
    """Gradient steps before each round, or the numbers of episodes."""
    return np.arange(num_rounds) + (0 if round_label == "round" else 1)


def _round_axis(round_label: str) -> str:
    return "gradient steps" if round_label == "round" else "episode of the trial"


def _draw_control(
    axes: "Axes", rounds: np.ndarray, name: str, mean: np.ndarray, bounds: tuple[float, float]
) -> None:
    """Draws a control as a line, or as a remark at the edge if it lies outside `bounds`."""
    color, style = CONTROL_STYLES.get(name, ("#b0622b", ":"))
    level = float(np.nanmean(mean))
    label = f"{name} ({level:.2f})"
    if bounds[0] <= level <= bounds[1]:
        axes.plot(rounds, mean, style, color=color, label=label)
        return
    below = level < bounds[0]
    axes.plot([], [], style, color=color, label=f"{label}, {'below' if below else 'above'}")


def _bounds(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Returns the levels between which a control is drawn to scale."""
    bottom, top = float(np.nanmin(low)), float(np.nanmax(high))
    reach = FAR * max(top - bottom, 1e-3 * max(abs(bottom), abs(top)), 1e-6)
    return bottom - reach, top + reach


def _title(evaluation: dict[str, Any]) -> str:
    names = [evaluation[field] for field in ("preset", "env") if evaluation.get(field)]
    tasks = f"{evaluation['num_tasks']} {evaluation['split']} tasks"
    which = f"\n{trained_for(evaluation)}" if "checkpoint" in evaluation else ""
    return ", ".join([*dict.fromkeys(names), tasks]) + which
