"""Several processes that compute one run together (`jax.distributed`).

All run the same Python program on the same configuration and, as a compiled call needs all of them, must make the same
calls. What only one of them knows (a signal, a clock, a folder's free name) they therefore exchange before they act on
it. The first process alone writes files and shows progress; Orbax saves from all. With a single process, nothing here
does anything.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from metarl_jax.core.errors import UserError
from metarl_jax.core.types import Array
from metarl_jax.runs.stopping import interruptible

Result = TypeVar("Result")

MESSAGE_BYTES = 8192
"""Size of a message of `exchange`. All have one size, so that one program is compiled."""


class LostProcessError(Exception):
    """Another process of the run has ended or cannot be reached. Nothing can be computed or saved any more."""

    def __init__(self, error: Exception):
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        super().__init__(
            f"process {jax.process_index()} of {jax.process_count()} cannot go on: another one has ended or cannot be "
            f"reached ({reason}). Once all have ended, `metarl resume RUN_DIR` goes on from the last checkpoint"
        )


def are_several() -> bool:
    """Whether this process computes together with others. Starts no backend."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process writes files and shows progress: the first one, or the only one."""
    return not are_several() or jax.process_index() == 0


def exchange(value: Any) -> list[Any]:
    """Returns the values of all processes, in their order. All must call it.

    Args:
      value: of JSON, at most `MESSAGE_BYTES` long.

    Raises:
      LostProcessError: if a process has ended.
    """
    if not are_several():
        return [value]
    text = json.dumps(value).encode()
    if len(text) > MESSAGE_BYTES:
        raise ValueError(f"a message of {len(text)} bytes is longer than {MESSAGE_BYTES}")
    message = np.frombuffer(text.ljust(MESSAGE_BYTES), np.uint8)
    gathered = together(lambda: multihost_utils.process_allgather(message))
    return [json.loads(row.tobytes()) for row in gathered]


def together(call: Callable[[], Result]) -> Result:
    """Makes a call in which all processes meet, while this thread attends to signals.

    Raises:
      LostProcessError: if a process has ended.
    """
    try:
        return interruptible(call)
    except jax.errors.JaxRuntimeError as error:
        raise LostProcessError(error) from error


def any_of(flag: bool) -> bool:
    """Whether the flag holds on any process."""
    return any(exchange(bool(flag)))


def first_says(value: Any) -> Any:
    """Returns the first process's value (of JSON), on all."""
    return exchange(value)[0]


def first_does(action: Callable[[], Any]) -> Any:
    """Calls `action` on the first process while the others wait; returns its result (of JSON), on all.

    Raises:
      UserError: on all processes, if it is raised on the first.
    """
    if not are_several():
        return action()
    result = error = None
    exchange(None)  # Now no other reads what the action may change.
    if is_first():
        try:
            result = action()
        except (UserError, OSError) as caught:
            error = caught
    told = first_says([result, None if error is None else str(error)[: MESSAGE_BYTES // 8]])
    if error is not None:
        raise error
    if told[1] is not None:
        raise UserError(told[1])
    return told[0]


def agree(problem: str | None) -> None:
    """Raises `UserError` on all processes if any of them has a problem: the first one's message.

    Without this, those without the problem would wait for the others.
    """
    problems = [found for found in exchange(problem) if found is not None]
    if problems:
        raise UserError(problems[0])


def whole(x: Array) -> Array | np.ndarray:
    """Returns an array whose every entry this process holds. All must call it."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return x
    return together(lambda: multihost_utils.process_allgather(x, tiled=True))
