"""`metarl search`: the options."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.compilation_cache import keep_programs
from metarl_jax.cli.options import parse
from metarl_jax.cli.run_options import RunOptions, folder_name, read_run
from metarl_jax.cli.train import RUNS
from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import local_path
from metarl_jax.core.validation import bounded, check_fields
from metarl_jax.searches.folder import Pruner, Sampler, Search, is_search, open_existing
from metarl_jax.searches.launch import Launcher, check_launcher, launch, parse_job_options
from metarl_jax.searches.space import parse_assignments
from metarl_jax.searches.storage import find_folder

HELP = """Search for the hyperparameters with the best held-out score, with Optuna.

  {prog} --space learner.inner-lr=1e-3..1:log --space outer.clip-eps=0.1..0.3 --trials 50
  {prog} --space learner.hidden-size=64,128,256 --study sqlite:///search.db
  metarl search runs/NAME-search --status
  metarl search runs/NAME-search --trials 100

A range is LOW..HIGH, LOW..HIGH:log, or VALUE,VALUE,…. Every flag of `metarl train` sets what the
trials have in common. Float fields are trained side by side, a batch of trials in one program;
each combination of other fields (sizes, words) in a batch is a program of its own.

Start the same command, or `metarl search STUDY`, any number of times: all work on one search. A
worker that is stopped or killed loses nothing: another one, or the next, takes over its batch
from the last checkpoint. `--launcher local --workers 2`, or `slurm`, starts them as jobs.

The score is the one by which checkpoints are chosen (evaluation.select-by). The folder holds
search.json, the journal of the trials, and batches/, each the folder of a sweep."""


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """Who works."""

    launcher: Launcher = "none"
    """Where workers run: `none` for this process, `local` for processes of this machine, `slurm` for jobs of a cluster
    (both by submitit, an extra)."""
    workers: int = bounded(1, at_least=1)
    """Number of workers that `launcher` starts."""
    job: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE")
    ] = ()
    """Parameter of these jobs, of submitit.AutoExecutor: timeout_min=600, slurm_partition=gpu, gpus_per_node=1. Repeat
    it for more."""


@dataclasses.dataclass(frozen=True)
class SearchOptions(JobOptions, RunOptions):
    """Options of `metarl search PRESET`."""

    space: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=RANGE")
    ] = ()
    """A field and its range, as FIELD=LOW..HIGH, FIELD=LOW..HIGH:log or FIELD=VALUE,VALUE. Repeat it for more
    fields."""
    trials: int = bounded(20, at_least=1)
    """Number of trials, of all workers together."""
    study: Annotated[str, tyro.conf.arg(metavar="DIR|URL")] = ""
    """Folder of the search, with a journal of the trials, or the URL of a database that holds them; when not given,
    runs/NAME-search."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the search where `study` is a URL; its name is that of the study. When not given, runs/NAME-search."""
    batch: int = bounded(10, at_least=1)
    """Number of trials that a worker asks for at once, and trains side by side."""
    seeds: int = bounded(1, at_least=1)
    """Number of seeds per trial, starting at `seed`; scores are averaged over them."""
    group_size: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of members that a device trains side by side, as in `metarl sweep`."""
    sampler: Sampler = "tpe"
    """What proposes values: the tree-structured Parzen estimator, or chance."""
    pruner: Pruner = "none"
    """What ends trials early by their held-out scores so far. A batch ends when all of its trials have, so use small
    batches with it."""


@dataclasses.dataclass(frozen=True)
class StudyOptions(JobOptions):
    """Options of `metarl search STUDY`."""

    trials: int = bounded(1, at_least=1)
    """Number of trials, of all workers together."""
    status: bool = False
    """Only show the trials, the importance of the fields, and how to train the best again."""
    json: bool = False
    """Show them as JSON."""


def main(args: list[str]) -> int:
    """`metarl search PRESET …`, `metarl search LEARNER --env ENV …`, `metarl search STUDY …`."""
    if args and not args[0].startswith("-") and _is_study(args):
        return _existing(args[0], args[1:])
    options, config = read_run(SearchOptions, "search", args, HELP)
    name = f"{folder_name(config)}-search"
    storage = options.study if "://" in options.study else ""
    named = None if storage or not options.study else local_path(options.study, "study")
    if named is not None and options.run_dir is not None:
        raise UserError(
            f"run_dir={str(options.run_dir)!r} goes with a study that is a URL, and study={options.study!r} is a "
            "folder: give one of the two"
        )
    run_dir = named or options.run_dir or RUNS / name
    wanted = Search(
        config,
        parse_assignments(options.space),
        num_trials=options.trials,
        batch_size=options.batch,
        num_seeds=options.seeds,
        group_size=options.group_size,
        sampler=options.sampler,
        pruner=options.pruner,
        storage=storage,
    )
    wanted.validate()
    parameters = _job_parameters(options)
    start_backend(config.runtime.platform)
    keep_programs(config.runtime.compilation_cache)

    from metarl_jax.searches.search import prepare, start

    if parameters is None:
        start(wanted, run_dir)
    else:
        _launch(prepare(wanted, run_dir).folder.path, options, parameters)
    return 0


def _job_parameters(options: JobOptions) -> dict[str, Any] | None:
    """Checks the options of jobs; returns their parameters, None for no jobs."""
    if options.launcher == "none":
        for name in ("workers", "job"):
            if getattr(options, name) != getattr(JobOptions(), name):
                raise UserError(
                    f"{name}={getattr(options, name)!r} has no effect with launcher='none': choose launcher='local' or "
                    "'slurm'"
                )
        return None
    check_launcher(options.launcher)
    return parse_job_options(options.job)


def _launch(run_dir: Path, options: JobOptions, parameters: dict[str, Any]) -> None:
    from metarl_jax.runs.reporter import Reporter

    launch(run_dir, options.launcher, options.workers, parameters, Reporter())


def _is_study(args: Sequence[str]) -> bool:
    """Whether the first argument names an existing search, or must do so to make sense."""
    is_named = "://" in args[0] or is_search(Path(args[0]).expanduser())
    return is_named or bool({"--status", "--json"} & set(args))


def _existing(study: str, args: Sequence[str]) -> int:
    """Shows an existing search, or works on it."""
    run_dir = find_folder(study) if "://" in study else local_path(study, "study")
    folder, found = open_existing(run_dir)
    prog = f"metarl search {study}"
    default = StudyOptions(trials=found.num_trials)
    options = parse(
        StudyOptions,
        args,
        prog=prog,
        description=HELP.format(prog="metarl search PRESET"),
        default=default,
    )
    check_fields(options)
    parameters = _job_parameters(options)
    start_backend(found.config.runtime.platform)
    keep_programs(found.config.runtime.compilation_cache)
    if not (options.status or options.json):
        from metarl_jax.searches.search import reopen, resume_search

        if parameters is None:
            resume_search(run_dir, num_trials=options.trials)
        else:
            _launch(reopen(run_dir, options.trials).folder.path, options, parameters)
        return 0

    from metarl_jax.runs.reporter import Reporter
    from metarl_jax.searches.status import results, results_table
    from metarl_jax.searches.study import Study

    shown = results(Study(folder, found))
    if options.json:
        print(json.dumps(shown, indent=2))
        return 0
    reporter = Reporter()
    reporter.table(results_table(shown))
    for line in shown["remarks"]:
        reporter.say(line)
    return 0
