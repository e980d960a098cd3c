"""The host loop: runs compiled chunks of meta-steps, with metrics, evaluation and checkpoints in between.

It trains one run, or all members of a sweep in lockstep. The schedule depends only on the number of the meta-step and
on the state, so that a run that was stopped and resumed reaches the same bits as one that was not:

- a chunk ends at every multiple of `log_every`, and at the last meta-step; between two ends, it is cut into calls of a
  few seconds by the measured time of a meta-step, after each of which a signal is obeyed: the state is saved with the
  metrics of the chunk so far, and resuming completes the chunk;
- an evaluation is due at the end of a chunk with a multiple of `evaluation.every` in it, and at the
  last meta-step, which may be that with which a budget (`budget`) is spent;
- a checkpoint is due likewise, or by the time since the last one (`checkpoint.every_seconds`), wherever the held-out
  return is as good as ever before, and where a callback stops training after an evaluation;
- a chunk that ends with skipped updates is not saved, so that the checkpoints kept are sound ones;
  but the last meta-step always is: to skip an update keeps the state finite. (In a sweep, one sound
  member is enough.)
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl_jax.config import Config
from metarl_jax.core import machine
from metarl_jax.core.types import TrainState
from metarl_jax.program.build import Program
from metarl_jax.runs import (
    budget,
    nan_search,
    processes,
    stopping,
    timekeeping,
    warm_start,
    writers,
)
from metarl_jax.runs import progress as logbook
from metarl_jax.runs.callbacks import Callback, Callbacks
from metarl_jax.runs.checkpoint import step_of
from metarl_jax.runs.checkpoint_writer import CheckpointWriter, copy
from metarl_jax.runs.executables import TRAINING_EVALUATIONS, Executables
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.hints import Hints
from metarl_jax.runs.pace import Pace
from metarl_jax.runs.progress import Progress
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.stopping import StopNow, StopRequest
from metarl_jax.runs.timekeeping import Timekeeper


class Run(NamedTuple):
    """The subject of training: one run, or all members of a sweep.

    Attributes:
      path: the folder, which `metarl resume` takes.
      folders: the folder of every member; for a single run, its own.
      config: the configuration, the first member's in a sweep.
      program: what was built from it.
      executables: the functions of the run, or of all members together.
      reporter: shows progress in the terminal.
      callbacks: follow training, and may stop it.
      debug_nans: end with the first update that is not finite, and name the operation. For a single run.
    """

    path: Path
    folders: Sequence[RunFolder]
    config: Config
    program: Program
    executables: Executables
    reporter: Reporter
    callbacks: Sequence[Callback] = ()
    debug_nans: bool = False

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints of the run, or of all members."""
        return RunFolder(self.path).checkpoints


class Trained(NamedTuple):
    """The result of training: the state, and the progress of each member."""

    state: TrainState
    progress: list[Progress]


def chunk_end(config: Config, step: int) -> int:
    """Returns the last meta-step of the chunk that begins after meta-step `step`."""
    return min((step // config.log_every + 1) * config.log_every, config.num_meta_steps)


def is_due(every: int, start: int, end: int) -> bool:
    """Whether a multiple of `every` lies in (start, end]; never if `every` is 0."""
    return every > 0 and end // every > start // every


@dataclasses.dataclass
class _AtHand:
    """The latest complete state, which is saved when a signal arrives.

    Attributes:
      trained: a state that no running call overwrites; None if only the last checkpoint remains.
      doing: the current activity, as in messages.
    """

    trained: Trained | None
    doing: str


def train_to_end(run: Run, state: TrainState | None, progress: list[Progress]) -> Trained:
    """Trains from this state, or from the seed if it is None, to the last meta-step.

    Raises:
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP. If the interrupted call took too long to wait for, it continues on
        its own thread, and the process should end. Diverged: when `config.max_skipped` updates in a row, or all
        updates, were skipped; in a sweep, by all members.
    """
    step = 0 if state is None else step_of(state)
    logged = step - progress[0].num_unlogged
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest(leaves_calls=not processes.are_several()))
        checkpoints = CheckpointWriter(run.checkpoints, keep=run.config.checkpoint.keep)
        stack.enter_context(checkpoints)
        callbacks = _open_callbacks(run, step, logged)
        stack.callback(callbacks.close)
        clock = stack.enter_context(
            Timekeeper(run.path, step, run.reporter.warn, writes=processes.is_first())
        )
        at_hand = _AtHand(None, "while compiling")
        try:
            with stop.at_once(), clock.spending(timekeeping.COMPILING):
                _compile(run, step)
                if state is None:
                    state = warm_start.first_state(run.config, run.executables, run.reporter.warn)
            clock.note(step)
            trained = _train_loop(
                run, Trained(state, progress), checkpoints, callbacks, stop, at_hand, clock
            )
        except StopNow:
            with clock.spending(timekeeping.SAVING):
                _save_at_hand(run, at_hand, checkpoints)
            saved, name = checkpoints.latest_step(), stop.name
            raise stopping.interrupted(
                run.path, name, at_hand.doing, saved, run.config.seed
            ) from None
        with clock.spending(timekeeping.SAVING):
            checkpoints.wait()
        return trained


@contextlib.contextmanager
def all_saved(run: Run, step: int) -> Iterator[None]:
    """A context for the work after training, in which a signal raises at once.

    Raises:
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP.
    """
    with StopRequest() as stop:
        try:
            with stop.at_once():
                yield
        except StopNow:
            raise stopping.interrupted(
                run.path, stop.name, "while evaluating", step, run.config.seed
            ) from None


def _open_callbacks(run: Run, step: int, logged: int) -> Callbacks:
    """Notes the start in the folders, and opens the writers; of several processes, the first one does."""
    if not processes.is_first():
        return Callbacks([], [Callback() for _ in run.folders])
    by_member = writers.open_all(run.folders, run.config.log, logged, run.reporter.warn)
    trains_on = machine.specification(run.executables.devices)
    for folder in run.folders:
        folder.note_start(step, trains_on)
    hints = Hints(run.config, run.reporter.say)
    return Callbacks([run.reporter, hints, *run.callbacks], by_member)


def _compile(run: Run, step: int) -> None:
    """Compiles the functions that training from `step` needs, and reports the time."""
    config, executables = run.config, run.executables
    what = config.name if len(run.folders) == 1 else f"{len(run.folders)} × {config.name}"
    with run.reporter.busy(f"compiling {what} for {len(executables.devices)} device(s)"):
        if step < config.num_meta_steps:
            executables.compile_chunk(min(config.log_every, config.num_meta_steps))
        seconds = executables.compile_seconds
        executables.compile_evaluate(config.evaluation.split, config.evaluation.num_tasks)
    total = executables.compile_seconds
    run.reporter.say(
        f"compiled in {total:.1f} s (training {seconds:.1f} s, evaluation {total - seconds:.1f} s)"
    )


def _train_loop(
    run: Run,
    trained: Trained,
    checkpoints: CheckpointWriter,
    callbacks: Callbacks,
    stop: StopRequest,
    at_hand: _AtHand,
    clock: Timekeeper,
) -> Trained:
    """Trains to the end; raises `StopNow` after a signal, with the state to save in `at_hand`."""
    config, num_steps, pace, told = run.config, run.config.num_meta_steps, Pace(), False
    step = step_of(trained.state) - trained.progress[0].num_unlogged
    with run.reporter.training(step, num_steps):
        while step < num_steps:
            # A state of a run whose `log_every` was edited may be past the end of the chunk that it would be in now.
            start, step = step, max(chunk_end(config, step), step_of(trained.state))
            with clock.spending(timekeeping.TRAINING, step - start):
                trained = _train_chunk(run, trained, step, stop, at_hand, pace)
            at_hand.trained, at_hand.doing = trained, f"while evaluating step {step}"
            trained, lines = _log_chunk(trained, step)
            with clock.spending(timekeeping.LOGGING):
                line, is_enough = callbacks.chunk(lines), False
            spent = processes.first_says(
                budget.spent(config, trained.progress, clock.total_seconds)
            )
            is_last = step == num_steps or spent is not None
            fault = stopping.environment_fault(config.env.name, line)
            if fault is not None and not told:
                run.reporter.warn(fault)
                told = True
            if is_last or is_due(config.evaluation.every, start, step):
                before = trained.progress[0].best_return
                with clock.spending(timekeeping.EVALUATING):
                    trained, lines = _evaluate_held_out(run, trained, is_last=is_last)
                is_best = len(lines) == 1 and trained.progress[0].best_return != before
                is_enough = processes.first_says(callbacks.evaluation(lines, is_best=is_best))
            consecutive_skips = np.atleast_1d(trained.state.consecutive_skips)
            trained = _mark_diverged(run, trained, consecutive_skips)
            if all(member.diverged_step is not None for member in trained.progress):
                checkpoints.wait()
                saved = checkpoints.latest_step()
                raise _diverged(run, int(consecutive_skips.max()), step, saved, fault)
            has_best = any(member.best_step == step for member in trained.progress)
            due = has_best or is_enough or _is_save_due(config, start, step, clock)
            if is_last or (due and (consecutive_skips == 0).any()):
                with clock.spending(timekeeping.SAVING):
                    checkpoints.save(trained.state, trained.progress)
            clock.note(step)
            if (is_enough or is_last) and step < num_steps:
                why = f"with {spent}" if spent else "as a callback requested"
                run.reporter.say(f"stopped after step {step}, {why}")
                return trained
            at_hand.trained, at_hand.doing = trained, f"after step {step} of {num_steps}"
            if processes.any_of(stop.signal is not None):
                raise StopNow
    return trained


def _is_save_due(config: Config, start: int, step: int, clock: Timekeeper) -> bool:
    """Whether a checkpoint is due after the chunk in (start, step]."""
    options = config.checkpoint
    if options.every_seconds is not None:
        return processes.first_says(clock.seconds_since_save >= options.every_seconds)
    return is_due(options.every, start, step)


def _train_chunk(
    run: Run,
    trained: Trained,
    end: int,
    stop: StopRequest,
    at_hand: _AtHand,
    pace: Pace,
) -> Trained:
    """Takes the meta-steps up to `end`, in calls short enough to react to signals between them."""
    step = step_of(trained.state)
    while step < end:
        num_steps = pace.num_steps(end - step)
        doing = f"during step {step + 1} of {run.config.num_meta_steps}"
        # The call donates its state. A long one may have to be left, with the state from which it began.
        kept = copy(trained.state) if pace.is_long(num_steps) else None
        at_hand.trained = None if kept is None else trained._replace(state=kept)
        at_hand.doing = doing
        before = copy(trained.state) if run.debug_nans else None
        state, metrics, seconds = run.executables.chunk(trained.state, num_steps)
        skipped = None if before is None else nan_search.first_skipped(metrics)
        if before is not None and skipped is not None:
            raise stopping.Diverged(
                nan_search.find_nan(run.program, run.executables, before, skipped)
            )
        seconds = processes.first_says(seconds)
        pace.note(num_steps, seconds)
        step, share = step_of(state), seconds / len(run.folders)
        members = zip(trained.progress, run.executables.by_member(metrics), strict=True)
        progress = [logbook.note_steps(mine, theirs, share) for mine, theirs in members]
        trained = trained._replace(state=state, progress=progress)
        if step < end:
            at_hand.trained = trained
            at_hand.doing = f"after step {step} of {run.config.num_meta_steps}"
            run.reporter.between(step)
            if processes.any_of(stop.signal is not None):
                raise StopNow
    return trained


def _log_chunk(trained: Trained, step: int) -> tuple[Trained, list[dict]]:
    noted = [logbook.note_chunk(progress, step) for progress in trained.progress]
    progress, lines = map(list, zip(*noted, strict=True))
    return trained._replace(progress=progress), lines


def _save_at_hand(run: Run, at_hand: _AtHand, checkpoints: CheckpointWriter) -> None:
    """Saves the latest state after a signal, unless its last updates were skipped; waits until it is on disk."""
    if at_hand.trained is not None:
        state, progress = at_hand.trained.state, at_hand.trained.progress
        is_sound = (np.asarray(state.consecutive_skips) == 0).any()
        if is_sound or step_of(state) == run.config.num_meta_steps:
            checkpoints.save(state, progress, is_last=True)
    checkpoints.wait()


def _evaluate_held_out(run: Run, trained: Trained, *, is_last: bool) -> tuple[Trained, list[dict]]:
    step, options = step_of(trained.state), run.config.evaluation
    key = run.executables.evaluation_key(TRAINING_EVALUATIONS)
    measured = run.executables.evaluate(trained.state, key, options.split, options.num_tasks)
    # What is not saved cannot be the best.
    saved = np.atleast_1d(trained.state.consecutive_skips) == 0
    saved = saved | is_last
    members = zip(trained.progress, run.executables.by_member(measured), saved, strict=True)
    noted = [logbook.note_evaluation(p, run.program, step, m, bool(s)) for p, m, s in members]
    progress, lines = map(list, zip(*noted, strict=True))
    return Trained(trained.state, progress), lines


def _mark_diverged(run: Run, trained: Trained, consecutive_skips: np.ndarray) -> Trained:
    step = step_of(trained.state)
    # A shorter run has learned nothing where all of its updates were skipped.
    limit = min(run.config.max_skipped, run.config.num_meta_steps)
    diverged = consecutive_skips >= limit
    members = zip(trained.progress, diverged, strict=True)
    progress = [logbook.note_divergence(p, step) if d else p for p, d in members]
    return trained._replace(progress=progress)


def _diverged(
    run: Run, consecutive_skips: int, step: int, saved: int | None, fault: str | None
) -> stopping.Diverged:
    what = "training" if len(run.folders) == 1 else "every member of the sweep"
    limit = run.config.max_skipped
    return stopping.diverged(run.path, consecutive_skips, step, limit, saved, what, fault)
