"""Randomness of a task distribution that does not come from the keys that it is given, found without compilation."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.spaces import Discrete
from metarl_jax.envs.base import TaskDistribution

NUM_KEYS = 64
"""Keys of which at least two should give different tasks."""
REMEDY = "draw with jax.random and the key; what np.random or the clock give is drawn once, when the program is made"


def warn(env: TaskDistribution, tell: Callable[[str], None]) -> None:
    """Tells what `unkeyed` finds."""
    for message in unkeyed(env):
        tell(message)


def unkeyed(env: TaskDistribution) -> list[str]:
    """What is random in `sample`, `reset` or `step` without a key, or not random in `sample`, as messages for users.

    The library's own distributions are left out: their tests say it, and tracing Brax twice takes seconds.
    """
    if type(env).__module__.startswith("metarl_jax."):
        return []
    key = make_key(0)
    task = jax.eval_shape(env.sample, key)
    state = jax.eval_shape(env.reset, task, key)
    space = env.action_space
    action = (
        jnp.zeros((), jnp.int32)
        if isinstance(space, Discrete)
        else jnp.zeros(space.size) + space.low
    )
    methods = {
        "sample": (env.sample, (key,)),
        "reset": (env.reset, (task, key)),
        "step": (env.step, (task, state, action)),
    }
    found = [
        f"env {env.name!r}: `{name}` is another program each time it is traced: {REMEDY}"
        for name, (method, arguments) in methods.items()
        if not _is_pure(method, arguments)
    ]
    if not found and _draws_one_task(env):
        found.append(
            f"env {env.name!r}: `sample` gave one task for {NUM_KEYS} keys. Unless that is meant: {REMEDY}"
        )
    return found


def _is_pure(method: Callable[..., Any], arguments: tuple) -> bool:
    """Whether tracing it twice gives one program with the same constants."""
    (first, constants), (again, others) = (_traced(method, arguments) for _ in range(2))
    same = zip(constants, others, strict=False)
    return first == again and all(np.array_equal(x, y, equal_nan=True) for x, y in same)


def _traced(method: Callable[..., Any], arguments: tuple) -> tuple[str, list[np.ndarray]]:
    """The program of a function as text, and its floats and integers."""
    traced = jax.make_jaxpr(lambda *args: method(*args))(*arguments)
    constants = [np.asarray(x) for x in traced.consts if isinstance(x, jax.Array | np.ndarray)]
    return re.sub(r"0x[0-9a-f]+", "", str(traced.jaxpr)), constants


def _draws_one_task(env: TaskDistribution) -> bool:
    tasks = jax.vmap(env.sample)(jax.random.split(make_key(0), NUM_KEYS))
    return all(bool((x == x[:1]).all()) for x in jax.tree.leaves(tasks))
