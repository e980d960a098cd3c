"""The results of several runs and sweeps, read from their folders."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from metarl_jax import learners
from metarl_jax.core.errors import UserError
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.runs import budget, user_files
from metarl_jax.runs.folder import MEMBERS, SWEEP, RunFolder
from metarl_jax.runs.pretrained import located
from metarl_jax.sweeps.merging import merge_seeds, with_seed_statistics
from metarl_jax.sweeps.rows import Config, Row, label

Result = TypeVar("Result")


def read_all(
    paths: Sequence[Path],
    warn: Callable[[str], None],
    told: Path | None = None,
    *,
    each_seed: bool = True,
    baseline: str | None = None,
) -> list[Row]:
    """Returns the rows of these folders and, below them, the controls in the same tasks. Unfinished runs are shown with
    their last evaluation, with a warning. Folders without results are left out, also with a warning.

    Args:
      paths: folders of runs and sweeps.
      warn: receives messages about folders that are left out or not finished.
      told: the folder of a run that observes the task; returns of runs in the same environment and split are also shown
        relative to it.
      each_seed: whether runs that differ in their seed alone have a row each, or one together.
      baseline: the name or preset of a row, of which others are shown how probably a seed of theirs is better.

    Raises:
      UserError: if no folder holds a result, if there is no such baseline, or if `told` is not a run that observes the
        task, in the environment and split of one of them.
    """
    found = read_each(
        paths, lambda path: list(_rows(path, warn)), warn, "there is nothing to compare"
    )
    rows = [row for rows in found for row in rows]
    rows = with_seed_statistics(label(rows if each_seed else merge_seeds(rows)), baseline)
    if told is not None:
        rows = _with_scale(rows, told)
    return rows + _controls(rows)


def read_each(
    paths: Iterable[Path], read: Callable[[Path], Result], warn: Callable[[str], None], nothing: str
) -> list[Result]:
    """Reads folders, and leaves out those that cannot be read, with a warning.

    Raises:
      UserError: if none can be read: why, or `nothing` where there are no folders.
    """
    found, problems = [], []
    for path in paths:
        try:
            found.append(read(path))
        except UserError as error:
            problems.append(str(error))
    if not found:
        raise UserError("; ".join(problems) or nothing)
    for problem in problems:
        warn(f"{problem}; left out")
    return found


def _with_scale(rows: Sequence[Row], told: Path) -> list[Row]:
    """Adds to rows of the same environment and split the returns of the random policy and of the run `told`. Told is
    the return of that run in its last round, and random the mean over all rounds.
    """
    config, evaluation = _read(told / "config.json"), _read(told / "eval.json")
    env = config.get("env", {})
    if not env.get("told_task"):
        raise UserError(
            f"told={str(told)!r} is not told the task: name a run that was trained with --env.told-task"
        )
    random = evaluation["controls"]["random"]["return_mean"]
    scale = sum(random) / len(random), evaluation["return_mean"][-1]
    tasks = env | {"told_task": False}
    if not any(row.config.get("env") == tasks for row in rows):
        raise UserError(
            f"told={str(told)!r} was trained in other tasks than all of these runs: name one with the same environment"
        )
    split = evaluation["split"]

    def is_comparable(row: Row) -> bool:
        config = row.config
        return config.get("env") == tasks and config.get("evaluation", {}).get("split") == split

    if not any(map(is_comparable, rows)):
        raise UserError(
            f"told={str(told)!r} was evaluated in split {split!r}, and these runs in others: name one with the same "
            "evaluation.split"
        )
    return [row._replace(scale=scale) if is_comparable(row) else row for row in rows]


def _rows(path: Path, warn: Callable[[str], None]) -> Iterator[Row]:
    """Returns the run at `path`, the points of a finished sweep, or the members of an unfinished one."""
    if not (path / SWEEP).is_file():
        yield read_run(path, warn)
    elif _sweep_has_ended(path):
        yield from _points(path)
    else:
        warn(
            f"{path} is a sweep that has not ended: its members are shown (`metarl resume {path}`)"
        )
        found = False
        for member in sorted((path / MEMBERS).glob("*")):
            try:
                yield read_run(member, lambda message: None)
            except UserError:
                continue
            found = True
        if not found:
            raise UserError(f"run_dir={str(path)!r} has no member that was evaluated")


def _sweep_has_ended(path: Path) -> bool:
    """Whether the results of a sweep cover all of its meta-steps."""
    if not (path / "results.json").is_file():
        return False
    config = _read(path / SWEEP)["config"]
    wanted = config.get("num_meta_steps", 0)
    step = _read(path / "results.json").get("step", wanted)
    lines = read_lines(next((path / MEMBERS).glob("*"), path))
    env_steps = _last(lines, "env_steps").get("env_steps")
    return step >= wanted or _is_spent(path, config, env_steps, step, lines)


def _points(path: Path) -> Iterator[Row]:
    """Returns the points of a finished sweep."""
    results, sweep = _read(path / "results.json"), _read(path / SWEEP)
    config = sweep["config"]
    if results["num_seeds"] > 1:
        config = {name: value for name, value in config.items() if name != "seed"}
    member, step = next((path / MEMBERS).glob("*"), path), results.get("step", math.inf)
    lines = [line for line in read_lines(member) if line.get("step", 0) <= step]
    for row in results["points"]:
        yield Row(
            name="",
            num_seeds=results["num_seeds"],
            num_tasks=results["num_tasks"],
            env_steps=_last(lines, "env_steps").get("env_steps"),
            parameters=results.get("parameters", {}),
            return_mean=row["return_mean"],
            ci95=row["ci95"],
            total_mean=row.get("total_mean"),
            total_ci95=row.get("total_ci95", ()),
            counted=results.get("counted_rounds", ()),
            round_label=results.get("round_label", "round"),
            counted_ci95=row.get("score_ci95", ()),
            step=results.get("step"),
            checkpoint=results.get("checkpoint"),
            path=path,
            config=config,
            values=row["values"],
            seed_scores=scores if None not in (scores := row.get("score_by_seed", ())) else (),
        )


def read_run(path: Path, warn: Callable[[str], None]) -> Row:
    """Reads the final evaluation of a run or, if it is unfinished or was extended, its last evaluation."""
    path = located(path)
    config, lines = _read(path / "config.json"), read_lines(path)
    user_files.recall(path, config)
    env_steps = _last(lines, "env_steps").get("env_steps")
    file, wanted = RunFolder(path).evaluation, config.get("num_meta_steps", 0)
    found = _read(file) if file.is_file() else {}
    last = found.get("last_step", wanted)
    is_finished = bool(found) and (
        last >= wanted or _is_spent(path, config, env_steps, last, lines)
    )
    if not is_finished:
        found = _last(lines, "eval_return")
        if not found:
            raise UserError(
                f"run_dir={str(path)!r} has no eval.json of its whole training, and no evaluation in metrics.jsonl: "
                f"`metarl resume {path}` ends a run that was stopped"
            )
        found = {
            "return_mean": found["eval_return"],
            "ci95": found.get("eval_ci95", ()),
            "step": found["step"],
            "num_tasks": config.get("evaluation", {}).get("num_tasks"),
            "round_label": _round_label(config),
            "metrics": {
                name.removeprefix("eval_"): {"mean": values}
                for name, values in found.items()
                if name.startswith("eval_env/")
            },
        }
        warn(f"{path} has not ended: its last evaluation is shown (`metarl resume {path}`)")
    means, total_ci95 = found["return_mean"], found.get("total_ci95", ())
    counted = _counted(config, len(means))
    counted_ci95 = (
        found["ci95"][counted[0]]
        if len(counted) == 1 and found["ci95"]
        else [x if x is None else x / len(means) for x in total_ci95]
    )
    return Row(
        name="",
        num_seeds=1,
        num_tasks=found["num_tasks"],
        env_steps=env_steps,
        parameters=found.get("parameters", {}),
        return_mean=means,
        ci95=found["ci95"],
        total_mean=found.get("total_mean"),
        total_ci95=total_ci95,
        counted=counted,
        round_label=found.get("round_label", "round"),
        counted_ci95=counted_ci95,
        metrics=_reported(found),
        step=found.get("step"),
        checkpoint=found.get("checkpoint"),
        is_finished=is_finished,
        path=path,
        config=config,
    )


def _is_spent(
    path: Path, config: Config, env_steps: int | None, step: int, lines: Sequence[dict[str, Any]]
) -> bool:
    """Whether a run, which was evaluated after `step`, has ended there with its budget."""
    trained = _last(lines, "step").get("step", 0)
    return trained <= step and budget.spent_in(path, config, env_steps or 0) is not None


def _reported(found: dict[str, Any]) -> dict[str, list[float | None]]:
    """Returns the metrics of the environment, by the names that `evaluation.select_by` takes."""
    metrics = found.get("metrics", {})
    return {name.removeprefix("env/"): values["mean"] for name, values in metrics.items()}


def _counted(config: Config, num_rounds: int) -> list[int]:
    """Returns the counted rounds (`progress.counted_rounds`), from config.json; none if the learner cannot be found."""
    learner = _learner(config)
    if learner is None:
        return []
    if learner.result_rounds == "all":
        return list(range(num_rounds))
    return [min(config.get("num_rounds", num_rounds), num_rounds) - 1]


def _round_label(config: Config) -> str:
    """Returns the name of a round, from config.json; `round` if the learner cannot be found."""
    learner = _learner(config)
    return "round" if learner is None else learner.round_label


def _learner(config: Config) -> type[LearnerConfig] | None:
    try:
        return learners.get(config.get("learner", {}).get("name", ""))
    except UserError:
        return None


def _controls(rows: Sequence[Row]) -> list[Row]:
    """Returns the controls of the first run in each environment, with the same number of rounds."""
    first: dict[str, tuple[Row, dict[str, Any]]] = {}
    for row in rows:
        files = [row.path / "eval.json", *sorted((row.path / MEMBERS).glob("*/eval.json"))]
        found = next((file for file in files if file.is_file()), None)
        tasks = json.dumps([row.config.get("env"), len(row.return_mean)])
        if found is not None and tasks not in first:
            first[tasks] = row, _read(found)
    controls = []
    for row, evaluation in first.values():
        of = "" if len(first) == 1 else f" of {row.name.splitlines()[0]}"
        for name, control in evaluation["controls"].items():
            means, total = control["return_mean"], control.get("total_mean")
            mine = Row(f"control{of}: {name}", None, evaluation["num_tasks"], None, {}, means, [])
            controls.append(
                mine._replace(total_mean=total, counted=row.counted, round_label=row.round_label)
            )
    return controls


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the complete lines of `metrics.jsonl`."""
    file = RunFolder(path).metrics
    lines = []
    for line in file.read_text(errors="replace").splitlines() if file.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def _last(lines: Sequence[dict[str, Any]], field: str) -> dict[str, Any]:
    """Returns the last line that has this field; empty if there is none."""
    return next((line for line in reversed(lines) if field in line), {})


def _read(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run or sweep; raises `UserError` if it does not exist or cannot be read."""
    if not path.is_file():
        raise UserError(
            f"run_dir={str(path.parent)!r} has no {path.name}: name the folder of a run or sweep"
        )
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it") from error
