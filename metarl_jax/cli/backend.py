"""Settings of the command line before JAX starts its backend; importing the library sets nothing."""

import os

import jax

from metarl_jax.cli.distributed import ALONE, DistributedOptions, check_devices, join
from metarl_jax.core.errors import UserError
from metarl_jax.core.machine import num_usable_cores


def device_count_is_forced() -> bool:
    """Whether environment variables set the number of CPU devices."""
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    return forced or "JAX_NUM_CPU_DEVICES" in os.environ


def start_backend(platform: str = "auto", distributed: DistributedOptions = ALONE) -> None:
    """Connects with other processes, calls `prepare_backend`, and starts the backend.

    Raises:
      UserError: if JAX finds none of the platforms that the environment asks for, or not the other processes.
    """
    prepare_backend(platform, join(distributed))
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # jax 0.10 asserts where no platform is left
        raise UserError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')!r} was asked for, but JAX finds no "
            "such device: unset it, or install JAX for it"
        ) from error
    check_devices()


def prepare_backend(platform: str = "auto", num_sharing: int = 1) -> None:
    """Makes every usable core a device, and keeps accelerators off if the CPU is requested. Does nothing if the backend
    already runs, as when a program calls the command line.

    Args:
      platform: as in `runtime.platform`.
      num_sharing: the number of processes that share the cores.
    """
    try:
        if not device_count_is_forced():
            jax.config.update("jax_num_cpu_devices", max(1, num_usable_cores() // num_sharing))
    except RuntimeError:
        return
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
