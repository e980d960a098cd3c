"""The settings of JAX under which the library computes, whatever the process has set, and the keys that it makes.

The functions of a program are traced under `SETTINGS`, and the command line runs under them, so that a run gives the
same numbers with `JAX_ENABLE_X64=1` or `JAX_DEFAULT_PRNG_IMPL=rbg` in the environment as without. Nothing is set for
the process.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

KEY_IMPL = "threefry2x32"
"""PRNG implementation of all keys: the only one of JAX whose draws do not depend on the sharding of arrays."""

SETTINGS: dict[str, Any] = {
    "enable_x64": False,
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "default_prng_impl": KEY_IMPL,
    "threefry_partitionable": True,
}
"""Setting to value, each named as its context manager in `jax`. Simulators and users' environments leave dtypes to the
default, and mix ranks."""


@contextmanager
def fixed_settings() -> Iterator[None]:
    """Returns a context manager under which JAX uses `SETTINGS`, on this thread."""
    with ExitStack() as stack:
        for name, value in SETTINGS.items():
            stack.enter_context(getattr(jax, name)(value))
        yield


def under_fixed_settings(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Wraps `function` to be called or traced under `SETTINGS`."""

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with fixed_settings():
            return function(*args, **kwargs)

    return call


def make_key(seed: int) -> jax.Array:
    """Returns the key of a seed, with the implementation `KEY_IMPL`."""
    return jax.random.key(seed, impl=KEY_IMPL)


def as_fixed_key(key: jax.Array) -> jax.Array:
    """`key` itself if it is of the generator `KEY_IMPL`, or else a key of that generator which is drawn from it."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == make_key(0).dtype:
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl=KEY_IMPL)


def changed_settings() -> dict[str, Any]:
    """Returns the flags of `SETTINGS` that the process sets otherwise, with its values."""
    flags = {f"jax_{name}": value for name, value in SETTINGS.items()}
    values = process_settings()
    return {flag: values[flag] for flag, value in flags.items() if values[flag] != value}


def process_settings() -> dict[str, Any]:
    """Returns all flags of JAX with their values outside of any context."""
    with ThreadPoolExecutor(max_workers=1) as executor:  # contexts are those of a thread
        return executor.submit(lambda: dict(jax.config.values)).result()
