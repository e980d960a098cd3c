"""Figures of measured tables: the bias of estimators, and returns against a property of tasks."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.analysis.figures import COLORS, floats, new_figure, one_panel, save


def estimator_bias(report: dict[str, Any], path: Path) -> None:
    """Draws bias, deviation and cosine similarity of meta-gradient estimators against trajectories.

    Args:
      report: the result of `metarl_jax.analysis.estimator_bias.measure`.
      path: where to write the PNG.
    """
    figure = new_figure((11.0, 3.8))
    panels = figure.subplots(1, 3)
    titles = {
        "bias": "relative bias of the mean",
        "std": "relative deviation of one estimate",
        "cosine": "cosine of one estimate with the exact one",
    }
    for axes, (field, title) in zip(panels, titles.items(), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        # Estimators may agree: dashes show what lies below.
        styles = itertools.cycle(("o-", "s--", "^-"))
        for style, (name, rows) in zip(styles, report["estimators"].items(), strict=False):
            values = floats(rows[field])
            errors = floats(rows[f"{field}_se"]) if f"{field}_se" in rows else None
            axes.errorbar(report["num_episodes"], values, errors, fmt=style, ms=4, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("trajectories of an inner step")
        axes.set_title(title, fontsize="medium")
    panels[0].set_yscale("symlog", linthresh=0.02)
    panels[0].set_ylim(bottom=0.0)
    panels[1].set_yscale("log")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
    save(figure, path)


def returns_against(
    value: np.ndarray, name: str, returns: dict[str, np.ndarray], path: Path, num_bins: int = 12
) -> None:
    """Draws the return of each task against a number that belongs to it, and lines of 10th percentile and median.

    Args:
      value: `[N]`.
      name: label of the number, with its unit.
      returns: by the name of a run, `[N]`.
      num_bins: how many parts, of the same number of tasks, the lines are drawn over.
      path: where to write the PNG.
    """
    figure, axes = one_panel()
    bins = np.array_split(np.argsort(value, kind="stable"), min(num_bins, len(value)))
    centres = [value[tasks].mean() for tasks in bins]
    for (run, found), color in zip(returns.items(), itertools.cycle(COLORS)):
        axes.plot(value, found, ".", ms=2, alpha=0.4, color=color)
        for percent, style, label in ((50, "-", run), (10, "--", f"{run}, 10th percentile")):
            line = [np.percentile(found[tasks], percent) for tasks in bins]
            axes.plot(centres, line, style, color=color, label=label)
    axes.set_xlabel(name)
    axes.set_ylabel("return")
    axes.legend(frameon=False, loc="best")
    save(figure, path)
