"""The platform that a program is traced for.

Some computations have a form that only XLA:CPU runs faster. A program knows its platform from the devices of its run
(`metarl_jax.program.build.make_spec`) and traces its parts for it; whoever has two forms asks `is_for_cpu`. Outside of
a program nothing is known of the platform, and the plain form is traced.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Functions = TypeVar("Functions", bound=Any)

ANY = "any"
"""For functions that may run on several platforms."""

# A part of the key under which JAX keeps what it has traced, unlike a variable of this module.
_platform = jax.make_user_context(ANY)


def is_for_cpu() -> bool:
    """Whether what is being traced will run on a CPU alone."""
    return _platform.value == "cpu"


def traced_for(platform: str, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Wraps `function` to be called or traced for a platform: `cpu`, `gpu`, `tpu` or `ANY`."""

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with _platform(platform):
            return function(*args, **kwargs)

    return call


def all_traced_for(platform: str, functions: Functions) -> Functions:
    """Returns a named tuple with its functions traced for a platform, such as a learner."""
    found = {name: f for name, f in functions._asdict().items() if callable(f)}
    return functions._replace(**{name: traced_for(platform, f) for name, f in found.items()})
