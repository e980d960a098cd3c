"""Splits parameters, as nested dictionaries, into a fast part that adapts and the rest, by the paths of arrays.

The fast part and the rest are flat dictionaries from paths such as `params/MLP_0/Dense_0/kernel` to arrays.
"""

import re
from typing import Any, Literal

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from metarl_jax.core.errors import UserError
from metarl_jax.core.types import Array
from metarl_jax.networks.layers import inverse_squareplus, squareplus

FlatParams = dict[str, Array]
LearnedInnerLR = Literal["none", "scalar", "layer", "array", "parameter"]

SHARPNESS = 4.0
"""Learned step sizes bend away from zero below their initial value divided by this number."""


def flatten(params: Any) -> FlatParams:
    """Flattens nested dictionaries into one, keyed by path."""
    flat: Any = flatten_dict(params, sep="/")
    return flat


def merge(*parts: FlatParams) -> Any:
    """Merges flat dictionaries into nested ones; later parts replace earlier ones."""
    return unflatten_dict({path: x for part in parts for path, x in part.items()}, sep="/")


def select(params: Any, pattern: str) -> tuple[FlatParams, FlatParams]:
    """Splits arrays into those whose path contains a match of the regular expression, and the others."""
    flat = flatten(params)
    fast = {path: x for path, x in flat.items() if re.search(pattern, path)}
    return fast, {path: x for path, x in flat.items() if path not in fast}


def init_inner_lr(kind: LearnedInnerLR, fast: FlatParams, value: float | Array) -> FlatParams:
    """Returns meta-parameters for step sizes that all start at `value`: one for each group of arrays, or for each
    number."""
    if kind == "parameter":
        return {path: jnp.full_like(x, value) for path, x in fast.items()}
    first = jnp.asarray(inverse_squareplus(SHARPNESS) / SHARPNESS * value, jnp.float32)
    return {_group(kind, path): first for path in fast}


def step_sizes(kind: LearnedInnerLR, inner_lr: FlatParams, value: float | Array) -> FlatParams:
    """Returns the step sizes that meta-parameters of `init_inner_lr` with the same `value` represent.

    For `parameter` they are the numbers themselves, and may change sign (Meta-SGD). All others stay positive, because
    whole arrays would otherwise come to *ascend* the inner loss: with scale s = value/4 and number x, the step size is
    s·squareplus(x/s), which is close to x except near zero.
    """
    if kind == "parameter":
        return inner_lr
    scale = value / SHARPNESS
    return {group: scale * squareplus(x / scale) for group, x in inner_lr.items()}


def expand_inner_lr(kind: LearnedInnerLR, fast: FlatParams, sizes: FlatParams) -> FlatParams:
    """Returns the step size of each array of the fast part, from those of `step_sizes`."""
    return {path: sizes[_group(kind, path)] for path in fast}


def _group(kind: LearnedInnerLR, path: str) -> str:
    if kind == "scalar":
        return "all"
    return path.rpartition("/")[0] if kind == "layer" else path


def check_pattern(params: Any, pattern: str) -> None:
    """Raises `UserError` if the regular expression is invalid, or matches no path of the parameters (a tree of
    shapes)."""
    paths = ", ".join(flatten(params))
    try:
        fast, _ = select(params, pattern)
    except re.error as error:
        raise UserError(
            f"learner.adapts={pattern!r} is not a regular expression ({error}): choose 'all', 'head', 'context', or "
            f"an expression that matches some of {paths}"
        ) from error
    if not fast:
        raise UserError(
            f"learner.adapts={pattern!r} matches no parameter: choose 'all', 'head', 'context', or an expression "
            f"that matches some of {paths}"
        )
