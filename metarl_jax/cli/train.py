"""`metarl train` and `metarl resume`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl_jax.cli import dry_run
from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.compilation_cache import keep_programs
from metarl_jax.cli.distributed import ALONE, DistributedOptions, detected
from metarl_jax.cli.run_dir import config_of, read_run_dir
from metarl_jax.cli.run_options import RunOptions, folder_name, read_run
from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import bounded
from metarl_jax.runs.budget import Budget
from metarl_jax.runs.callbacks import Callback
from metarl_jax.sweeps import folder
from metarl_jax.sweeps.sweep import Sweep

TRAIN_HELP = """Meta-train, evaluate on held-out tasks, and draw the adaptation curve.

A preset is a whole configuration. A learner takes what suits its kind and the environment:
  metarl train maml-point-robot
  metarl train rl2 --env grid_navi
  metarl train rl2 --env path/to/file.py:MyTasks
  metarl train --from runs/mine --learner.inner-lr 0.2

Every field of the configuration is a flag, given as `--field value` or `--field=value`:
  {prog} --seed 1 --num-meta-steps 100
  {prog} --learner.inner-lr 0.05 --outer.num-epochs 3
  {prog} --run-dir runs/mine --runtime.platform cpu

The run folder holds config.json, metrics.jsonl, TensorBoard events, checkpoints/, eval.json and
the curve. Ctrl-C saves; `metarl resume RUN_DIR` goes on, to the same bits.

`--seeds 5` trains five seeds in one program: a sweep (`metarl sweep --help`) without a grid.

`--dry-run --devices 8 --runtime.platform gpu` shows shapes, memory and the program, without them."""

RESUME_HELP = """Go on from the latest whole checkpoint of a run or a sweep, to the same bits as without
the stop.

  metarl resume runs/maml-point-robot-seed0
  metarl resume runs/maml-point-robot-seed0 --num-meta-steps 600 --runtime.num-devices 1

A run that ended with --max-hours or --num-env-steps goes on with more of them; both count the whole run.

With --num-meta-steps a run becomes longer, or ends earlier. What changes over a run, such as
outer.final-learning-rate and outer.final-entropy-coefficient, then follows the new length: of a run
that had ended, the schedules go back to where they would be in a run of that length.

A run goes on wherever it is opened: devices that it was trained on and that are not here are told,
and those that are here are used. Options that are given are kept in config.json. Where config.json
was edited in what is learned, the run is not gone on with."""

RUNS = Path("runs")
"""Default parent folder of runs."""


@dataclasses.dataclass(frozen=True)
class TrainOptions(dry_run.DryRunOptions, RunOptions):
    """Options of `metarl train`."""

    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """New or empty folder for the run; when not given, runs/NAME-seedN, with -2, -3, … if that exists."""
    seeds: int = bounded(1, at_least=1)
    """Number of seeds, starting at `seed`. Several seeds train in one program, in the folder of a sweep."""
    distributed: DistributedOptions = DistributedOptions()
    """Several processes that train one run together."""

    profile: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for a trace of the second chunk of meta-steps, which TensorBoard and Perfetto open."""
    debug_nans: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """End with the first update that is not finite, take it again one operation at a time, and name the line that gives
    the first nan. For a single run."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Options of `metarl resume`."""

    num_meta_steps: int = bounded(1, at_least=1)
    """Total number of meta-steps, including those already done."""
    max_hours: float | None = bounded(None, above=0)
    """End after this many hours of the whole run, those before included."""
    num_env_steps: int | None = bounded(None, at_least=1)
    """End after this many environment steps of the whole run, those before included."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Devices and blocks."""
    distributed: DistributedOptions = DistributedOptions()
    """Several processes that train one run together."""
    profile: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for a trace of the second chunk of meta-steps, which TensorBoard and Perfetto open."""
    debug_nans: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """End with the first update that is not finite, and name the line that gives the first nan. For a single run."""


def train(args: list[str]) -> int:
    """`metarl train PRESET …`, `metarl train LEARNER --env ENV …`."""
    options, config = read_run(TrainOptions, "train", args, TRAIN_HELP)
    dry_run.check(options)
    if options.dry_run:
        return dry_run.dry_run(config, options)
    name = folder_name(config)
    if options.seeds > 1:
        _check_sweep(options)
        name = f"{name}-seeds{config.seed}-{config.seed + options.seeds - 1}"
        sweep = Sweep(config, num_seeds=options.seeds)
        return run_sweep(sweep, options.run_dir, name, options.profile)
    start_backend(config.runtime.platform, options.distributed)
    keep_programs(config.runtime.compilation_cache)

    from metarl_jax.runs.train import train as train_run

    default = RUNS / f"{name}-seed{config.seed}"
    train_run(
        config,
        options.run_dir or default,
        numbered=options.run_dir is None,
        callbacks=_profiles(options.profile),
        debug_nans=options.debug_nans,
    )
    return 0


def run_sweep(sweep: Sweep, run_dir: Path | None, name: str, profile: Path | None = None) -> int:
    """Trains all members, once their configurations are checked, in `run_dir` or else in `runs/name`."""
    sweep.validate()
    start_backend(sweep.config.runtime.platform)
    keep_programs(sweep.config.runtime.compilation_cache)

    from metarl_jax.sweeps.train import train_sweep

    callbacks = _profiles(profile)
    train_sweep(sweep, run_dir or RUNS / name, numbered=run_dir is None, callbacks=callbacks)
    return 0


def resume(args: list[str]) -> int:
    """`metarl resume RUN_DIR …`."""
    run_dir, options = read_run_dir(
        "resume",
        args,
        RESUME_HELP,
        lambda config: ResumeOptions(
            config.num_meta_steps, config.max_hours, config.num_env_steps, config.runtime
        ),
        _config_of,
    )
    is_sweep = folder.is_sweep(run_dir)
    if is_sweep:
        _check_sweep(options)
    start_backend(options.runtime.platform, ALONE if is_sweep else options.distributed)
    keep_programs(options.runtime.compilation_cache)
    asked: dict[str, Any] = {
        "num_meta_steps": options.num_meta_steps,
        "budget": Budget(options.max_hours, options.num_env_steps),
        "runtime": options.runtime,
        "callbacks": _profiles(options.profile),
    }
    if is_sweep:
        from metarl_jax.sweeps.train import resume_sweep

        resume_sweep(run_dir, **asked)
        return 0

    from metarl_jax.runs.train import resume as resume_run

    resume_run(run_dir, **asked, debug_nans=options.debug_nans)
    return 0


def _check_sweep(options: TrainOptions | ResumeOptions) -> None:
    """Raises `UserError` if a sweep is asked for what a single run alone can do: several processes, or the operation
    that gives the first nan."""
    distributed = options.distributed
    count = detected() if distributed.num_processes is None else distributed.num_processes
    if count > 1:
        raise UserError(
            f"distributed.num-processes={count}: a sweep trains in one process: start only one, with "
            "--distributed.num-processes 1, or train each seed as a run of its own"
        )
    if options.debug_nans:
        raise UserError("debug_nans is for a single run: train the member with the nan alone")


def _profiles(path: Path | None) -> list[Callback]:
    """Returns the callback that traces to this folder; none if there is no folder."""
    if path is None:
        return []

    from metarl_jax.runs.profiling import Profile

    return [Profile(path, lambda message: print(message, file=sys.stderr))]


def _config_of(path: Path) -> Config:
    """Returns the configuration of a run, or the common configuration of a sweep."""
    return folder.open_existing(path)[1].config if folder.is_sweep(path) else config_of(path)
