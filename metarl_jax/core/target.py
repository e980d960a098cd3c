"""What a program is traced for: a platform, and choices of how to compute there.

Some computations have a form that only XLA:CPU runs faster, and some choices of `runtime` are made deep inside a
program. A program knows its target (`metarl_jax.program.build.make_spec`) and traces its functions for it; whoever has
several forms asks here. Outside of a program nothing is known, and the plain form is traced.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Functions = TypeVar("Functions", bound=Any)

ANY = "any"
"""For functions that may run on several platforms."""


BFLOAT16_PRODUCTS = "BF16_BF16_F32"
"""`Target.precision` of products that round their factors to bfloat16 and add up in float32, as do their derivatives.
XLA:CPU knows only one way to multiply float32 numbers, and does that."""


class Target(NamedTuple):
    """Where functions will run, and how they compute there.

    Attributes:
      platform: `cpu`, `gpu`, `tpu` or `ANY`.
      unroll: environment steps in one iteration of the scan that simulates (`runtime.unroll`).
      precision: of matrix products and convolutions that ask for none themselves, as JAX names it.
    """

    platform: str = ANY
    unroll: int = 1
    precision: str = "highest"


# A part of the key under which JAX keeps what it has traced, unlike a variable of this module.
_target = jax.make_user_context(Target())


def is_for_cpu() -> bool:
    """Whether what is being traced will run on a CPU alone."""
    return _target.value.platform == "cpu"


def unrolled_steps() -> int:
    """Returns `Target.unroll` of what is being traced."""
    return _target.value.unroll


def traced_for(
    target: Target, function: Callable[Arguments, Result]
) -> Callable[Arguments, Result]:
    """Wraps `function` to be called or traced for a target."""

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with _target(target), jax.default_matmul_precision(target.precision):
            return function(*args, **kwargs)

    return call


def all_traced_for(target: Target, functions: Functions) -> Functions:
    """Returns a named tuple with its functions traced for a target, such as a learner."""
    found = {name: f for name, f in functions._asdict().items() if callable(f)}
    return functions._replace(**{name: traced_for(target, f) for name, f in found.items()})
