"""Workers of a search as jobs of a cluster: `metarl search … --launcher slurm --workers N`, by submitit."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metarl_jax.core.errors import UserError
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.stopping import Interrupted, StopNow, StopRequest

if TYPE_CHECKING:
    import submitit

Launcher = Literal["none", "local", "slurm"]

JOBS = "jobs"
"""Folder of the logs of jobs, in that of the search."""

DEFAULTS = {"timeout_min": 24 * 60}
"""Parameters of jobs; without a time, submitit gives a job minutes."""

SECONDS_BETWEEN_LOOKS = 1.0
"""How often it is looked whether the jobs of a local launcher have ended."""


def check_launcher(launcher: Launcher) -> None:
    """Checks, before anything is made, that jobs can be started.

    Raises:
      UserError: with the command that installs submitit if it cannot be imported, or without the commands of SLURM.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--launcher needs the library submitit, which cannot be imported ({error}): install it with "
            "pip install 'metarl_jax[slurm]'"
        ) from error
    if launcher == "slurm" and shutil.which("srun") is None:
        raise UserError(
            "launcher='slurm' needs the command srun, which is not here: start the search on a login node of the "
            "cluster, or choose launcher='local'"
        )


def parse_job_options(texts: Sequence[str]) -> dict[str, Any]:
    """Parses `NAME=VALUE` into parameters of submitit; raises `UserError` for anything else."""
    parameters: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise UserError(
                f"job={text!r} must be NAME=VALUE, such as timeout_min=600 or slurm_partition=gpu"
            )
        parameters[name] = int(value) if value.isdecimal() else value
    return parameters


def launch(
    run_dir: Path,
    launcher: Launcher,
    num_workers: int,
    parameters: Mapping[str, Any],
    reporter: Reporter,
) -> None:
    """Starts workers of an existing search as jobs. Waits for those of the local launcher; jobs of a cluster go on
    without this process.

    A worker that is killed loses nothing: another one takes over its trials, and more may be launched at any time. At
    the end of its time, or when it is preempted, submitit puts it into the queue again.

    Args:
      run_dir: the folder of the search; all jobs must see it. Their logs are in `jobs/` below it.
      launcher: `local` for processes of this machine, `slurm` for jobs of a cluster.
      num_workers: number of jobs.
      parameters: of `submitit.AutoExecutor.update_parameters`, such as `timeout_min` and `slurm_partition`.
      reporter: for messages.

    Raises:
      UserError: if a parameter is unknown, the cluster's commands are missing, or a local worker has failed.
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP; local workers are stopped then.
    """
    run_dir = run_dir.absolute()
    jobs = _submit(run_dir, launcher, num_workers, DEFAULTS | dict(parameters))
    names = ", ".join(job.job_id for job in jobs)
    reporter.say(f"{num_workers} worker(s) of {run_dir} started as jobs {names}")
    reporter.say(f"logs: {run_dir / JOBS}; trials: metarl search {run_dir} --status")
    if launcher == "local":
        _wait(jobs, run_dir)


def _submit(
    run_dir: Path, launcher: Launcher, num_workers: int, parameters: Mapping[str, Any]
) -> "list[submitit.Job[int]]":
    check_launcher(launcher)
    import submitit

    try:
        executor = submitit.AutoExecutor(folder=str(run_dir / JOBS), cluster=launcher)
        executor.update_parameters(name="metarl-search", **parameters)
        with executor.batch():
            return [executor.submit(Worker(str(run_dir))) for _ in range(num_workers)]
    except (RuntimeError, NameError, TypeError, ValueError, OSError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"launcher={launcher!r} with {dict(parameters)} cannot work ({line}): choose another launcher, or "
            "parameters of submitit.AutoExecutor.update_parameters"
        ) from error


def _wait(jobs: "Sequence[submitit.Job[int]]", run_dir: Path) -> None:
    """Waits until all local jobs have ended."""
    with StopRequest() as stop:
        try:
            with stop.at_once():
                while not all(job.done() for job in jobs):
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except StopNow:
            for job in jobs:
                job.cancel()
            raise Interrupted(
                f"stopped by {stop.name}, and so are the workers; to go on with the search: metarl search {run_dir}"
            ) from None
    failed = [job for job in jobs if job.exception() is not None or job.result() != 0]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} workers failed: see {failed[0].paths.stderr}; to go on with the search: "
            f"metarl search {run_dir}"
        )


class Worker:
    """One worker, as submitit pickles and calls it."""

    def __init__(self, run_dir: str):
        self.run_dir = run_dir

    def __call__(self) -> int:
        """Works on the search until no trial is left; returns the exit status."""
        command = [sys.executable, "-m", "metarl_jax", "search", self.run_dir]
        return subprocess.run(command, check=False).returncode

    def checkpoint(self) -> Any:
        """Called by submitit before it puts the job into the queue again: it begins as before."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)
