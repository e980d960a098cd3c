"""Figures: adaptation curves, the bias of estimators, beliefs, returns over tasks, and learned structures."""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.core.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metarl_jax.analysis.curves import Curve

from metarl_jax.console.evaluation_tables import trained_for

LEARNER_COLOR = "#1f5fa8"
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


def adaptation_curve(evaluation: dict[str, Any], path: Path) -> None:
    """Draws the return by round, with its 95% band, beside the controls.

    A control that lies so far off that the curve would be flat is named at the edge of the figure
    instead, with its value.

    Args:
      evaluation: the content of `eval.json`. `preset` and `env` are shown in the title, if given; with a `round_label`
        of `round`, rounds are counted in gradient steps.
      path: where to write the PNG.
    """
    figure, axes = _figure()
    from matplotlib.ticker import MaxNLocator

    mean = _floats(evaluation["return_mean"])
    low, high = np.stack([_floats(pair) for pair in evaluation["ci95"]], axis=1)
    rounds = _round_numbers(evaluation, len(mean))
    axes.fill_between(rounds, low, high, color=LEARNER_COLOR, alpha=0.2, linewidth=0)
    axes.plot(rounds, mean, "o-", color=LEARNER_COLOR, label="learner")
    for x, y in zip(rounds, mean, strict=True) if len(mean) <= 6 else ():
        axes.annotate(f"{y:.2f}", (x, y), **LABEL)
    bounds = _bounds(low, high)
    for name, numbers in evaluation.get("controls", {}).items():
        _draw_control(axes, rounds, name, _floats(numbers["return_mean"]), bounds)
    axes.margins(x=0.08, y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_round_axis(evaluation))
    axes.set_ylabel("mean return of an episode")
    axes.set_title(_title(evaluation))
    axes.legend(frameon=False, loc="best")
    _save(figure, path)


def splits_curve(evaluations: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws the return by round in each split of the tasks, with 95% bands.

    Args:
      evaluations: the content of `eval.json`, by split.
      path: where to write the PNG.
    """
    figure, axes = _figure()
    from matplotlib.ticker import MaxNLocator

    colors = (LEARNER_COLOR, "#b0622b", "#2f8f4e")
    for (split, evaluation), color in zip(evaluations.items(), itertools.cycle(colors)):
        mean = _floats(evaluation["return_mean"])
        low, high = np.stack([_floats(pair) for pair in evaluation["ci95"]], axis=1)
        rounds = _round_numbers(evaluation, len(mean))
        axes.fill_between(rounds, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(
            rounds, mean, "o-", color=color, label=f"{split}, {evaluation['num_tasks']} tasks"
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_round_axis(next(iter(evaluations.values()))))
    axes.set_ylabel("mean return of an episode")
    axes.legend(frameon=False, loc="best")
    _save(figure, path)


def learning_curves(curves: "Sequence[Curve]", path: Path) -> None:
    """Draws held-out return while training, against env-steps and meta-steps, and the adaptation at the end.

    Args:
      curves: one line each.
      path: where to write the figure.
    """
    figure = _new_figure((13.0, 4.2))
    from matplotlib.ticker import MaxNLocator

    panels = figure.subplots(1, 3)
    colors = (
        "#1f5fa8",
        "#b0622b",
        "#2f8f4e",
        "#7a4fa3",
        "#a33b4f",
        "#4f8fa3",
        "#8a7a2f",
        "#555555",
    )
    for curve, color in zip(curves, itertools.cycle(colors)):
        name = curve.name + (f", {curve.num_seeds} seeds" if curve.num_seeds > 1 else "")
        by_gradient = curve.round_label == "round"
        rounds = np.arange(len(curve.adaptation)) + (0 if by_gradient else 1)
        lines = (
            (curve.env_steps, curve.learning, curve.learning_ci95),
            (curve.meta_steps, curve.learning, curve.learning_ci95),
            (rounds, curve.adaptation, curve.adaptation_ci95),
        )
        for axes, (x, mean, (low, high)) in zip(panels, lines, strict=True):
            axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(x, mean, ".-", color=color, label=name)
    units = {curve.round_label for curve in curves}
    unit = {"round": "gradient steps", "episode": "episode of the trial"}
    names = ("env-steps", "meta-steps", unit[units.pop()] if len(units) == 1 else "round")
    titles = ("while training", "while training", "at the end")
    for axes, name, title in zip(panels, names, titles, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.set_xlabel(name)
        axes.set_title(f"held-out return, {title}", fontsize="medium")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = panels[2].get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="outside lower center", ncols=min(3, len(labels))
    )
    _save(figure, path)


def _round_numbers(evaluation: dict[str, Any], num_rounds: int) -> np.ndarray:
    """Gradient steps before each round, or the numbers of episodes."""
    return np.arange(num_rounds) + (0 if evaluation.get("round_label") == "round" else 1)


def _round_axis(evaluation: dict[str, Any]) -> str:
    return "gradient steps" if evaluation.get("round_label") == "round" else "episode of the trial"


def estimator_bias(report: dict[str, Any], path: Path) -> None:
    """Draws bias, deviation and cosine similarity of meta-gradient estimators against trajectories.

    Args:
      report: the result of `metarl_jax.analysis.estimator_bias.measure`.
      path: where to write the PNG.
    """
    figure = _new_figure((11.0, 3.8))
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
            values = _floats(rows[field])
            errors = _floats(rows[f"{field}_se"]) if f"{field}_se" in rows else None
            axes.errorbar(report["num_episodes"], values, errors, fmt=style, ms=4, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("trajectories of an inner step")
        axes.set_title(title, fontsize="medium")
    panels[0].set_yscale("symlog", linthresh=0.02)
    panels[0].set_ylim(bottom=0.0)
    panels[1].set_yscale("log")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
    _save(figure, path)


def grid_belief(
    belief: np.ndarray, path_of_agent: np.ndarray, goal: tuple[int, int], path: Path
) -> None:
    """Draws the belief of an agent about each cell of a grid during its search.

    Args:
      belief: `[F, S, S]`, for each frame the reward that is expected on the cell (x, y).
      path_of_agent: `[F, 2]`, the cell where the agent is in each frame.
      goal: the hidden cell.
      path: where to write the PNG.
    """
    columns = min(len(belief), 8)
    rows = -(-len(belief) // columns)
    figure = _new_figure((1.5 * columns, 1.7 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = float(np.nanmin(belief)), float(np.nanmax(belief))
    images = []
    for frame, axes in enumerate(panels):
        axes.axis("off")
        if frame < len(belief):
            shades = {"vmin": low, "vmax": high, "cmap": "Blues"}
            images.append(axes.imshow(belief[frame].T, origin="lower", **shades))
            axes.plot(*path_of_agent[frame], "o", color="#b0622b", ms=7)
            axes.plot(*goal, "*", color="#2f8f4e", ms=9)
            axes.set_title(f"step {frame}", fontsize="small")
    figure.colorbar(images[0], ax=panels.tolist(), label="expected reward", shrink=0.7)
    _save(figure, path)


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
    figure, axes = _figure()
    bins = np.array_split(np.argsort(value, kind="stable"), min(num_bins, len(value)))
    centres = [value[tasks].mean() for tasks in bins]
    for (run, found), color in zip(
        returns.items(), itertools.cycle((LEARNER_COLOR, "#b0622b", "#2f8f4e"))
    ):
        axes.plot(value, found, ".", ms=2, alpha=0.4, color=color)
        for percent, style, label in ((50, "-", run), (10, "--", f"{run}, 10th percentile")):
            line = [np.percentile(found[tasks], percent) for tasks in bins]
            axes.plot(centres, line, style, color=color, label=label)
    axes.set_xlabel(name)
    axes.set_ylabel("return")
    axes.legend(frameon=False, loc="best")
    _save(figure, path)


def module_graph(strength: np.ndarray, routing: np.ndarray, path: Path) -> None:
    """Draws modules as nodes, as large as they are used, and connections as lines, as thick as they are strong.

    Args:
      strength: `[L − 1, M, M]`; a connection of 0 is not drawn.
      routing: `[L, M]`, mean weights over tasks.
      path: where to write the PNG.
    """
    num_layers, num_modules = routing.shape
    figure = _new_figure((2.0 * num_layers + 1.0, 0.9 * num_modules + 1.0))
    axes = figure.add_subplot()
    axes.axis("off")
    for layer, first, second in np.argwhere(strength > 0):
        width = 2.5 * strength[layer, first, second]
        axes.plot([layer, layer + 1], [-first, -second], "-", color="#7f93a8", lw=width, zorder=1)
    layers, modules = np.divmod(np.arange(routing.size), num_modules)
    sizes = 1200.0 * routing.ravel() + 40.0
    axes.scatter(layers, -modules, s=sizes, color="#2f6db5", zorder=2)
    for layer, module in zip(layers, modules, strict=True):
        axes.annotate(
            f"{layer + 1}.{module + 1}", (layer, -module), (0, 16), textcoords="offset points"
        )
    axes.set_title(f"{int((strength > 0).sum())} of {strength.size} connections")
    axes.margins(0.2)
    _save(figure, path)


def routing_map(routing: np.ndarray, skill: np.ndarray, path: Path) -> None:
    """Draws the routing of each task as a row of shades, tasks of the same skill together.

    Args:
      routing: `[N, L, M]`.
      skill: `[N]`, or empty where none is known.
      path: where to write the PNG.
    """
    order = np.argsort(skill, kind="stable") if skill.size else np.arange(len(routing))
    num_layers, num_modules = routing.shape[1:]
    figure = _new_figure((0.5 * num_layers * num_modules + 2.0, 4.5))
    axes = figure.add_subplot()
    shades = axes.imshow(
        routing[order].reshape(len(routing), -1),
        aspect="auto",
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    names = [f"{i + 1}.{j + 1}" for i in range(num_layers) for j in range(num_modules)]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("layer.module")
    if skill.size:
        skills, counts = np.unique(skill, return_counts=True)
        ends = np.cumsum(counts) - 0.5
        for end in ends[:-1]:
            axes.axhline(end, color="#b0622b", lw=1)
        axes.set_yticks(ends - counts / 2, [f"skill {s}" for s in skills])
    else:
        axes.set_ylabel("task")
    figure.colorbar(shades, ax=axes, label="weight")
    _save(figure, path)


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


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """Returns an array, with nan for what JSON could not hold."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _title(evaluation: dict[str, Any]) -> str:
    names = [evaluation[field] for field in ("preset", "env") if evaluation.get(field)]
    tasks = f"{evaluation['num_tasks']} {evaluation['split']} tasks"
    which = f"\n{trained_for(evaluation)}" if "checkpoint" in evaluation else ""
    return ", ".join([*dict.fromkeys(names), tasks]) + which


@contextlib.contextmanager
def _whatever_backend() -> Iterator[None]:
    """Lets matplotlib be imported even if `MPLBACKEND` names a backend that is not installed. The setting is restored
    for users of `pyplot`; figures of this module need no backend.
    """
    is_first = "matplotlib" not in sys.modules
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib

        if is_first and wanted is not None:
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = wanted
        yield
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted


def _new_figure(size: tuple[float, float]) -> "Figure":
    """Returns a figure of this width and height, in inches, drawn by Agg."""
    with _whatever_backend():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure() -> "tuple[Figure, Axes]":
    figure = _new_figure((6.4, 4.2))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format=path.suffix[1:] or "png")
