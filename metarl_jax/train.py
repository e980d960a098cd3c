"""The host loop: compiled chunks of meta-steps, and metrics, evaluation and checkpoints between.

What happens after which meta-step follows from its number and the state alone, so that a run that
was stopped and resumed does the same as one that never was, down to the bits of its state:

- a chunk ends at every multiple of `log_every`, and at the last meta-step;
- an evaluation is due at the end of a chunk with a multiple of `evaluation.every` in it, and at the
  last meta-step;
- a checkpoint is due likewise, and wherever the held-out return is better than ever before;
- a chunk that ends with skipped updates is not saved, so that the checkpoints kept are sound ones;
  but the last meta-step always is: to skip an update keeps the state finite.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_jax import checkpoint as checkpointing
from metarl_jax import run_folder
from metarl_jax.checkpoint import CheckpointWriter, DamagedCheckpointError, Progress
from metarl_jax.config import Config
from metarl_jax.env import check_split
from metarl_jax.evaluate import has_oracle, summarize
from metarl_jax.executables import REPORTS, TRAINING_EVALUATIONS, Executables
from metarl_jax.metrics import MetricsWriter, Reporter, summarize_chunk
from metarl_jax.program import Program, build
from metarl_jax.run_folder import RunFolder
from metarl_jax.signals import StopRequest
from metarl_jax.types import Key, TrainState


class Interrupted(Exception):  # noqa: N818 - not an error
    """The run was asked to stop, and is saved. The message says how to go on."""


class Diverged(Exception):  # noqa: N818 - not an error of the program
    """`config.max_skipped` updates in a row were not finite. The last good checkpoint is kept."""


class _Run(NamedTuple):
    folder: RunFolder
    config: Config
    program: Program
    executables: Executables
    reporter: Reporter


def train(config: Config, run_dir: Path, *, console: Reporter | None = None) -> dict[str, Any]:
    """Trains from the seed to the end, in a new folder.

    Args:
      config: the run.
      run_dir: a folder that does not exist yet.
      console: where to tell how it goes; standard output when not given.

    Returns:
      The content of `eval.json`: held-out returns of the trained learner, and of the controls.

    Raises:
      ValueError: for a configuration or folder that cannot work, before anything is compiled.
      Interrupted: after Ctrl-C or SIGTERM.
      Diverged: when `config.max_skipped` updates in a row were skipped.
    """
    program = build(config)
    folder = run_folder.create(Path(run_dir), config)
    with run_folder.locked(folder):
        run = _Run(folder, config, program, Executables(program), console or Reporter())
        return _train_to_end(run, None, Progress())


def resume(run_dir: Path, *, console: Reporter | None = None) -> dict[str, Any]:
    """Goes on from the latest checkpoint that is whole, or from the seed where there is none.

    A damaged checkpoint is reported and set aside under another name. A run that had ended is only
    evaluated. Arguments, result and errors are those of `train`.
    """
    folder, config = run_folder.open_existing(Path(run_dir))
    program = build(config)
    with run_folder.locked(folder):
        run = _Run(folder, config, program, Executables(program), console or Reporter())

        def on_damage(error: DamagedCheckpointError) -> None:
            kept_at = checkpointing.set_aside(error)
            run.reporter.warn(
                f"{error}; it is kept as {kept_at.name}, and the one before it is used"
            )

        found = checkpointing.load_latest(
            folder.checkpoints, run.executables.abstract_state, on_damage=on_damage
        )
        if found is None:
            run.reporter.say(
                f"{folder.path} has no checkpoint yet: starting from seed {config.seed}"
            )
            return _train_to_end(run, None, Progress())
        if found.step >= config.num_meta_steps:
            run.reporter.say(
                f"{folder.path} has ended with meta-step {found.step}: evaluating only"
            )
            return _finish(run, found.state, None)
        run.reporter.say(f"resuming from step {found.step} of {config.num_meta_steps}")
        return _train_to_end(run, found.state, found.progress)


def evaluate_run(
    run_dir: Path,
    *,
    split: str = "test",
    num_tasks: int | None = None,
    console: Reporter | None = None,
) -> dict[str, Any]:
    """Evaluates the checkpoint that is best by held-out return, or else the latest. Writes nothing.

    The tasks are other draws than those by which the checkpoint was found best.

    Args:
      run_dir: the folder of a run.
      split: split of the tasks.
      num_tasks: number of tasks; as in the configuration when not given.
      console: where to tell how it goes; standard output when not given.

    Returns:
      What `eval.json` holds, for this checkpoint, split and number of tasks.

    Raises:
      ValueError: if there is no run, no whole checkpoint, no such split, or fewer than two tasks.
    """
    folder, config = run_folder.open_existing(Path(run_dir))
    check_split(config.env, split)
    num_tasks = config.evaluation.num_tasks if num_tasks is None else num_tasks
    if num_tasks < 2:
        raise ValueError(
            f"num_tasks={num_tasks} must be at least 2: an interval needs several tasks"
        )
    program = build(config)
    run = _Run(folder, config, program, Executables(program), console or Reporter())
    found = checkpointing.load_best(
        folder.checkpoints,
        run.executables.abstract_state,
        on_damage=lambda error: run.reporter.warn(f"{error}; another one is used"),
    )
    if found is None:
        raise ValueError(
            f"run_dir={str(folder.path)!r} has no checkpoint that can be read: train it first, "
            f"with `metarl resume {folder.path}`"
        )
    key = run.executables.evaluation_key(REPORTS, found.step)
    returns = run.executables.evaluate(found.state, key, split, num_tasks)
    return _evaluation(run, returns, key, found.step, split)


def chunk_end(config: Config, step: int) -> int:
    """The meta-step with which the chunk that begins after meta-step `step` ends."""
    return min((step // config.log_every + 1) * config.log_every, config.num_meta_steps)


def is_due(every: int, start: int, end: int) -> bool:
    """Whether a multiple of `every` lies in (start, end]; never where `every` is 0."""
    return every > 0 and end // every > start // every


def held_out_return(program: Program, returns: np.ndarray) -> float:
    """The number by which checkpoints are ranked, from held-out returns `[tasks, K]`.

    The mean over the rounds for learners to whom a trial is one sequence, exploration included; the
    last round that training has for those that adapt between rounds, to whom the earlier ones are data.
    """
    by_round = returns.mean(axis=0)
    if program.learner.adapt is None:
        return float(by_round.mean())
    return float(by_round[min(program.config.num_rounds, len(by_round)) - 1])


def _train_to_end(run: _Run, state: TrainState | None, progress: Progress) -> dict[str, Any]:
    config, step = run.config, 0 if state is None else int(state.step)
    with (
        StopRequest() as stop,
        CheckpointWriter(run.folder.checkpoints, keep=config.checkpoint.keep) as checkpoints,
        MetricsWriter(run.folder, step) as metrics,
    ):
        _compile(run, step)
        if state is None:
            state = run.executables.init()
        state, returns = _train_loop(run, state, progress, checkpoints, metrics, stop)
        checkpoints.wait()
        return _finish(run, state, returns)


def _compile(run: _Run, step: int) -> None:
    """Compiles what training from `step` needs, and tells how long that took."""
    options = run.config.evaluation
    run.reporter.say(f"compiling {run.config.name} for {run.program.axis.num_devices} device(s)")
    last_chunk = (run.config.num_meta_steps - 1) % run.config.log_every + 1
    for num_steps in sorted({chunk_end(run.config, step) - step, last_chunk}):
        run.executables.compile_chunk(num_steps)
    seconds = run.executables.compile_seconds
    run.executables.compile_evaluate(options.split, options.num_tasks)
    total = run.executables.compile_seconds
    run.reporter.say(
        f"compiled in {total:.1f} s (training {seconds:.1f} s, evaluation {total - seconds:.1f} s)"
    )


def _train_loop(
    run: _Run,
    state: TrainState,
    progress: Progress,
    checkpoints: CheckpointWriter,
    metrics: MetricsWriter,
    stop: StopRequest,
) -> tuple[TrainState, np.ndarray | None]:
    """The state after the last meta-step, and its held-out returns."""
    config, step, returns = run.config, int(state.step), None
    num_steps = config.num_meta_steps
    with run.reporter.training(step, num_steps):
        while step < num_steps and stop.signal is None:
            start, step = step, chunk_end(config, step)
            state, progress, line = _train_chunk(run, state, progress, step - start)
            metrics.write(line)
            run.reporter.chunk(line)
            if step == num_steps or is_due(config.evaluation.every, start, step):
                returns, progress, line = _evaluate_held_out(run, state, progress)
                metrics.write(line)
                run.reporter.evaluation(line, best=progress.best_step == step)
            skipped_in_row = int(state.skipped_in_row)
            if skipped_in_row >= config.max_skipped:
                checkpoints.wait()
                raise Diverged(_diverged(run, skipped_in_row, step, checkpoints.latest_step()))
            due = is_due(config.checkpoint.every, start, step) or progress.best_step == step
            wanted = due or stop.signal is not None
            if step == num_steps or (wanted and skipped_in_row == 0):
                checkpoints.save(state, progress)
    if stop.signal is not None:
        checkpoints.wait()
        raise Interrupted(_interrupted(run, stop.signal.name, step, checkpoints.latest_step()))
    return state, returns


def _train_chunk(run: _Run, state: TrainState, progress: Progress, num_steps: int):
    state, metrics, seconds = run.executables.chunk(state, num_steps)
    chunk = summarize_chunk(metrics)
    env_steps = chunk.pop("env_steps")
    progress = dataclasses.replace(
        progress,
        env_steps=progress.env_steps + env_steps,
        seconds=progress.seconds + seconds,
        held_out_return=None,
    )
    line = {
        "step": int(state.step),
        "env_steps": progress.env_steps,
        "seconds": progress.seconds,
        "env_steps_per_second": env_steps / seconds,
        "episode_return": chunk.pop("episode_return"),
    }
    return state, progress, line | chunk


def _evaluate_held_out(run: _Run, state: TrainState, progress: Progress):
    step, options = int(state.step), run.config.evaluation
    key = run.executables.evaluation_key(TRAINING_EVALUATIONS, step)
    returns = run.executables.evaluate(state, key, options.split, options.num_tasks)
    statistics = summarize(returns)
    score = held_out_return(run.program, returns)
    if np.isfinite(score):
        progress = dataclasses.replace(progress, held_out_return=score)
        # What is not saved cannot be the best.
        saved = int(state.skipped_in_row) == 0 or step == run.config.num_meta_steps
        if saved and (progress.best_return is None or score > progress.best_return):
            progress = dataclasses.replace(progress, best_return=score, best_step=step)
    line = {
        "step": step,
        "env_steps": progress.env_steps,
        "seconds": progress.seconds,
        "eval_return": statistics["return_mean"],
        "eval_return_iqm": statistics["return_iqm"],
        "eval_ci95": statistics["ci95"],
        "held_out_return": score,
    }
    return returns, progress, line


def _finish(run: _Run, state: TrainState, returns: np.ndarray | None) -> dict[str, Any]:
    """Writes, draws and prints the evaluation of the trained learner."""
    from metarl_jax.plots import adaptation_curve  # matplotlib takes its time

    options, step = run.config.evaluation, int(state.step)
    key = run.executables.evaluation_key(TRAINING_EVALUATIONS, step)
    if returns is None:
        returns = run.executables.evaluate(state, key, options.split, options.num_tasks)
    evaluation = _evaluation(run, returns, key, step, options.split)
    run_folder.write_json(run.folder.evaluation, evaluation)
    titles = {
        "preset": run.config.name,
        "env": run.config.env.name,
        "adapts_by_gradient": run.config.learner.adapts_by_gradient,
    }
    adaptation_curve(titles | evaluation, run.folder.curve)
    run.reporter.curve(evaluation)
    return evaluation


def _evaluation(run: _Run, returns: np.ndarray, key: Key, step: int, split: str) -> dict[str, Any]:
    """The content of `eval.json`; the controls act in the same tasks as the learner did."""
    num_tasks = len(returns)
    env = run.program.env
    controls = ["random", "oracle"] if has_oracle(env) else ["random"]
    evaluation = {"split": split, "num_tasks": num_tasks, "step": step, **summarize(returns)}
    evaluation["controls"] = {
        name: summarize(run.executables.evaluate_control(name, key, split, num_tasks))
        for name in controls
    }
    if env.note:
        evaluation["note"] = env.note
    return run_folder.finite(evaluation)


def _interrupted(run: _Run, signal_name: str, step: int, saved: int | None) -> str:
    where = f"step {saved}" if saved is not None else f"seed {run.config.seed}"
    return (
        f"stopped by {signal_name} after step {step} of {run.config.num_meta_steps}; to go on from "
        f"{where}: metarl resume {run.folder.path}"
    )


def _diverged(run: _Run, skipped_in_row: int, step: int, saved: int | None) -> str:
    kept = (
        f"the last good checkpoint, of step {saved}, is kept (metarl eval {run.folder.path})"
        if saved is not None
        else "there is no good checkpoint"
    )
    return (
        f"training diverged: the last {skipped_in_row} updates up to step {step} were not finite "
        f"and were skipped (max_skipped={run.config.max_skipped}); {kept}. Train anew, for example "
        "with smaller step sizes"
    )
