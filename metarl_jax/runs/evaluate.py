"""Evaluates a trained run: `metarl eval`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from metarl_jax.baselines.policies import check_strategies
from metarl_jax.config import Config, RuntimeConfig, Which, changes
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.envs.base import TaskDistribution, check_split
from metarl_jax.program.build import build
from metarl_jax.runs import report
from metarl_jax.runs.checkpoint_structure import first_difference, structure
from metarl_jax.runs.loop import Run
from metarl_jax.runs.report import Shown
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.restore import open_run, reopen
from metarl_jax.runs.told import ToldRun

ALL_SPLITS = "all"
"""Value of `split` for all splits of the task distribution."""


def evaluate_run(
    run_dir: Path | str,
    *,
    env: TaskDistribution | None = None,
    split: str = "test",
    told: Path | str | None = None,
    num_tasks: int | None = None,
    num_rounds: int | None = None,
    num_episodes: int | None = None,
    inner_lr_factors: tuple[float, ...] | None = None,
    empty_memory: bool = False,
    strategies: Sequence[str] = (),
    checkpoint: Which = "best",
    runtime: RuntimeConfig | None = None,
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint, by default the best by held-out return, as at the end of training. Writes nothing. The
    tasks are not those by which the best checkpoint was selected.

    Args:
      run_dir: the folder of a run.
      env: other tasks than those of the run, for which its learner has the same parameters; those of the run when not
        given.
      split: split of the tasks, or `all` of them.
      told: the folder of a run in the same environment that observes the task (`env.told_task`), as an upper
        control.
      num_tasks: number of tasks; as in the configuration when not given.
      num_rounds: rounds of a trial (K); as in the configuration when not given.
      num_episodes: parallel episodes of a round (E); as in the configuration when not given.
      inner_lr_factors: of inner step sizes, as `evaluation.inner_lr_factors`; as in the configuration when not given.
      empty_memory: let the learner begin with nothing in what it keeps beyond a trial.
      strategies: known strategies of the task distribution to evaluate in the same tasks.
      checkpoint: the `best`, the `last`, or that of a meta-step.
      runtime: where to compute; as in training when not given, as far as it is here.
      console: where to tell how it goes; standard output when not given.

    Returns:
      What `eval.json` holds, for this checkpoint, split and number of tasks; in `changed` the fields of `env` that are
      not as they were in training; and in `told` how near the returns come to those of the run that is told the task
      (`ToldRun.compare`). For `all` splits, these by the name of the split in `splits`.

    Raises:
      UserError: if there is no run, no whole checkpoint, no such split or strategy, fewer than two tasks, or if the
        learner has other parameters in `env`.
      Diverged: if no task has a return that is finite.
    """
    reporter = console or Reporter()
    folder, trained = reopen(Path(run_dir), reporter.warn, runtime)
    config = _evaluated(
        trained,
        env,
        num_tasks=num_tasks,
        num_rounds=num_rounds,
        num_episodes=num_episodes,
        inner_lr_factors=inner_lr_factors,
    )
    splits = config.env.splits if split == ALL_SPLITS else (split,)
    for name in splits:
        check_split(config.env, name)
    check_strategies(config.env, strategies)
    control = None if told is None else ToldRun(told, config, runtime, reporter.warn)
    changed = _changed_tasks(trained, config)
    if changed:
        reporter.say(f"other tasks than in training: {_describe(changed)}")
    saved = open_run(folder, config, reporter.warn, checkpoint)
    run = Run(folder.path, [folder], config, saved.program, saved.executables, reporter)
    state = saved.state
    if empty_memory:
        empty = run.executables.init().meta.memory
        state = state.replace(meta=state.meta.replace(memory=empty))
    shown = Shown(state, [saved.checkpoint], [saved.step], saved.last_step)
    now = {name: value for name, (_, value) in changed.items()}

    def evaluate(split: str) -> dict[str, Any]:
        what = f"{config.evaluation.num_tasks} tasks of split {split!r}"
        with reporter.busy(f"evaluating step {saved.step} in {what}"):
            found = report.evaluations(run, shown, split, strategies)
        (evaluation,) = found.reports
        if control is not None:
            with reporter.busy(f"evaluating the control that observes the task in {what}"):
                evaluation["told"] = control.compare(run, found, split)
        return evaluation | ({"changed": now} if changed else {})

    found = {name: evaluate(name) for name in splits}
    return {"splits": found} if split == ALL_SPLITS else found[split]


def _evaluated(trained: Config, env: TaskDistribution | None, **options: Any) -> Config:
    """Returns the configuration of a run with these evaluation options, checked against the trained learner.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    given = {name: value for name, value in options.items() if value is not None}
    config = dataclasses.replace(
        trained,
        env=trained.env if env is None else env,
        evaluation=dataclasses.replace(trained.evaluation, **given),
    )
    changed = _changed_tasks(trained, config)
    if not changed:
        return config
    differs = first_difference(_structure(trained), _structure(config))
    if differs is not None:
        raise UserError(
            f"{_describe(changed)}: the learner does not fit these tasks; state{differs.name} is "
            f"{differs.found} in the run, and would be {differs.wanted}: keep observations and actions as in training"
        )
    return config


def _structure(config: Config) -> dict[str, str]:
    return structure(jax.eval_shape(build(config).init, make_key(0)))


def _changed_tasks(trained: Config, config: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields of the task distribution that differ from training, with both values."""
    return changes(trained, dataclasses.replace(trained, env=config.env))


def _describe(changed: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(
        f"{name}={now!r} (trained with {before!r})" for name, (before, now) in changed.items()
    )
