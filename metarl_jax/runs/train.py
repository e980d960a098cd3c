"""Trains and resumes a single run, from its configuration to `eval.json`: `metarl train` and `metarl resume`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.program.build import Program, build, check_memory
from metarl_jax.program.checks import check_foreign
from metarl_jax.program.devices import with_runtime
from metarl_jax.runs import budget as budgets
from metarl_jax.runs import checkpoint as checkpointing
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs import loop, processes, report, warm_start, writers
from metarl_jax.runs.budget import Budget, with_budget
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.card import write_card
from metarl_jax.runs.checkpoint import DamagedCheckpointError, saved_steps
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import ends_with_line, write_json
from metarl_jax.runs.locks import locked
from metarl_jax.runs.loop import Run, Trained
from metarl_jax.runs.members import check_ended
from metarl_jax.runs.pretrained import is_pretrained
from metarl_jax.runs.progress import Progress
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.restore import Warn, edited_fields, warn_of_differences
from metarl_jax.runs.timekeeping import total_seconds


def train(
    config: Config,
    run_dir: Path | str,
    *,
    numbered: bool = False,
    callbacks: Sequence[Callback] = (),
    debug_nans: bool = False,
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Trains from the seed to the end, in a new folder.

    Args:
      config: the run.
      run_dir: a folder that does not exist yet, or that is empty.
      numbered: train in `run_dir-2`, `run_dir-3`, … where `run_dir` is taken.
      callbacks: receive every chunk and evaluation, and may stop training.
      debug_nans: end with the first update that is not finite, and name the operation that gives the first nan.
      console: for progress and results; standard output when not given.

    Returns:
      The content of `eval.json`: held-out returns of the trained learner, and of the controls.

    Raises:
      UserError: for a configuration or folder that cannot work, before anything is compiled.
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP.
      Diverged: when `config.max_skipped` updates in a row were skipped.
    """
    reporter = console or Reporter()
    check_foreign(config)
    config = writers.checked(warm_start.with_absolute_init_from(config))
    program = build(config)
    check_memory(config)
    warm_start.check(program, reporter)
    folder = _create(Path(run_dir), config, numbered)
    with locked(folder.path):
        run = _make_run(folder, program, reporter, callbacks)._replace(debug_nans=debug_nans)
        run.reporter.say(str(folder.path))
        return _finish(run, loop.train_to_end(run, None, [Progress()]))


def resume(
    run_dir: Path | str,
    *,
    num_meta_steps: int | None = None,
    budget: Budget | None = None,
    runtime: RuntimeConfig | None = None,
    callbacks: Sequence[Callback] = (),
    debug_nans: bool = False,
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Continues from the latest undamaged checkpoint, or from the seed if there is none.

    A damaged checkpoint is reported and set aside under another name. A finished run is only evaluated again, unless it
    is extended. Result and errors are those of `train`.

    Args:
      run_dir: the folder of a run.
      num_meta_steps: the total number of meta-steps; as in `config.json` when not given. Schedules that end with the
        run are stretched to this length.
      budget: the limits of the whole run; as in `config.json` when not given.
      runtime: where to compute; as in `config.json` when not given, as far as available.
      callbacks, debug_nans: as in `train`.
      console: for progress and results; standard output when not given.

    Raises:
      UserError: also where `config.json` does not say what was learned, because it was edited.
    """
    reporter = console or Reporter()
    check_own(run_dir)
    folder, config = run_folder.open_existing(Path(run_dir))
    check_ended(folder)
    warn_of_differences(folder.config, reporter.warn)
    refuse_edited(folder.config, edited_fields(folder, config))
    done = max(saved_steps(folder.checkpoints), default=0)
    longer = with_budget(lengthened(config, num_meta_steps, done, reporter.say), budget)
    program = build(with_runtime(writers.checked(longer), runtime, reporter.warn))
    check_memory(program.config)
    wanted = dataclasses.replace(longer, runtime=runtime or config.runtime)
    with locked(folder.path):
        if wanted != config:
            processes.first_does(lambda: write_json(folder.config, run_folder.serializable(wanted)))
        run = _make_run(folder, program, reporter, callbacks)._replace(debug_nans=debug_nans)
        run.reporter.say(str(folder.path))
        return _finish(run, continue_training(run))


def _create(path: Path, config: Config, numbered: bool) -> RunFolder:
    """Makes the folder of a new run; of several processes the first one does, and the others must see it."""

    def create() -> str:
        return str(run_folder.create(path, config, numbered=numbered).path)

    folder = RunFolder(Path(processes.first_does(create)))
    is_seen = folder.config.is_file()
    processes.agree(
        None
        if is_seen
        else f"run_dir={str(folder.path)!r} is not seen by all processes: choose one in a folder that their hosts share"
    )
    return folder


def check_own(run_dir: Path | str) -> None:
    """Raises `UserError` for a pretrained run, which stays as it came."""
    if is_pretrained(run_dir):
        raise UserError(
            f"run_dir={str(run_dir)!r} is a pretrained run, which is not changed: start a new run from it "
            f"(metarl train --from {run_dir} --init-from {run_dir})"
        )


def refuse_edited(path: Path, edited: str) -> None:
    """Raises `UserError` if fields in the file at `path`, described by `edited`, differ from training."""
    if edited:
        raise UserError(
            f"{path} differs from training: {edited}: restore these values to resume, or start a new run with other "
            "values from this one (--init-from)"
        )


def continue_training(run: Run) -> Trained:
    """Trains this run, or sweep, from its last checkpoint to the end."""

    def on_damage(error: DamagedCheckpointError) -> None:
        kept_as = processes.first_does(lambda: checkpointing.quarantine(error).name)
        run.reporter.warn(f"{error}; it is kept as {kept_as}, and the one before it is used")

    found = checkpointing.load_latest(
        run.checkpoints, run.executables.abstract_state, on_damage=on_damage
    )
    if found is None:
        seed = run.config.seed
        run.reporter.say(f"{run.path} has no checkpoint yet: starting from seed {seed}")
        return loop.train_to_end(run, None, [Progress() for _ in run.folders])
    spent = budgets.spent(run.config, found.progress, total_seconds(run.path))
    if spent is not None and not found.progress[0].num_unlogged:
        run.reporter.say(f"{run.path} has ended with {spent}: evaluating only")
        return Trained(found.state, found.progress)
    if found.step >= run.config.num_meta_steps and not found.progress[0].num_unlogged:
        run.reporter.say(f"{run.path} has ended with meta-step {found.step}: evaluating only")
        return Trained(found.state, found.progress)
    for folder in run.folders:
        if not ends_with_line(folder.metrics):
            run.reporter.warn(
                f"{folder.metrics} ends in the middle of a line: it is dropped, and its meta-steps are taken again"
            )
    run.reporter.say(f"resuming from step {found.step} of {run.config.num_meta_steps}")
    return loop.train_to_end(run, found.state, found.progress)


def _make_run(
    folder: RunFolder, program: Program, reporter: Reporter, callbacks: Sequence[Callback]
) -> Run:
    executables = Executables(run_functions(program))
    return Run(folder.path, [folder], program.config, program, executables, reporter, callbacks)


def _finish(run: Run, trained: Trained) -> dict[str, Any]:
    """Writes, prints and draws the evaluation of the best checkpoint, and writes the card."""
    (evaluation,) = report.evaluate_best(run, trained).reports
    (folder,) = run.folders

    def write() -> None:
        write_json(folder.evaluation, evaluation)
        write_card(folder, run.config, evaluation, run.reporter.warn)
        run.reporter.curve(evaluation)
        if report.draw(folder, run.config, evaluation, run.reporter.warn):
            run.reporter.say(str(folder.curve))

    processes.first_does(write)
    return evaluation


def lengthened(config: Config, num_meta_steps: int | None, done: int, say: Warn) -> Config:
    """Returns the configuration of a run with another total number of meta-steps; unchanged if that is None.

    Args:
      done: the meta-steps of its last checkpoint.
      say: receives a message about the change, and about schedules that are stretched to the new length. Raises:
        UserError: if the run is already longer.
    """
    before = config.num_meta_steps
    if num_meta_steps is None or num_meta_steps == before:
        return config
    if num_meta_steps < done:
        raise UserError(
            f"num_meta_steps={num_meta_steps}, but the run has a checkpoint of {done}: choose {done} or more, or look "
            f"at an earlier one with `metarl eval RUN_DIR --checkpoint STEP`"
        )
    outer = dataclasses.asdict(config.outer)
    ends = [
        f"outer.{name}" for name in outer if name.startswith("final_") and outer[name] is not None
    ]
    schedules = f"; reaches {' and '.join(ends)} there" if ends else ""
    say(f"to meta-step {num_meta_steps} instead of {before}{schedules}")
    return dataclasses.replace(config, num_meta_steps=num_meta_steps)
