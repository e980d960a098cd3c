"""The checks of a task distribution: what its methods return, and a few steps of random actions."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from metarl_jax.core.declarations import check_declaration, check_values
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.validation import check_fields
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.contract import arrays, canonical, check_properties
from metarl_jax.program.checks.calls import (
    QUICK,
    Traced,
    check_defined,
    check_signature,
    explained,
    mismatch,
    trace,
    unchanged,
)
from metarl_jax.program.checks.privileged import check_privileged
from metarl_jax.program.checks.random_run import (
    NUM_TASKS,
    Methods,
    check_run,
    first_bad,
    random_action,
)

NUM_KEYS = 64
"""Number of keys for `sample`; at least two must give different tasks."""
UNKEYED = (
    "does something else each time it is traced: draw with jax.random and the key; what np.random, random or the clock "
    "give is drawn once, when the program is made"
)
METHODS = {
    "sample": ([("key",), ("key", "split")], 'sample(self, key, split="train")'),
    "reset": ([("task", "key")], "reset(self, task, key)"),
    "step": ([("task", "state", "action")], "step(self, task, state, action)"),
}
"""Signature of each method, for messages."""


@under_fixed_settings
def check_env(env: TaskDistribution, *, run: bool = True) -> None:
    """Checks that a user's task distribution fulfils the contract of the library.

    All methods are traced, twice, and then run for a few steps of random actions in a few tasks.

    Args:
      env: an instance.
      run: False only traces, for simulators that take long to compile.

    Raises:
      UserError: for the first mistake, naming class, method, what it returned, what was expected and the remedy.
    """
    check_declaration(env, TaskDistribution)
    check_values(env)
    name = type(env).__name__
    check_fields(env, f"{name}.")
    with explained(f"{name}.validate"):
        env.validate()
    check_properties(env)
    for method, (calls, example) in METHODS.items():
        check_defined(env, TaskDistribution, method, example)
        check_signature(f"{name}.{method}", getattr(env, method), calls, example)
    with unchanged(env):
        methods = _check_methods(env)
        check_privileged(env, methods.sample.read, methods.reset.read)
    if run:
        check_run(env, methods, _check_tasks(env, methods))


def _check_methods(env: TaskDistribution) -> Methods:
    """Traces `sample`, `reset` and `step`."""
    name, key = type(env).__name__, make_key(0)

    def task_of(answer: Any) -> Any:
        return arrays(
            f"{name}.sample returned a task, which must be a pytree of arrays, in which", answer
        )

    sample = _traced(f"{name}.sample", env.sample, key, read=task_of)
    task = sample.read
    for split in env.splits:
        other = trace(f"{name}.sample", lambda key, s=split: env.sample(key, s), key, read=task_of)
        if wrong := mismatch(task, other.read):
            raise UserError(
                f"{name}.sample: the task of split={split!r} {wrong}, as in split='train': tasks differ in values only"
            )
    reset = _traced(
        f"{name}.reset", env.reset, task, key, read=lambda x: canonical(env, x, "reset")
    )
    action = jax.eval_shape(lambda key: random_action(env.action_space, key), key)
    step = _traced(
        f"{name}.step", env.step, task, reset.read, action, read=lambda x: canonical(env, x, "step")
    )
    if wrong := mismatch(reset.read, step.read):
        raise UserError(
            f"{name}.step: the state {wrong}, as reset returned it: shapes, dtypes and structure stay the same from "
            "step to step"
        )
    return Methods(sample, reset, step)


def _traced(where: str, method: Callable[..., Any], *args: Any, read: Callable) -> Traced:
    """Traces twice: a difference means that the result depends on more than the arguments."""
    first, again = (trace(where, lambda *args: method(*args), *args, read=read) for _ in range(2))
    if not first.is_same(again):
        raise UserError(f"{where} {UNKEYED}")
    return first


def _check_tasks(env: TaskDistribution, methods: Methods) -> Any:
    """Draws tasks, checks that they are finite and not all equal, and returns `NUM_TASKS` of them."""
    name = type(env).__name__
    keys = jax.random.split(make_key(0), NUM_KEYS)

    def draw(key: jax.Array) -> tuple[Any, jax.Array | None]:
        task = methods.sample.call(key)
        return task, env.skill(task) if env.num_skills else None

    tasks, skills = jax.jit(jax.vmap(draw), compiler_options=QUICK)(keys)
    leaves = [
        (jax.tree_util.keystr(path), _data(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tasks)
    ]
    for path, leaf in leaves:
        if not _is_finite(leaf).all():
            raise UserError(
                f"{name}.sample gave a task{path} that is not finite ({first_bad(leaf)})"
            )
    is_one = all((leaf == leaf[:1]).all() for _, leaf in leaves)
    if is_one and not env.single_task:
        raise UserError(
            f"{name}.sample gave {NUM_KEYS} equal tasks for {NUM_KEYS} keys: draw with jax.random and the key, or "
            "declare single_task: ClassVar[bool] = True if there is one task"
        )
    if skills is not None:
        wrong = [x for x in np.asarray(skills) if not 0 <= x < env.num_skills]
        if wrong:
            raise UserError(
                f"{name}.skill returned {wrong[0]}, expected 0, …, {env.num_skills - 1}, as num_skills is "
                f"{env.num_skills}"
            )
    return jax.tree.map(lambda x: x[:NUM_TASKS], tasks)


def _data(leaf: jax.Array) -> np.ndarray:
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _is_finite(leaf: np.ndarray) -> np.ndarray:
    return np.isfinite(leaf) if leaf.dtype.kind == "f" else np.ones(1, bool)
