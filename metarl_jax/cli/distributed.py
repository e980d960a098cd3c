"""The flags `--distributed.…`: several processes, on one or more hosts, that compute one run together."""

import dataclasses
import os
import sys
from typing import Annotated

import jax
import tyro
from jax._src.clusters import ClusterEnv

from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import bounded
from metarl_jax.runs.stopping import interruptible

HEARTBEAT_SECONDS = 30
"""After so many seconds without a sign of life a process counts as dead, and JAX ends the others."""
CONNECTION_SECONDS = 300
"""For how long processes wait for each other at the start."""
SHUTDOWN_SECONDS = 20
"""For how long a process that exits waits for the others to exit."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclasses.dataclass(frozen=True)
class DistributedOptions:
    """Several processes that compute one run together. Without these flags, as the cluster tells (SLURM, TPU pods, Open
    MPI, Kubernetes); `--distributed.num-processes 1` keeps a process alone."""

    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Address of the first process, on which it listens, the same for all."""
    num_processes: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of processes."""
    process_id: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=0)
    """Number of this process, from 0."""


ALONE = DistributedOptions(num_processes=1)


def check(options: DistributedOptions) -> None:
    """Raises `UserError` for flags that do not fit together."""
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    if options.num_processes == 1 and options.coordinator is None:
        return
    missing = [name.replace("_", "-") for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise UserError(
            f"distributed.{missing[0]} is missing: give coordinator, num-processes and process-id, or none of them "
            "where the cluster tells them"
        )
    if missing:
        return
    if (options.process_id or 0) >= (options.num_processes or 1):
        raise UserError(
            f"distributed.process-id={options.process_id} must be below num-processes={options.num_processes}: the "
            "first is 0"
        )
    host, colon, port = str(options.coordinator).rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(
            f"distributed.coordinator={options.coordinator!r} must be HOST:PORT, as in 10.0.0.1:8476"
        )


def detected() -> int:
    """Returns the number of processes that the cluster has started for this run; 1 if it tells of none. JAX has the
    answer, but no public function for it.

    Raises:
      UserError: if there is a cluster that cannot be asked.
    """
    try:
        for cluster in ClusterEnv._cluster_types:
            if not cluster.opt_in_only_method and cluster.is_env_present():
                return cluster.get_process_count()
    except Exception as error:  # Of any type: that of a cluster's library.
        raise UserError(
            f"the cluster does not say how many processes there are ({_first_line(error)}): give "
            "--distributed.num-processes 1 for a single one, or coordinator, num-processes and process-id"
        ) from error
    return 1


def join(options: DistributedOptions) -> int:
    """Connects this process with the others; does nothing if it is alone. Must come before the backend starts.

    Returns:
      The number of processes that are known to share the cores of this host.

    Raises:
      UserError: for flags that do not fit, or if the others cannot be reached.
    """
    check(options)
    if jax.distributed.is_initialized():
        return 1
    count = detected() if options.num_processes is None else options.num_processes
    if count == 1:
        return 1
    # Its handler of SIGTERM would replace that of the command line. Processes agree to stop by themselves.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        interruptible(
            lambda: jax.distributed.initialize(
                options.coordinator,
                options.num_processes,
                options.process_id,
                initialization_timeout=CONNECTION_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
        )
    except (RuntimeError, ValueError) as error:  # A JaxRuntimeError is a RuntimeError.
        raise UserError(
            f"the processes of distributed.coordinator={options.coordinator!r} did not meet ({_first_line(error)}): "
            "start all of them, with the same coordinator and num-processes and each its own process-id"
        ) from error
    _send_noise_to_stderr()
    is_local = (options.coordinator or "").startswith(LOCAL_HOSTS)
    return count if is_local else 1


def _send_noise_to_stderr() -> None:
    """Keeps standard output for results: what libraries in C++ print there, as Gloo does, goes to standard error."""
    if sys.stdout is not sys.__stdout__:
        return
    sys.stdout.flush()
    kept = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = open(kept, "w", encoding=sys.stdout.encoding, errors="replace")  # noqa: SIM115


def check_devices() -> None:
    """Raises `UserError`, on all processes, unless all have the same number of devices."""
    counts = [0] * jax.process_count()
    for device in jax.devices():
        counts[device.process_index] += 1
    if len(set(counts)) > 1:
        raise UserError(
            f"the processes have {counts} devices: give all the same number (JAX_NUM_CPU_DEVICES on a CPU, "
            "JAX_LOCAL_DEVICE_IDS on a GPU)"
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
