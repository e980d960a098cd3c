"""Which part of the parameters adapts: nested dictionaries cut in two by the paths of their arrays.

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
"""How near zero learned step sizes bend away from it: below the first one divided by this."""


def flatten(params: Any) -> FlatParams:
    """Nested dictionaries as one, by path."""
    flat: Any = flatten_dict(params, sep="/")
    return flat


def merge(*parts: FlatParams) -> Any:
    """Nested dictionaries again; later parts replace earlier ones."""
    return unflatten_dict({path: x for part in parts for path, x in part.items()}, sep="/")


def select(params: Any, pattern: str) -> tuple[FlatParams, FlatParams]:
    """The arrays whose path has a match of the regular expression in it, and the others."""
    flat = flatten(params)
    fast = {path: x for path, x in flat.items() if re.search(pattern, path)}
    return fast, {path: x for path, x in flat.items() if path not in fast}


def init_inner_lr(kind: LearnedInnerLR, fast: FlatParams, value: float | Array) -> FlatParams:
    """The meta-parameters of step sizes that are all `value` at first: one for each group of arrays or each number."""
    if kind == "parameter":
        return {path: jnp.full_like(x, value) for path, x in fast.items()}
    first = jnp.asarray(inverse_squareplus(SHARPNESS) / SHARPNESS * value, jnp.float32)
    return {_group(kind, path): first for path in fast}


def step_sizes(kind: LearnedInnerLR, inner_lr: FlatParams, value: float | Array) -> FlatParams:
    """The step sizes that the meta-parameters of `init_inner_lr` with the same `value` stand for.

    Those of a `parameter` are the numbers themselves, and may change their sign (Meta-SGD). Others are above zero: with
    the scale s = value/4 and a number x, s·squareplus(x/s), which is x but near zero. Whole arrays would come to
    *ascend* the inner loss.
    """
    if kind == "parameter":
        return inner_lr
    scale = value / SHARPNESS
    return {group: scale * squareplus(x / scale) for group, x in inner_lr.items()}


def expand_inner_lr(kind: LearnedInnerLR, fast: FlatParams, sizes: FlatParams) -> FlatParams:
    """The step size of each array of the fast part, from those of `step_sizes`."""
    return {path: sizes[_group(kind, path)] for path in fast}


def _group(kind: LearnedInnerLR, path: str) -> str:
    if kind == "scalar":
        return "all"
    return path.rpartition("/")[0] if kind == "layer" else path


def check_pattern(params: Any, pattern: str) -> None:
    """Raises `UserError` where the expression is none, or no path of the parameters (of shapes) matches it."""
    paths = ", ".join(flatten(params))
    try:
        fast, _ = select(params, pattern)
    except re.error as error:
        raise UserError(
            f"learner.adapts={pattern!r} is no regular expression ({error}): choose 'all', 'head', 'context', or "
            f"an expression that is found in some of {paths}"
        ) from error
    if not fast:
        raise UserError(
            f"learner.adapts={pattern!r} matches no parameter: choose 'all', 'head', 'context', or an expression "
            f"that is found in some of {paths}"
        )
