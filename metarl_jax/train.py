"""A single run, from its configuration to what `eval.json` holds: `metarl train`, `resume` and `eval`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from metarl_jax import checkpoint as checkpointing
from metarl_jax import loop, randomness, report, run_folder, sweep_folder, warm_start
from metarl_jax.checkpoint import (
    DamagedCheckpointError,
    Progress,
    first_difference,
    saved_steps,
    structure,
)
from metarl_jax.config import Config, RuntimeConfig, Which, changes
from metarl_jax.env import TaskDistribution, check_split
from metarl_jax.evaluate import check_strategies
from metarl_jax.executables import Executables, run_functions
from metarl_jax.jax_settings import make_key
from metarl_jax.loop import Run, Trained
from metarl_jax.metrics import Reporter
from metarl_jax.program import Program, build, check_memory, with_runtime
from metarl_jax.report import Shown
from metarl_jax.run_folder import RunFolder
from metarl_jax.saved import edited_fields, lengthened, open_run, reopen, warn_of_defaults
from metarl_jax.types import TrainState


def train(
    config: Config, run_dir: Path, *, numbered: bool = False, console: Reporter | None = None
) -> dict[str, Any]:
    """Trains from the seed to the end, in a new folder.

    Args:
      config: the run.
      run_dir: a folder that does not exist yet, or that is empty.
      numbered: train in `run_dir-2`, `run_dir-3`, … where `run_dir` is taken.
      console: where to tell how it goes; standard output when not given.

    Returns:
      The content of `eval.json`: held-out returns of the trained learner, and of the controls.

    Raises:
      ValueError: for a configuration or folder that cannot work, before anything is compiled.
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP.
      Diverged: when `config.max_skipped` updates in a row were skipped.
    """
    reporter = console or Reporter()
    config = warm_start.located(config)
    program = build(config)
    check_memory(config)
    warm_start.check(program, reporter)
    randomness.warn(config.env, reporter.warn)
    folder = run_folder.create(Path(run_dir), config, numbered=numbered)
    with run_folder.locked(folder.path):
        run = _make_run(folder, program, reporter)
        run.reporter.say(str(folder.path))
        return _finish(run, loop.train_to_end(run, None, [Progress()]))


def resume(
    run_dir: Path,
    *,
    num_meta_steps: int | None = None,
    runtime: RuntimeConfig | None = None,
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Goes on from the latest checkpoint that is whole, or from the seed where there is none.

    A damaged checkpoint is reported and set aside under another name. A run that had ended is only
    evaluated, unless it is to be longer. Result and errors are those of `train`.

    Args:
      run_dir: the folder of a run.
      num_meta_steps: meta-steps to train for, in all; as in `config.json` when not given. Schedules that end with the
        run are those of a run of this length.
      runtime: where to compute; as in `config.json` when not given, as far as it is here.
      console: where to tell how it goes; standard output when not given.

    Raises:
      ValueError: also where `config.json` does not say what was learned, because it was edited.
    """
    reporter = console or Reporter()
    folder, config = run_folder.open_existing(Path(run_dir))
    sweep_folder.check_ended(folder)
    warn_of_defaults(folder.config, reporter.warn)
    refuse_edited(folder.config, edited_fields(folder, config))
    done = max(saved_steps(folder.checkpoints), default=0)
    longer = lengthened(config, num_meta_steps, done, reporter.say)
    program = build(with_runtime(longer, runtime, reporter.warn))
    check_memory(program.config)
    wanted = dataclasses.replace(longer, runtime=runtime or config.runtime)
    with run_folder.locked(folder.path):
        if wanted != config:
            run_folder.write_json(folder.config, run_folder.serializable(wanted))
        run = _make_run(folder, program, reporter)
        run.reporter.say(str(folder.path))
        return _finish(run, go_on(run))


def refuse_edited(path: Path, edited: str) -> None:
    """Raises `ValueError` if fields in the file at `path`, `edited` in words, are not as was trained."""
    if edited:
        raise ValueError(
            f"{path} is not as was trained: {edited}: restore these values to go on; a new run with other values can "
            "begin with what this one has learned (--init-from)"
        )


def go_on(run: Run) -> Trained:
    """Trains to the end from where the checkpoints of this run, or sweep, leave off."""

    def on_damage(error: DamagedCheckpointError) -> None:
        kept_at = checkpointing.set_aside(error)
        run.reporter.warn(f"{error}; it is kept as {kept_at.name}, and the one before it is used")

    found = checkpointing.load_latest(
        run.checkpoints, run.executables.abstract_state, on_damage=on_damage
    )
    if found is None:
        seed = run.config.seed
        run.reporter.say(f"{run.path} has no checkpoint yet: starting from seed {seed}")
        return loop.train_to_end(run, None, [Progress() for _ in run.folders])
    if found.step >= run.config.num_meta_steps and not found.progress[0].num_unlogged:
        run.reporter.say(f"{run.path} has ended with meta-step {found.step}: evaluating only")
        return Trained(found.state, found.progress)
    run.reporter.say(f"resuming from step {found.step} of {run.config.num_meta_steps}")
    return loop.train_to_end(run, found.state, found.progress)


def evaluate_run(
    run_dir: Path,
    *,
    env: TaskDistribution | None = None,
    split: str = "test",
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
    """Evaluates a checkpoint, of itself the one that is best by held-out return, as the end of training does.

    Writes nothing. The tasks are other draws than those by which the checkpoint was found best.

    Args:
      run_dir: the folder of a run.
      env: other tasks than those of the run, for which its learner has the same parameters; its own when not given.
      split: split of the tasks.
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
      What `eval.json` holds, for this checkpoint, split and number of tasks; and in `changed` the fields of `env` that
      are not as they were in training.

    Raises:
      ValueError: if there is no run, no whole checkpoint, no such split or strategy, fewer than two tasks, or if the
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
    check_split(config.env, split)
    check_strategies(config.env, strategies)
    changed = _changed_tasks(trained, config)
    if changed:
        reporter.say(f"other tasks than in training: {_in_words(changed)}")
    saved = open_run(folder, config, reporter.warn, checkpoint)
    run = Run(folder.path, [folder], config, saved.program, saved.executables, reporter)
    state = saved.state
    if empty_memory:
        state = state.replace(memory=run.executables.init().memory)
    shown = Shown(state, [saved.checkpoint], [saved.step], saved.last_step)
    with reporter.busy(f"evaluating step {saved.step} in {config.evaluation.num_tasks} tasks"):
        _, (evaluation,) = report.evaluations(run, shown, split, strategies)
    now = {name: value for name, (_, value) in changed.items()}
    return evaluation | ({"changed": now} if changed else {})


def _evaluated(trained: Config, env: TaskDistribution | None, **options: Any) -> Config:
    """The configuration of a run with what is given of its evaluation, checked against what the run has learned.

    Raises:
      ValueError: naming the field, the value and the remedy.
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
        raise ValueError(
            f"{_in_words(changed)}: the learner of the run has other parameters there; state{differs.name} is "
            f"{differs.found} in it, and would be {differs.wanted}: leave observations and actions as they were"
        )
    return config


def _structure(config: Config) -> dict[str, str]:
    return structure(jax.eval_shape(build(config).init, make_key(0)))


def _changed_tasks(trained: Config, config: Config) -> dict[str, tuple[Any, Any]]:
    """The fields of the task distribution that are not as they were in training, with both values."""
    return changes(trained, dataclasses.replace(trained, env=config.env))


def _in_words(changed: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(
        f"{name}={now!r} (trained with {before!r})" for name, (before, now) in changed.items()
    )


def load(
    run_dir: Path | str, checkpoint: Which = "best", runtime: RuntimeConfig | None = None
) -> tuple[Program, TrainState]:
    """The program of a run for this machine, and its state at a checkpoint.

    Args:
      run_dir: the folder of a run.
      checkpoint: the `best` by held-out return, the `last`, or that of a meta-step.
      runtime: where to compute; as in training when not given, as far as it is here.

    Raises:
      ValueError: if there is no run, or no whole checkpoint.
    """
    warn = Reporter().warn
    folder, config = reopen(Path(run_dir), warn, runtime)
    saved = open_run(folder, config, warn, checkpoint)
    return saved.program, saved.state


def _make_run(folder: RunFolder, program: Program, reporter: Reporter) -> Run:
    executables = Executables(run_functions(program))
    return Run(folder.path, [folder], program.config, program, executables, reporter)


def _finish(run: Run, trained: Trained) -> dict[str, Any]:
    """Writes, prints and draws the evaluation of what was learned, at its best checkpoint."""
    _, (evaluation,) = report.evaluate_best(run, trained)
    (folder,) = run.folders
    run_folder.write_json(folder.evaluation, evaluation)
    run.reporter.curve(evaluation)
    if report.draw(folder, run.config, evaluation, run.reporter.warn):
        run.reporter.say(str(folder.curve))
    return evaluation
