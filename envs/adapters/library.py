"""How adapters find the library that they adapt, and an environment in it."""

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion


def require(library: str, extra: str, option: str = "") -> ModuleType:
    """Imports an optional library.

    Args:
      library: the module.
      extra: of this package, which installs it.
      option: the user's choice that needs it; by default, the environment with the name of the extra.

    Raises:
      UserError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(
            f"{option or f'env {extra!r}'} needs the library {library}, which cannot be imported ({error}): install it "
            f"with pip install 'metarl_jax[{extra}]'"
        ) from error


def draw_step_keys(key: jax.Array, num_steps: int) -> jax.Array:
    """Draws a key for each step of an episode, `[T, 2]` uint32. At once: a draw within the scan over steps is slow."""
    return jax.random.bits(key, (num_steps, 2), jnp.uint32)


def step_key(keys: jax.Array, time: jax.Array) -> jax.Array:
    """Returns the key of this step; that of the last one afterwards."""
    return jax.random.wrap_key_data(keys[jnp.minimum(time, len(keys) - 1)])


def check_id(field: str, value: str, known: list[str]) -> None:
    """Raises `UserError` for an environment that a library does not have, with the nearest names."""
    if value not in known:
        hint = suggestion(value, known) or f": choose one of {', '.join(sorted(known)[:12])}, …"
        raise UserError(f"env.{field}={value!r} is unknown to the library{hint}")


@contextlib.contextmanager
def downloads(name: str) -> Iterator[None]:
    """Surrounds the making of an environment, for which a library may fetch data.

    Raises:
      UserError: if the data cannot be had.
    """
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"env.id={name!r} needs data that its library downloads, which failed ({reason}): make it once with a "
            "connection, or choose another environment"
        ) from error
