"""The checks of a task distribution: what its methods return, and a few steps of random actions."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from metarl_jax.core.declarations import check_declaration, check_values
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.spaces import ActionSpace, Discrete
from metarl_jax.core.validation import check_fields
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.contract import arrays, canonical, check_properties
from metarl_jax.program.checks.calls import (
    QUICK,
    Traced,
    check_defined,
    check_signature,
    explained,
    mismatch,
    run_once,
    trace,
    unchanged,
)
from metarl_jax.program.checks.privileged import check_privileged

NUM_KEYS = 64
"""Keys of which at least two must give different tasks."""
NUM_TASKS, NUM_STEPS = 4, 16
"""Size of the run with random actions."""
UNKEYED = (
    "does something else each time it is traced: draw with jax.random and the key; what np.random, random or the clock "
    "give is drawn once, when the program is made"
)
METHODS = {
    "sample": ([("key",), ("key", "split")], 'sample(self, key, split="train")'),
    "reset": ([("task", "key")], "reset(self, task, key)"),
    "step": ([("task", "state", "action")], "step(self, task, state, action)"),
}
"""Method to the arguments that it is called with, and how it is defined."""


@under_fixed_settings
def check_env(env: TaskDistribution, *, run: bool = True) -> None:
    """Checks that a task distribution of one's own does what the library expects of it.

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
        task, state = _check_methods(env)
        check_privileged(env, task, state)
    if run:
        _check_run(env, _check_tasks(env))


def random_action(space: ActionSpace, key: jax.Array) -> jax.Array:
    """An action as an untrained policy draws them, which for a `Box` may lie outside: `[]` int32 or `[A]` float32."""
    if isinstance(space, Discrete):
        return jax.random.randint(key, (), 0, space.num_actions)
    return space.centre + space.half_width * jax.random.normal(key, (space.size,))


def _check_methods(env: TaskDistribution) -> tuple[Any, EnvState]:
    """Traces `sample`, `reset` and `step`; returns a task and a state as `jax.ShapeDtypeStruct`."""
    name, key = type(env).__name__, make_key(0)

    def task_of(answer: Any) -> Any:
        return arrays(
            f"{name}.sample returned a task, which must be a pytree of arrays, in which", answer
        )

    task = _traced(f"{name}.sample", env.sample, key, read=task_of).read
    for split in env.splits:
        other = trace(f"{name}.sample", lambda key, s=split: env.sample(key, s), key, read=task_of)
        if wrong := mismatch(task, other.read):
            raise UserError(
                f"{name}.sample: the task of split={split!r} {wrong}, as in split='train': tasks differ in values only"
            )
    state = _traced(
        f"{name}.reset", env.reset, task, key, read=lambda x: canonical(env, x, "reset")
    )
    action = jax.eval_shape(lambda key: random_action(env.action_space, key), key)
    after = _traced(
        f"{name}.step", env.step, task, state.read, action, read=lambda x: canonical(env, x, "step")
    )
    if wrong := mismatch(state.read, after.read):
        raise UserError(
            f"{name}.step: the state {wrong}, as reset returned it: shapes, dtypes and structure stay the same from "
            "step to step"
        )
    return task, state.read


def _traced(where: str, method: Callable[..., Any], *args: Any, read: Callable) -> Traced:
    """`trace`, twice, because what differs is not decided by the arguments."""
    first, again = (trace(where, lambda *args: method(*args), *args, read=read) for _ in range(2))
    if not first.is_same(again):
        raise UserError(f"{where} {UNKEYED}")
    return first


def _check_tasks(env: TaskDistribution) -> Any:
    """Draws tasks, which must be finite and not all alike; returns `NUM_TASKS` of them."""
    name = type(env).__name__
    keys = jax.random.split(make_key(0), NUM_KEYS)
    tasks = jax.jit(jax.vmap(env.sample), compiler_options=QUICK)(keys)
    leaves = [
        (jax.tree_util.keystr(path), _data(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tasks)
    ]
    for path, leaf in leaves:
        if not _is_finite(leaf).all():
            raise UserError(
                f"{name}.sample gave a task{path} that is not finite ({_first_bad(leaf)})"
            )
    is_one = all((leaf == leaf[:1]).all() for _, leaf in leaves)
    if is_one and not env.single_task:
        raise UserError(
            f"{name}.sample gave {NUM_KEYS} equal tasks for {NUM_KEYS} keys: draw with jax.random and the key, or "
            "declare single_task: ClassVar[bool] = True if there is one task"
        )
    return jax.tree.map(lambda x: x[:NUM_TASKS], tasks)


def _check_run(env: TaskDistribution, tasks: Any) -> None:
    """Takes random actions in a few tasks: observations and rewards are finite as long as an episode lasts."""
    num_steps = min(NUM_STEPS, env.episode_length)

    def episode(task: Any, key: jax.Array) -> Any:
        reset_key, actions_key = jax.random.split(key)

        def step(state: EnvState, key: jax.Array) -> Any:
            action = random_action(env.action_space, key)
            after = canonical(env, env.step(task, state, action), "step")
            return after, (after.observation, after.reward, after.done)

        start = canonical(env, env.reset(task, reset_key), "reset")
        _, seen = jax.lax.scan(step, start, jax.random.split(actions_key, num_steps))
        return start.observation, *seen

    keys = jax.random.split(make_key(1), NUM_TASKS)
    where = type(env).__name__
    first, *seen = run_once(where, jax.vmap(episode), tasks, keys)
    _require_finite(f"{where}.reset returned an observation", first, np.ones(NUM_TASKS, bool))
    observation, reward, done = seen
    ended = np.cumsum(done, axis=1) > 0
    running = np.concatenate([np.ones((NUM_TASKS, 1), bool), ~ended[:, :-1]], axis=1)
    for step in range(num_steps):
        after = f"at step {step + 1} of an episode with random actions"
        _require_finite(
            f"{where}.step returned a reward {after}", reward[:, step], running[:, step]
        )
        # What is observed once an episode has terminated is seen by nobody.
        _require_finite(
            f"{where}.step returned an observation {after}", observation[:, step], ~ended[:, step]
        )


def _require_finite(what: str, values: np.ndarray, counts: np.ndarray) -> None:
    """Raises `UserError` where a number of `values` `[N, ...]` is not finite and `counts` `[N]`."""
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1) & counts
    if bad.any():
        raise UserError(
            f"{what} that is not finite ({_first_bad(values[bad])}): look for a division by zero, a square root or "
            "logarithm of a negative number, or physics that explodes; clip actions to the action space"
        )


def _first_bad(values: np.ndarray) -> str:
    entries = values.reshape(len(values), -1)
    row = entries[~np.isfinite(entries).all(axis=1)][0]
    index = int(np.argmin(np.isfinite(row)))
    return f"{row[index]}" if row.size == 1 else f"{row[index]} in entry {index}"


def _data(leaf: jax.Array) -> np.ndarray:
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _is_finite(leaf: np.ndarray) -> np.ndarray:
    return np.isfinite(leaf) if leaf.dtype.kind == "f" else np.ones(1, bool)
