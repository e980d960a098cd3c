"""Loads trained runs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metarl_jax.config import Config, RuntimeConfig, Which, differing, missing
from metarl_jax.core.errors import UserError
from metarl_jax.core.types import TrainState
from metarl_jax.core.writing import sweep_around, to_resume
from metarl_jax.program.build import Program, build
from metarl_jax.program.devices import with_runtime
from metarl_jax.program.policy import Policy
from metarl_jax.runs import checkpoint as checkpointing
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs import user_files
from metarl_jax.runs.checkpoint import Checkpoint, DamagedCheckpointError, saved_steps
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import read_json
from metarl_jax.runs.members import load_member
from metarl_jax.runs.pretrained import is_pretrained
from metarl_jax.runs.reporter import Reporter

Warn = Callable[[str], None]


class Saved(NamedTuple):
    """A trained run, and its state at one of its checkpoints.

    Attributes:
      program: built from its configuration.
      executables: its functions, compiled on first call.
      state: at one of its checkpoints.
      step: the meta-steps of that state.
      last_step: those of its last checkpoint.
      checkpoint: the loaded checkpoint; `last` instead of `best` if none was evaluated.
    """

    program: Program
    executables: Executables
    state: TrainState
    step: int
    last_step: int
    checkpoint: Which


def reopen(
    path: Path, warn: Warn, runtime: RuntimeConfig | None = None
) -> tuple[RunFolder, Config]:
    """Returns the folder of a run, and its configuration for this machine.

    Args:
      path: the folder.
      warn: receives messages about fields that `config.json` lacks, edits in it, and unavailable devices.
      runtime: where to compute; as in training when not given.

    Raises:
      UserError: if there is no run at `path`, or its configuration cannot be read.
    """
    folder, config = run_folder.open_existing(path)
    warn_of_differences(folder.config, warn)
    edited = edited_fields(folder, config)
    if edited:
        warn(f"{folder.config} differs from training: {edited}")
    return folder, with_runtime(config, runtime, warn)


def warn_of_differences(path: Path, warn: Warn, entry: str | None = None) -> None:
    """Warns if a saved configuration, the file at `path` or an entry of it, lacks fields, or if the user's files have
    changed since or no longer exist.
    """
    values = read_json(path, lambda values: values if entry is None else values[entry])
    for remark in user_files.changed(path.parent, values):
        warn(remark)
    if is_pretrained(path):
        return  # what the library ships is as it should be
    lacking = ", ".join(f"{name}={value!r}" for name, value in missing(values).items())
    if lacking:
        warn(f"{path} was written by another version and lacks {lacking}: these defaults are used")


def edited_fields(folder: RunFolder, config: Config) -> str:
    """Describes the fields that affect training and differ from their values in training; empty if none. They are
    compared with the last start that reached a checkpoint (`machines.jsonl`).
    """
    last = max(saved_steps(folder.checkpoints), default=0)
    trained = [start.get("config") for start in folder.starts() if start["step"] < last]
    return differing(trained[-1], config) if trained and trained[-1] else ""


def open_run(folder: RunFolder, config: Config, warn: Warn, which: Which = "best") -> Saved:
    """Opens a run at one of its checkpoints.

    Args:
      folder: of the run.
      config: the configuration of the run; only `runtime` may differ.
      warn: receives messages about damaged checkpoints.
      which: the checkpoint.

    Raises:
      UserError: if there is no undamaged checkpoint, or none of the requested meta-step.
    """
    program = build(config)
    executables = Executables(run_functions(program))
    found = _load(folder, executables, warn, which)
    fell_back = which == "best" and found.progress[0].held_out_return is None
    taken = "last" if fell_back else which
    return Saved(program, executables, found.state, found.step, _steps(folder)[-1], taken)


def _steps(folder: RunFolder) -> list[int]:
    """Returns the meta-steps of the checkpoints of a run, or else of its sweep."""
    sweep = sweep_around(folder.path)
    own = saved_steps(folder.checkpoints)
    return own if own or sweep is None else saved_steps(RunFolder(sweep).checkpoints)


def _load(folder: RunFolder, executables: Executables, warn: Warn, which: Which) -> Checkpoint:
    directory, like, steps = folder.checkpoints, executables.abstract_state, _steps(folder)
    if (which not in steps) if isinstance(which, int) else (which not in ("best", "last")):
        raise UserError(
            f"checkpoint={which!r} does not exist: choose 'best', 'last' or a meta-step of {steps}"
        )

    def on_damage(error: DamagedCheckpointError) -> None:
        warn(f"{error}; another one is used")

    found = None
    if not isinstance(which, int):
        load = checkpointing.load_best if which == "best" else checkpointing.load_latest
        found = load(directory, like, on_damage=on_damage)
    try:
        if isinstance(which, int) and which in saved_steps(directory):
            found = checkpointing.load(directory, which, like)
        found = found or load_member(folder, like, which, on_damage=on_damage)
    except DamagedCheckpointError as error:
        raise UserError(f"{error}: choose another one of {steps}") from error
    if found is None:
        raise UserError(
            f"run_dir={str(folder.path)!r} has no checkpoint that can be read: train it first, "
            f"with `metarl resume {to_resume(folder.path)}`"
        )
    return found


class LoadedRun(NamedTuple):
    """A trained run, ready for use.

    Attributes:
      program: built from its configuration, for this machine.
      state: at one of its checkpoints.
      config: its configuration.
      policy: the learner, for your own control loop.
    """

    program: Program
    state: TrainState
    config: Config
    policy: Policy


def load(
    run_dir: Path | str, checkpoint: Which = "best", runtime: RuntimeConfig | None = None
) -> LoadedRun:
    """Loads a trained run.

    ```python
    run = metarl_jax.load("runs/rl2-bandit-seed0")
    task = run.program.env.sample(jax.random.key(0), "test")
    trial = run.program.trial(run.state, task, jax.random.key(1), num_episodes=1)
    carry = run.policy.init()
    ```

    Args:
      run_dir: the folder of a run.
      checkpoint: the `best` by held-out return, the `last`, or that of a meta-step.
      runtime: where to compute; as in training when not given, as far as available. Raises: UserError: if there is no
        run, or no undamaged checkpoint.
    """
    warn = Reporter().warn
    folder, config = reopen(Path(run_dir), warn, runtime)
    saved = open_run(folder, config, warn, checkpoint)
    policy = saved.program.policy(saved.state)
    return LoadedRun(saved.program, saved.state, config, policy)
