"""Settings of the command line before JAX starts its backend; importing the library sets nothing."""

import os

import jax

from metarl_jax.core.errors import UserError
from metarl_jax.core.machine import num_usable_cores


def device_count_is_forced() -> bool:
    """Whether environment variables set the number of CPU devices."""
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    return forced or "JAX_NUM_CPU_DEVICES" in os.environ


def start_backend(platform: str = "auto") -> None:
    """Calls `prepare_backend`, and starts the backend.

    Raises:
      UserError: if JAX finds none of the platforms that the environment asks for.
    """
    prepare_backend(platform)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # jax 0.10 asserts where no platform is left
        raise UserError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')!r} was asked for, but JAX finds no "
            "such device: unset it, or install JAX for it"
        ) from error


def prepare_backend(platform: str = "auto") -> None:
    """Makes every usable core a device, and keeps accelerators off if the CPU is requested. Does nothing if the backend
    already runs, as when a program calls the command line.
    """
    try:
        if not device_count_is_forced():
            jax.config.update("jax_num_cpu_devices", num_usable_cores())
    except RuntimeError:
        return
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
