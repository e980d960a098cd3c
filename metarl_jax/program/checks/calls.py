"""Traces a user's methods, explains their errors, and compares them with a second trace."""

import contextlib
import dataclasses
import functools
import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import errors
from jax.extend.core import jaxpr_as_fun

from metarl_jax.core.describe import describe
from metarl_jax.core.errors import UserError

LIBRARIES = {"jax", "jaxlib", "flax", "numpy", "optax", "chex", "brax", "mujoco", "metarl_jax"}
"""Top-level modules in which errors surface but are rarely caused."""
LONGEST = 300
"""Characters of an error that a message quotes."""
KEPT = (
    "what changes from step to step belongs in EnvState.simulator or in the inner state, and what differs between "
    "tasks in the task"
)

TRACED = {
    errors.TracerBoolConversionError: "Python's `if`, `while`, `and`, `or` and `not` cannot branch on a value that is "
    "known only when the program runs: use jnp.where, jnp.logical_and or jax.lax.cond",
    errors.TracerArrayConversionError: "a NumPy function cannot read a value that is known only when the program runs: "
    "use that of jax.numpy",
    errors.TracerIntegerConversionError: "a value that is known only when the program runs cannot index a list, or be "
    "a size: index a jax.numpy array",
    errors.NonConcreteBooleanIndexError: "the size of x[mask] is known only when the program runs: use "
    "jnp.where(mask, x, 0)",
    errors.ConcretizationTypeError: "float(), int(), bool(), x.item() and sizes need a value that is known only when "
    "the program runs: leave it an array",
    errors.UnexpectedTracerError: "a value of one trace was kept, in an attribute or a list, and used in another: "
    "return it instead",
    dataclasses.FrozenInstanceError: f"a method cannot change `self`: {KEPT}",
}
"""Errors of JAX and of dataclasses, each with its explanation; the first that matches is used."""
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
}
"""XLA options for programs that run once: they compile in a tenth of the time, and are slow. Without the emitters, an
environment of Brax takes 6 s instead of 9."""


class Traced(NamedTuple):
    """The result of tracing a function.

    Attributes:
      returned: its return value, with arrays as `jax.ShapeDtypeStruct` and everything else unchanged.
      read: the result of the reader, as `jax.ShapeDtypeStruct`.
      program: the operations, as text.
      constants: the arrays in it.
      call: the traced function with the reader, of the same arguments; it runs none of the user's code again.
    """

    returned: Any
    read: Any
    program: str
    constants: list[np.ndarray]
    call: Callable[..., Any]

    def is_same(self, other: "Traced") -> bool:
        """Whether both are the same program with the same constants."""
        same = zip(self.constants, other.constants, strict=False)
        return self.program == other.program and all(
            np.array_equal(x, y, equal_nan=x.dtype.kind in "fc") for x, y in same
        )


def trace(
    where: str, function: Callable[..., Any], *args: Any, read: Callable[[Any], Any] | None = None
) -> Traced:
    """Traces `function(*args)`; computes nothing.

    Args:
      where: class and method, for messages.
      args: arrays, or `jax.ShapeDtypeStruct`.
      read: converts the return value to arrays, or raises `UserError`; optional.

    Raises:
      UserError: for whatever the function raises, with the line of the user's code.
    """
    returned: list[Any] = []

    def call(*args: Any) -> Any:
        with explained(where):
            answer = function(*args)
        returned.append(jax.tree.map(_abstract, answer))
        return () if read is None else read(answer)

    jaxpr, shapes = jax.make_jaxpr(call, return_shape=True)(*args)
    constants = [np.asarray(x) for x in jaxpr.consts if _is_plain(x)]
    program = re.sub(r"0x[0-9a-f]+", "", str(jaxpr.jaxpr))

    def call_again(*args: Any) -> Any:
        answer = jaxpr_as_fun(jaxpr)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), answer)

    return Traced(returned[-1], shapes, program, constants, call_again)


def _is_plain(x: Any) -> bool:
    return isinstance(x, np.ndarray) or (
        isinstance(x, jax.Array) and not jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
    )


def _abstract(leaf: Any) -> Any:
    """Returns an array as `jax.ShapeDtypeStruct`; anything else unchanged."""
    if not isinstance(leaf, jax.Array):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Converts exceptions of its block to `UserError`, with the line of the user's code and a remedy, if one is
    known."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        known = next((remedy for kind, remedy in TRACED.items() if isinstance(error, kind)), None)
        what = known or f"{type(error).__name__}: {_first_lines(error)}"
        raise UserError(f"{where} cannot run{_line_of(error)}: {what}") from error


def _first_lines(error: Exception) -> str:
    text = " ".join(str(error).partition("\n\n")[0].split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _line_of(error: Exception) -> str:
    """Returns the place in the user's code that an error comes from, as ` (FILE:LINE, CODE)`."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "").split(".")[0]
        file = frame.f_code.co_filename
        if module not in LIBRARIES and not file.startswith("<") and module != "contextlib":
            code = linecache.getline(file, line).strip()
            found = f" ({file}:{line}, `{code}`)" if code else f" ({file}:{line})"
    return found


def run_once(where: str, function: Callable[..., Any], *args: Any) -> Any:
    """Runs `function(*args)` with options for fast compilation, and returns its results on the host."""
    with explained(where):
        return jax.device_get(jax.jit(function, compiler_options=QUICK)(*args))


def check_defined(part: Any, base: type, name: str, example: str) -> None:
    """Raises `UserError` if the class of `part` does not override a required method of `base`."""
    cls = type(part)
    if getattr(cls, name) is getattr(base, name):
        raise UserError(f"{cls.__name__} must define {name}: def {example}")


def check_signature(
    where: str, function: Any, calls: Sequence[Sequence[str]], example: str
) -> None:
    """Raises `UserError` where a function cannot be called with these arguments, by position."""
    if not callable(function):
        raise UserError(f"{where} is {describe(function)}, expected a function: def {example}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # callables written in C have none
        return
    for arguments in calls:
        try:
            signature.bind(*arguments)
        except TypeError as error:
            raise UserError(
                f"{where}{signature} cannot be called with ({', '.join(arguments)}): define it as def {example}"
            ) from error


@contextlib.contextmanager
def unchanged(part: Any) -> Iterator[None]:
    """Raises `UserError` if methods called in its block have changed the attributes of `part`."""
    before = _attributes(part)
    yield
    after = _attributes(part)
    for name, value in after.items():
        if name not in before or before[name] != value:
            raise UserError(f"a method of {type(part).__name__} changes self.{name}: {KEPT}")


def _attributes(part: Any) -> dict[str, str]:
    """Returns the attributes of an object as text, except values of `functools.cached_property`."""
    cached = {
        name
        for base in type(part).__mro__
        for name, value in base.__dict__.items()
        if isinstance(value, functools.cached_property)
    }
    return {name: repr(value) for name, value in vars(part).items() if name not in cached}


def mismatch(expected: Any, found: Any) -> str | None:
    """Describes the first difference of structure, shape or dtype between two pytrees of arrays; None if none."""
    structures = jax.tree.structure(expected), jax.tree.structure(found)
    leaves = [jax.tree_util.tree_leaves_with_path(tree) for tree in (expected, found)]
    if structures[0] != structures[1]:
        names = [{jax.tree_util.keystr(path) for path, _ in tree} for tree in leaves]
        lost, gained = sorted(names[0] - names[1]), sorted(names[1] - names[0])
        if not lost and not gained:
            return f"has the structure {structures[1]}, expected {structures[0]}"
        lacks = [f"lacks {', '.join(lost[:3])}"] if lost else []
        has = [f"has {', '.join(gained[:3])} in addition"] if gained else []
        return " and ".join(lacks + has)
    for (path, x), (_, y) in zip(*leaves, strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            name = jax.tree_util.keystr(path)
            wanted = describe(jax.ShapeDtypeStruct(x.shape, x.dtype))
            return f"has {f'in {name} ' if name else ''}{describe(y)}, expected {wanted}"
    return None


def filled(tree: Any) -> Any:
    """Returns the tree with arrays, of no particular content, instead of `jax.ShapeDtypeStruct`; while tracing."""

    def fill(x: Any) -> Any:
        is_abstract = isinstance(x, jax.ShapeDtypeStruct)
        return jax.lax.empty(x.shape, x.dtype) if is_abstract else x

    return jax.tree.map(fill, tree)
