"""What a run leaves behind at its end: held-out returns beside the controls, and the curve drawn."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from metarl_jax.checkpoint import step_of
from metarl_jax.config import Config, evaluated_learner
from metarl_jax.evaluate import has_oracle, summarize
from metarl_jax.executables import TRAINING_EVALUATIONS
from metarl_jax.jax_settings import make_key
from metarl_jax.loop import Run, Trained
from metarl_jax.run_folder import RunFolder, finite
from metarl_jax.types import Key


def evaluate_trained(run: Run, trained: Trained) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Returns of the trained learner in the tasks of all evaluations, and `eval.json` of each member."""
    options, step = run.config.evaluation, step_of(trained.state)
    key = run.executables.evaluation_key(TRAINING_EVALUATIONS)
    returns = trained.returns
    if returns is None:
        returns = run.executables.evaluate(trained.state, key, options.split, options.num_tasks)
    return returns, evaluations(run, returns, key, step, options.split)


def evaluations(
    run: Run, returns: np.ndarray, key: Key, step: int, split: str, strategies: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The content of `eval.json` of each member; the controls act in the same tasks as the learner did.

    Args:
      returns: `[tasks, K]`, or `[M, tasks, K]` in a sweep.
      key: that they were drawn with.
      strategies: known strategies of the task distribution to evaluate beside the random policy and the oracle.
    """
    env, num_tasks = run.program.env, returns.shape[-2]
    names = ["random", *(["oracle"] if has_oracle(env) else []), *strategies]
    controls = [
        run.executables.evaluate_control(name, key, split, num_tasks, step) for name in names
    ]
    ceiling = bayes_optimal(run, split, returns.shape[-1])
    parameters = count_parameters(run)
    found = []
    for mine, *others in zip(*map(run.executables.by_member, (returns, *controls)), strict=True):
        evaluation = {"split": split, "num_tasks": num_tasks, "step": step, **summarize(mine)}
        evaluation |= protocol(run.config)
        evaluation["parameters"] = parameters
        summaries = map(summarize, others)
        evaluation["controls"] = dict(zip(names, summaries, strict=True)) | ceiling
        if env.note:
            evaluation["note"] = env.note
        found.append(finite(evaluation))
    return found


def protocol(config: Config) -> dict[str, Any]:
    """How a learner was evaluated in its tasks: `num_episodes` of a round, whether they were `deterministic`, and
    `inner_lr_factors` of one that takes inner gradient steps."""
    options, learner = config.evaluation, evaluated_learner(config)
    found = {
        "num_episodes": options.num_episodes or config.num_episodes,
        "deterministic": options.deterministic,
    }
    factors = getattr(learner, "inner_lr_factors", None)
    return found if factors is None else found | {"inner_lr_factors": list(factors)}


def count_parameters(run: Run) -> dict[str, int]:
    """How many meta-parameters there are in `all`, how many numbers a new task moves: those `adapted`, and how many
    parameters `stay`: all of them, where what moves is inferred."""
    shapes = jax.eval_shape(run.program.learner.init, make_key(0))
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(shapes)]
    every, adapted = sum(sizes), run.config.learner.num_adapted(run.program.env)
    moved = adapted if run.config.learner.adapts_by_gradient else 0
    return {"all": every, "adapted": adapted, "stay": every - moved}


def bayes_optimal(run: Run, split: str, num_rounds: int) -> dict[str, Any]:
    """The returns of the Bayes-optimal policy as a control, where they are a ceiling and known.

    A learner that adapts by gradient from several episodes side by side knows more than such a policy.
    """
    config = run.config
    num_episodes = config.evaluation.num_episodes or config.num_episodes
    if split == "ood" or (config.learner.adapts_by_gradient and num_episodes > 1):
        return {}
    value = run.program.env.bayes_optimal_value(num_rounds)
    if value is None:
        return {}
    return {"bayes_optimal": {"return_mean": value.tolist(), "total_mean": float(value.sum())}}


def draw(
    folder: RunFolder, config: Config, evaluation: dict[str, Any], warn: Callable[[str], None]
) -> bool:
    """Draws `eval.json`; returns whether that went well, and warns where it did not, for it is an extra."""
    titles = {
        "preset": config.name,
        "env": config.env.name,
        "adapts_by_gradient": config.learner.adapts_by_gradient,
    }
    try:
        from metarl_jax.plots import adaptation_curve  # matplotlib takes its time

        adaptation_curve(titles | evaluation, folder.curve)
    except Exception as error:  # Of any type: it is matplotlib's, or its installation's.
        warn(f"{folder.curve} is not drawn: {str(error) or type(error).__name__}")
        return False
    return True
