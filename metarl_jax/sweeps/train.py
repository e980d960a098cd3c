"""Trains and resumes sweeps, from the points to the ranked table: `metarl sweep`, `metarl train --seeds`, and their
`resume`."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from metarl_jax.config import RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.program.build import build, check_memory
from metarl_jax.program.checks import check_foreign
from metarl_jax.program.devices import with_runtime
from metarl_jax.runs import checkpoint as checkpointing
from metarl_jax.runs import loop, report, warm_start, writers
from metarl_jax.runs.budget import Budget, with_budget
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.card import write_card
from metarl_jax.runs.checkpoint import DamagedCheckpointError, saved_steps, step_of
from metarl_jax.runs.checkpoint_writer import CheckpointWriter
from metarl_jax.runs.executables import Executables, RunFunctions
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import finite, write_json
from metarl_jax.runs.locks import check_unlocked, locked
from metarl_jax.runs.loop import Run, Trained
from metarl_jax.runs.progress import Progress
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.restore import warn_of_differences
from metarl_jax.runs.train import continue_training, lengthened, refuse_edited
from metarl_jax.runs.train import resume as resume_run
from metarl_jax.sweeps import folder as sweep_folder
from metarl_jax.sweeps.folder import SweepFolder
from metarl_jax.sweeps.ranking import rank, results_table
from metarl_jax.sweeps.sweep import Sweep, sweep_functions


def train_sweep(
    sweep: Sweep,
    run_dir: Path | str,
    *,
    numbered: bool = False,
    callbacks: Sequence[Callback] = (),
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Trains all members to the end, in a new folder.

    Args:
      sweep: the sweep.
      run_dir: a folder that does not exist yet, or that is empty.
      numbered: train in `run_dir-2`, `run_dir-3`, … if `run_dir` is taken.
      callbacks: receive every chunk and evaluation, with means over the members, and may stop training.
      console: for progress and results; standard output when not given.

    Returns:
      The content of `results.json`: the points ranked by held-out return.

    Raises:
      UserError: for a sweep or folder that cannot work, before anything is compiled.
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP.
      Diverged: when every member has skipped `config.max_skipped` updates in a row.
    """
    reporter = console or Reporter()
    sweep.validate()
    check_foreign(sweep.members()[0].config)
    config = writers.checked(warm_start.with_absolute_init_from(sweep.config))
    sweep = dataclasses.replace(sweep, config=config)
    functions = sweep_functions(sweep)
    check_memory(sweep.config)
    check_traceable(sweep, functions)
    warm_start.check(build(sweep.members()[0].config), reporter, sweep.fields())
    folder = sweep_folder.create(Path(run_dir), sweep, numbered=numbered)
    with _opened(folder, sweep, functions, reporter, callbacks) as run:
        progress = [Progress() for _ in run.folders]
        return _finish(run, sweep, folder, loop.train_to_end(run, None, progress))


def resume_sweep(
    run_dir: Path | str,
    *,
    num_meta_steps: int | None = None,
    budget: Budget | None = None,
    runtime: RuntimeConfig | None = None,
    callbacks: Sequence[Callback] = (),
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Continues all members from the latest undamaged checkpoint; see `train.resume`."""
    reporter = console or Reporter()
    folder, sweep = sweep_folder.open_existing(Path(run_dir))
    warn_of_differences(folder.sweep, reporter.warn, "config")
    for member in sweep.members():
        refuse_edited(folder.sweep, sweep_folder.edited_fields(folder, member))
    done = max(saved_steps(RunFolder(folder.path).checkpoints), default=0)
    longer = lengthened(sweep.config, num_meta_steps, done, reporter.say)
    config = writers.checked(with_budget(longer, budget))
    here = dataclasses.replace(sweep, config=with_runtime(config, runtime, reporter.warn))
    here.validate()
    asked = dataclasses.replace(config, runtime=runtime or config.runtime)
    with _opened(folder, here, sweep_functions(here), reporter, callbacks) as run:
        if asked != sweep.config:
            sweep_folder.rewrite(folder, dataclasses.replace(sweep, config=asked))
        return _finish(run, here, folder, continue_training(run))


def resume(
    run_dir: Path | str,
    *,
    num_meta_steps: int | None = None,
    budget: Budget | None = None,
    runtime: RuntimeConfig | None = None,
    callbacks: Sequence[Callback] = (),
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Continues a run or a sweep, whichever is at `run_dir`; see `metarl_jax.runs.train.resume`."""
    continued = resume_sweep if sweep_folder.is_sweep(Path(run_dir)) else resume_run
    return continued(
        run_dir,
        num_meta_steps=num_meta_steps,
        budget=budget,
        runtime=runtime,
        callbacks=callbacks,
        console=console,
    )


def check_traceable(sweep: Sweep, functions: RunFunctions) -> None:
    """Raises `UserError` if a swept field must be known at compilation."""
    try:
        states = jax.eval_shape(functions.init, functions.values, functions.key)
        jax.eval_shape(
            lambda values, states: functions.chunk(values, states, jnp.int32(1), 1),
            functions.values,
            states,
        )
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        names = ", ".join(sweep.fields())
        raise UserError(
            f"one of the swept fields {names} must be known at compilation, so that one program "
            f"cannot sweep it ({str(error).splitlines()[0]}): train it once for each value"
        ) from error


@contextlib.contextmanager
def _opened(
    folder: SweepFolder,
    sweep: Sweep,
    functions: RunFunctions,
    reporter: Reporter,
    callbacks: Sequence[Callback] = (),
) -> Iterator[Run]:
    """Yields the run, with the folder and those of its members locked against other processes."""
    with locked(folder.path):
        folders = sweep_folder.make_members(folder, sweep)
        for mine in folders:
            check_unlocked(mine.path)
        config = sweep.members()[0].config
        reporter.say(str(folder.path))
        executables = Executables(functions)
        yield Run(folder.path, folders, config, build(config), executables, reporter, callbacks)


def _finish(run: Run, sweep: Sweep, folder: SweepFolder, trained: Trained) -> dict[str, Any]:
    """Completes the folder of each member; writes and prints the ranked results."""
    returns, _, evaluations = report.evaluate_best(run, trained)
    for mine, evaluation in zip(run.folders, evaluations, strict=True):
        write_json(mine.evaluation, evaluation)
    _save_members(run, trained)
    results = finite(rank(run, sweep, returns, trained))
    write_json(folder.results, results)
    run.reporter.table(results_table(results))
    warn = _once(run.reporter.warn)
    for mine, member, evaluation in zip(run.folders, sweep.members(), evaluations, strict=True):
        write_card(mine, member.config, evaluation, run.reporter.warn)
        report.draw(mine, member.config, evaluation, warn)
    run.reporter.say(str(folder.results))
    return results


def _once(warn: Callable[[str], None]) -> Callable[[str], None]:
    """Warns only for the first member that cannot be drawn; for the others the reason is the same."""
    warned: list[str] = []

    def first(message: str) -> None:
        if not warned:
            warn(message)
        warned.append(message)

    return first


def _save_members(run: Run, trained: Trained) -> None:
    """Saves checkpoints of each member alone: its best by held-out return, and its last."""

    def on_damage(error: DamagedCheckpointError) -> None:
        run.reporter.warn(f"{error}; members whose best state it holds keep their last one only")

    abstract_state = run.executables.abstract_state
    last = step_of(trained.state)
    best = {member.best_step for member in trained.progress} - {None, last}
    for step in sorted(filter(None, best)):
        try:
            found = checkpointing.load(run.checkpoints, step, abstract_state)
        except DamagedCheckpointError as error:
            on_damage(error)
            continue
        chosen = [member.best_step == step for member in trained.progress]
        _save_each(run, found.state, found.progress, chosen)
    _save_each(run, trained.state, trained.progress, [True] * len(run.folders))


def _save_each(run: Run, states: Any, progress: list[Progress], chosen: list[bool]) -> None:
    """Saves the states of the chosen members in their own folders."""
    keep = run.config.checkpoint.keep
    members = zip(run.folders, run.executables.by_member(states), progress, chosen, strict=True)
    for folder, state, mine, is_chosen in members:
        if is_chosen:
            with CheckpointWriter(folder.checkpoints, keep=keep) as writer:
                writer.save(state, [mine])
                writer.wait()
