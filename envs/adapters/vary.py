"""Parameters of other libraries' environments that differ from task to task, as in `gravity=5..15 force_mag=-10,10`."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.ranges import Range, parse_range
from metarl_jax.core.registry import suggestion

TIME_LIMITS = ("max_steps_in_episode", "max_timesteps")
"""Parameters that may not differ: `horizon` is the time limit."""


def read_ranges(vary: tuple[str, ...]) -> dict[str, Range]:
    """Returns the range of each parameter by name.

    Args:
      vary: each as NAME=LOW..HIGH, NAME=LOW..HIGH:log, or NAME=A,B,C.

    Raises:
      UserError: for a range that cannot be read.
    """
    return {
        name: parse_range(text, f"env.vary: {name}")
        for name, _, text in (entry.partition("=") for entry in vary)
    }


def sample_values(
    ranges: Mapping[str, Range], key: jax.Array, *, outside: bool
) -> dict[str, jax.Array]:
    """Draws a value of each parameter, `[]` float32; `outside` from the half interval above that of training."""
    keys = jax.random.split(key, len(ranges))
    return {
        name: numbers.sample(k, outside=outside)
        for (name, numbers), k in zip(ranges.items(), keys, strict=True)
    }


def with_values(params: Any, values: Mapping[str, jax.Array]) -> Any:
    """Returns the parameters with other values, rounded where the library has integers or booleans."""

    def like(old: Any, value: jax.Array) -> jax.Array:
        is_float = jnp.issubdtype(jnp.result_type(old), jnp.floating)
        return value if is_float else jnp.round(value).astype(jnp.result_type(old))

    return params.replace(**{name: like(getattr(params, name), x) for name, x in values.items()})


def check_vary(vary: tuple[str, ...], params: Any, what: str) -> None:
    """Checks which parameters are to differ.

    Args:
      vary: as of `read_ranges`.
      params: the library's own values, a dataclass.
      what: the name of the environment, for messages.

    Raises:
      UserError: for a name that is unknown, is no single number, or comes twice, and for a range that cannot be read.
    """
    names = [entry.partition("=")[0] for entry in vary]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"env.vary names {name!r} twice: give it one range")
    known = list(_numbers(params))
    for name in read_ranges(vary):
        if name not in known:
            hint = suggestion(name, known) or ""
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"env.vary: {what} has no numeric parameter {name!r}{hint}; {has}")


def _numbers(params: Any) -> Iterable[str]:
    """The names of parameters that are single numbers and may be traced."""
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        is_number = isinstance(value, (bool, int, float, np.ndarray, jax.Array))
        is_traced = field.metadata.get("pytree_node", True)
        if is_number and np.ndim(value) == 0 and is_traced and field.name not in TIME_LIMITS:
            yield field.name
