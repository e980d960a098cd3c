"""Figures of what was learned: beliefs over a grid, graphs of modules, and routings."""

from pathlib import Path

import numpy as np

from metarl_jax.analysis.figures import new_figure, save


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
    figure = new_figure((1.5 * columns, 1.7 * rows))
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
    save(figure, path)


def module_graph(strength: np.ndarray, routing: np.ndarray, path: Path) -> None:
    """Draws modules as nodes, as large as they are used, and connections as lines, as thick as they are strong.

    Args:
      strength: `[L − 1, M, M]`; a connection of 0 is not drawn.
      routing: `[L, M]`, mean weights over tasks.
      path: where to write the PNG.
    """
    num_layers, num_modules = routing.shape
    figure = new_figure((2.0 * num_layers + 1.0, 0.9 * num_modules + 1.0))
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
    save(figure, path)


def routing_map(routing: np.ndarray, skill: np.ndarray, path: Path) -> None:
    """Draws the routing of each task as a row of shades, tasks of the same skill together.

    Args:
      routing: `[N, L, M]`.
      skill: `[N]`, or empty where none is known.
      path: where to write the PNG.
    """
    order = np.argsort(skill, kind="stable") if skill.size else np.arange(len(routing))
    num_layers, num_modules = routing.shape[1:]
    figure = new_figure((0.5 * num_layers * num_modules + 2.0, 4.5))
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
    save(figure, path)
