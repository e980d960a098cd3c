"""What the adapters share: finding a library, and states that a scan can carry."""

import importlib
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion


def require(library: str, extra: str) -> ModuleType:
    """Imports an optional library.

    Raises:
      UserError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(
            f"env {extra!r} needs the library {library}, which cannot be imported ({error}): install it with "
            f"pip install 'metarl_jax[{extra}]'"
        ) from error


def check_id(field: str, value: str, known: list[str]) -> None:
    """Raises `UserError` for an environment that a library does not have, with the nearest names."""
    if value not in known:
        hint = suggestion(value, known) or f": choose one of {', '.join(sorted(known)[:12])}, …"
        raise UserError(f"env.{field}={value!r} is unknown to the library{hint}")


def strongly_typed(tree: Any) -> Any:
    """Returns a tree of arrays without weak types, and with keys as plain numbers: a scan's carry keeps its types."""

    def leaf(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.key_data(x)
        return jax.lax.convert_element_type(x, jnp.result_type(x))

    return jax.tree.map(leaf, tree)
