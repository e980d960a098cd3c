"""The host loop: compiled chunks of meta-steps, and metrics, evaluation and checkpoints between.

It trains one run, or all members of a sweep in step. What happens after which meta-step follows
from its number and the state alone, so that a run that was stopped and resumed does the same as one
that never was, down to the bits of its state:

- a chunk ends at every multiple of `log_every`, and at the last meta-step;
- an evaluation is due at the end of a chunk with a multiple of `evaluation.every` in it, and at the
  last meta-step;
- a checkpoint is due likewise, and wherever the held-out return is as good as ever before;
- a chunk that ends with skipped updates is not saved, so that the checkpoints kept are sound ones;
  but the last meta-step always is: to skip an update keeps the state finite. (In a sweep, one sound
  member is enough.)
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_jax import logbook, machine, stopping, warm_start
from metarl_jax.checkpoint import CheckpointWriter, Progress, step_of
from metarl_jax.config import Config
from metarl_jax.executables import TRAINING_EVALUATIONS, Executables
from metarl_jax.metrics import MetricsWriter, Reporter
from metarl_jax.program import Program
from metarl_jax.run_folder import RunFolder
from metarl_jax.signals import StopRequest
from metarl_jax.types import TrainState


class Run(NamedTuple):
    """What is trained: one run, or all members of a sweep.

    Attributes:
      path: the folder, which `metarl resume` takes.
      folders: that of every member; that of the run itself where it is alone.
      config: the configuration, the first member's in a sweep.
      program: what was built from it.
      executables: the functions of the run, or of all members together.
      reporter: where to tell how it goes.
    """

    path: Path
    folders: Sequence[RunFolder]
    config: Config
    program: Program
    executables: Executables
    reporter: Reporter

    @property
    def checkpoints(self) -> Path:
        """Where the state of the run, or of all members, is saved."""
        return RunFolder(self.path).checkpoints


class Trained(NamedTuple):
    """What the loop ends with: the state, and what was noted of each member."""

    state: TrainState
    progress: list[Progress]


def chunk_end(config: Config, step: int) -> int:
    """The meta-step with which the chunk that begins after meta-step `step` ends."""
    return min((step // config.log_every + 1) * config.log_every, config.num_meta_steps)


def is_due(every: int, start: int, end: int) -> bool:
    """Whether a multiple of `every` lies in (start, end]; never where `every` is 0."""
    return every > 0 and end // every > start // every


def train_to_end(run: Run, state: TrainState | None, progress: list[Progress]) -> Trained:
    """Trains from this state, or from the seed where it is None, to the last meta-step.

    Raises:
      Interrupted: after Ctrl-C or SIGTERM.
      Diverged: when `config.max_skipped` updates in a row were skipped, or all there are, by all members in a sweep.
    """
    step = 0 if state is None else step_of(state)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        checkpoints = CheckpointWriter(run.checkpoints, keep=run.config.checkpoint.keep)
        stack.enter_context(checkpoints)
        writers = [MetricsWriter(folder, step) for folder in run.folders]
        trains_on = machine.describe(run.executables.devices)
        for folder in run.folders:
            folder.note_start(step, trains_on)
        _compile(run, step)
        if state is None:
            state = warm_start.first_state(run.config, run.executables, run.reporter.warn)
        trained = _train_loop(run, Trained(state, progress), checkpoints, writers, stop)
        checkpoints.wait()
        return trained


def _compile(run: Run, step: int) -> None:
    """Compiles what training from `step` needs, and tells how long that took."""
    options, executables = run.config.evaluation, run.executables
    what = run.config.name if len(run.folders) == 1 else f"{len(run.folders)} × {run.config.name}"
    run.reporter.say(f"compiling {what} for {len(executables.devices)} device(s)")
    last_chunk = (run.config.num_meta_steps - 1) % run.config.log_every + 1
    for num_steps in sorted({chunk_end(run.config, step) - step, last_chunk}):
        executables.compile_chunk(num_steps)
    seconds = executables.compile_seconds
    executables.compile_evaluate(options.split, options.num_tasks)
    total = executables.compile_seconds
    run.reporter.say(
        f"compiled in {total:.1f} s (training {seconds:.1f} s, evaluation {total - seconds:.1f} s)"
    )


def _train_loop(
    run: Run,
    trained: Trained,
    checkpoints: CheckpointWriter,
    writers: list[MetricsWriter],
    stop: StopRequest,
) -> Trained:
    config, step = run.config, step_of(trained.state)
    num_steps, told = config.num_meta_steps, False
    with run.reporter.training(step, num_steps):
        while step < num_steps and stop.signal is None:
            start, step = step, chunk_end(config, step)
            trained, lines = _train_chunk(run, trained, step - start)
            _write(writers, lines)
            line = logbook.mean_line(lines)
            run.reporter.chunk(line)
            fault = stopping.environment_fault(config.env.name, line)
            if fault is not None and not told:
                run.reporter.warn(fault)
                told = True
            if step == num_steps or is_due(config.evaluation.every, start, step):
                before = trained.progress[0].best_return
                trained, lines = _evaluate_held_out(run, trained)
                _write(writers, lines)
                best = len(lines) == 1 and trained.progress[0].best_return != before
                run.reporter.evaluation(logbook.mean_line(lines), best=best)
            skipped_in_row = np.atleast_1d(trained.state.skipped_in_row)
            trained = _mark_diverged(run, trained, skipped_in_row)
            if all(member.diverged_step is not None for member in trained.progress):
                checkpoints.wait()
                saved = checkpoints.latest_step()
                raise _diverged(run, int(skipped_in_row.max()), step, saved, fault)
            is_best = any(member.best_step == step for member in trained.progress)
            due = is_best or is_due(config.checkpoint.every, start, step)
            wanted = due or stop.signal is not None
            if step == num_steps or (wanted and (skipped_in_row == 0).any()):
                checkpoints.save(trained.state, trained.progress)
    if stop.signal is not None:
        checkpoints.wait()
        saved, name = checkpoints.latest_step(), stop.signal.name
        raise stopping.interrupted(run.path, name, step, num_steps, saved, config.seed)
    return trained


def _train_chunk(run: Run, trained: Trained, num_steps: int) -> tuple[Trained, list[dict]]:
    state, metrics, seconds = run.executables.chunk(trained.state, num_steps)
    step, share = step_of(state), seconds / len(run.folders)
    members = zip(trained.progress, run.executables.by_member(metrics), strict=True)
    noted = [logbook.note_chunk(progress, step, mine, share) for progress, mine in members]
    progress, lines = map(list, zip(*noted, strict=True))
    return trained._replace(state=state, progress=progress), lines


def _evaluate_held_out(run: Run, trained: Trained) -> tuple[Trained, list[dict]]:
    step, options = step_of(trained.state), run.config.evaluation
    key = run.executables.evaluation_key(TRAINING_EVALUATIONS)
    returns = run.executables.evaluate(trained.state, key, options.split, options.num_tasks)
    # What is not saved cannot be the best.
    saved = np.atleast_1d(trained.state.skipped_in_row) == 0
    saved = saved | (step == run.config.num_meta_steps)
    members = zip(trained.progress, run.executables.by_member(returns), saved, strict=True)
    noted = [logbook.note_evaluation(p, run.program, step, r, bool(s)) for p, r, s in members]
    progress, lines = map(list, zip(*noted, strict=True))
    return Trained(trained.state, progress), lines


def _mark_diverged(run: Run, trained: Trained, skipped_in_row: np.ndarray) -> Trained:
    step = step_of(trained.state)
    # A shorter run has learned nothing where all of its updates were skipped.
    limit = min(run.config.max_skipped, run.config.num_meta_steps)
    diverged = skipped_in_row >= limit
    members = zip(trained.progress, diverged, strict=True)
    progress = [logbook.note_divergence(p, step) if d else p for p, d in members]
    return trained._replace(progress=progress)


def _diverged(
    run: Run, skipped_in_row: int, step: int, saved: int | None, fault: str | None
) -> stopping.Diverged:
    what = "training" if len(run.folders) == 1 else "every member of the sweep"
    limit = run.config.max_skipped
    return stopping.diverged(run.path, skipped_in_row, step, limit, saved, what, fault)


def _write(writers: list[MetricsWriter], lines: list[dict[str, Any]]) -> None:
    for writer, line in zip(writers, lines, strict=True):
        writer.write(line)
