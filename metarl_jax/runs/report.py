"""The report at the end of a run: held-out returns, controls, and the adaptation curve."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl_jax.config import Config, Which, evaluated_learner
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.statistics import is_broken, summarize
from metarl_jax.core.types import TrainState
from metarl_jax.envs.optional import has_oracle
from metarl_jax.program.evaluation import RETURN
from metarl_jax.runs import checkpoint as checkpointing
from metarl_jax.runs.checkpoint import DamagedCheckpointError, step_of
from metarl_jax.runs.executables import REPORTS
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import finite
from metarl_jax.runs.loop import Run, Trained, all_saved
from metarl_jax.runs.stopping import Diverged


class Shown(NamedTuple):
    """The states that reports are about.

    Attributes:
      state: of a run, or of all members of a sweep, `[M, ...]`.
      checkpoints: the checkpoint of each member.
      steps: the meta-steps of each.
      last_step: the meta-steps of the whole training.
    """

    state: TrainState
    checkpoints: Sequence[Which]
    steps: Sequence[int]
    last_step: int


class Evaluated(NamedTuple):
    """What was found in held-out tasks.

    Attributes:
      returns: `[tasks, K]`, or `[M, tasks, K]` in a sweep.
      random: of the random policy in the same tasks, of the same shape.
      reports: the content of `eval.json`, of each member.
    """

    returns: np.ndarray
    random: np.ndarray
    reports: list[dict[str, Any]]


def best(run: Run, trained: Trained) -> Shown:
    """Loads the best checkpoint of each member by held-out return; the last one if there is no best, or it is
    damaged."""
    state, last = trained.state, step_of(trained.state)
    checkpoints: list[Which] = ["last" if p.best_step is None else "best" for p in trained.progress]
    steps = [last] * len(checkpoints)
    for step in sorted({p.best_step for p in trained.progress if p.best_step not in (None, last)}):
        chosen = [p.best_step == step for p in trained.progress]
        try:
            found = checkpointing.load(run.checkpoints, step, run.executables.abstract_state)
        except DamagedCheckpointError as error:
            run.reporter.warn(f"{error}: the last checkpoint is shown instead of the best")
            checkpoints = ["last" if c else old for c, old in zip(chosen, checkpoints, strict=True)]
            continue
        state = run.executables.choose(chosen, found.state, state)
        steps = [step if c else old for c, old in zip(chosen, steps, strict=True)]
    return Shown(state, checkpoints, steps, last)


def evaluate_best(run: Run, trained: Trained) -> Evaluated:
    """Evaluates each member at its best checkpoint, as at the end of training.

    Raises:
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP: everything is saved.
      Diverged: as in `evaluations`.
    """
    step = step_of(trained.state)
    with all_saved(run, step), run.reporter.busy("evaluating the trained learner and the controls"):
        return evaluations(run, best(run, trained), run.config.evaluation.split)


def evaluations(run: Run, shown: Shown, split: str, strategies: Sequence[str] = ()) -> Evaluated:
    """Evaluates the shown states and the controls in the same held-out tasks. These are not the tasks by which
    checkpoints were ranked during training, because selection biases the best one upwards.

    Args:
      strategies: known strategies of the task distribution to evaluate beside the random policy and the oracle.

    Raises:
      Diverged: if no task of any member has a return that is finite.
    """
    env, num_tasks = run.program.env, run.config.evaluation.num_tasks
    key = run.executables.evaluation_key(REPORTS)
    measured = run.executables.evaluate(shown.state, key, split, num_tasks)
    returns = measured.pop(RETURN)
    _check_finite(run, returns)
    names = ["random", *(["oracle"] if has_oracle(env) else []), *strategies]
    controls = [
        run.executables.evaluate_control(name, key, split, num_tasks, shown.steps) for name in names
    ]
    random = controls[0][RETURN]
    ceiling = bayes_optimal(run, split, returns.shape[-1])
    parameters = count_parameters(run)
    members = zip(*map(run.executables.by_member, (returns, measured, *controls)), strict=True)
    found = []
    for (mine, reported, *others), checkpoint, step in zip(
        members, shown.checkpoints, shown.steps, strict=True
    ):
        evaluation = {"split": split, "num_tasks": num_tasks, "checkpoint": checkpoint}
        evaluation |= {"step": step, "last_step": shown.last_step, **summarize(mine)}
        evaluation |= protocol(run.config)
        evaluation["parameters"] = parameters
        evaluation |= _metrics(reported)
        evaluation["controls"] = {
            name: summarize(control.pop(RETURN)) | _metrics(control)
            for name, control in zip(names, others, strict=True)
        } | ceiling
        if env.note:
            evaluation["note"] = env.note
        found.append(finite(evaluation))
    return Evaluated(returns, random, found)


def _metrics(reported: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns the entry `metrics` with the metrics of the environment; empty if it has none."""
    if not reported:
        return {}
    return {"metrics": {name: _interval(x) for name, x in reported.items()}}


def _interval(values: np.ndarray) -> dict[str, Any]:
    """Returns mean and 95% interval over tasks, by round, of a metric of the environment `[tasks, K]`."""
    summary = summarize(values)
    return {"mean": summary["return_mean"], "ci95": summary["ci95"]}


def _check_finite(run: Run, returns: np.ndarray) -> None:
    """Warns of held-out returns that are not finite; raises `Diverged` if all are."""
    is_finite = ~is_broken(returns.reshape(-1, returns.shape[-1]))
    if is_finite.all():
        return
    what = f"the returns of {(~is_finite).sum()} of {is_finite.size} held-out tasks are not finite"
    blame = f"look at the observations and rewards of env {run.program.env.name!r}"
    if not is_finite.any():
        raise Diverged(f"{what}: {blame}")
    run.reporter.warn(f"{what}, and are left out of what is shown: {blame}")


def protocol(config: Config) -> dict[str, Any]:
    """Returns the protocol of an evaluation: the name of a round (`round_label`), its `num_episodes`, whether actions
    were `deterministic`, and the `inner_lr_factors` of a learner that takes inner gradient steps."""
    options, learner = config.evaluation, evaluated_learner(config)
    found = {
        "round_label": learner.round_label,
        "num_episodes": options.num_episodes or config.num_episodes,
        "deterministic": options.deterministic,
    }
    factors = getattr(learner, "inner_lr_factors", None)
    return found if factors is None else found | {"inner_lr_factors": list(factors)}


def count_parameters(run: Run) -> dict[str, int]:
    """Counts the meta-parameters (`all`), the numbers that adapt to a new task (`adapted`), and the parameters that do
    not (`stay`); if the adapted numbers are inferred, all parameters stay."""
    shapes = jax.eval_shape(run.program.learner.init, make_key(0))
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(shapes)]
    every, adapted = sum(sizes), run.config.learner.num_adapted(run.program.env)
    moved = adapted if run.config.learner.needs_round_advantages else 0
    return {"all": every, "adapted": adapted, "stay": every - moved}


def bayes_optimal(run: Run, split: str, num_rounds: int) -> dict[str, Any]:
    """Returns the returns of the Bayes-optimal policy as a control, if they are known and an upper bound. They are not
    for a learner that adapts from several parallel episodes, which has more information.
    """
    config = run.config
    num_episodes = config.evaluation.num_episodes or config.num_episodes
    if split == "ood" or (config.learner.needs_round_advantages and num_episodes > 1):
        return {}
    value = run.program.env.bayes_optimal_value(num_rounds)
    if value is None:
        return {}
    return {"bayes_optimal": {"return_mean": value.tolist(), "total_mean": float(value.sum())}}


def draw(
    folder: RunFolder, config: Config, evaluation: dict[str, Any], warn: Callable[[str], None]
) -> bool:
    """Draws `eval.json`; returns whether that succeeded. A failure is only a warning, because the figure is
    optional."""
    titles = {"preset": config.name, "env": config.env.name}
    try:
        from metarl_jax.analysis.plots import adaptation_curve

        adaptation_curve(titles | evaluation, folder.curve)
    except Exception as error:  # Of any type: it is matplotlib's, or its installation's.
        warn(f"{folder.curve} is not drawn: {str(error) or type(error).__name__}")
        return False
    return True
