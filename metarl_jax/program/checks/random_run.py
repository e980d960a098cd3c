"""The check of a task distribution in a few steps of random actions: the values that it returns must be plausible."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.spaces import ActionSpace, Discrete, Integers, space_leaves
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.contract import canonical_mask, scalar
from metarl_jax.envs.optional import knows_regret
from metarl_jax.program.checks.calls import Traced, run_once

NUM_TASKS, NUM_STEPS = 4, 16
"""Sizes of the run."""
TOLERANCE = 1e-3
"""Largest negative regret, relative to the greatest, that the order of float sums excuses."""


class Methods(NamedTuple):
    """The traced methods of a task distribution; their results are checked and converted."""

    sample: Traced
    reset: Traced
    step: Traced


def random_action(space: ActionSpace, key: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Draws an action like an untrained policy: `[]` int32 or `[A]` float32; in a `Box` it may lie outside the bounds.

    Args:
      mask: `[A]`, the actions of a `Discrete` space that may be taken; all when not given.
    """
    if isinstance(space, Discrete):
        logits = jnp.zeros(space.num_actions)
        if mask is not None:
            logits = jnp.where(mask, logits, -jnp.inf)
        return jax.random.categorical(key, logits).astype(jnp.int32)
    return space.centre + space.half_width * jax.random.normal(key, (space.size,))


def check_run(env: TaskDistribution, methods: Methods, tasks: Any) -> None:
    """Takes random actions in a few tasks, and checks all results until the episode ends.

    Args:
      env: an instance.
      methods: its methods, which are not traced again, because that takes seconds for a physics engine.
      tasks: `[N, ...]`.

    Raises:
      UserError: for a number that is not finite, an integer that the observation space does not have, a mask without
        an action, or a negative regret.
    """
    name = type(env).__name__
    keys = jax.random.split(make_key(1), NUM_TASKS)

    def episodes(tasks: Any, keys: jax.Array) -> Any:
        return jax.lax.map(lambda inputs: _episode(env, methods, *inputs), (tasks, keys))

    # One task after another: mapped side by side, all operations would be traced anew.
    first, seen = run_once(name, episodes, tasks, keys)
    observation, mask = first
    always = np.ones(NUM_TASKS, bool)
    _require_observation(env, f"{name}.reset returned an observation", "", observation, always)
    _require_action(name, "in a state of reset", mask, always)
    observation, mask, reward, done, regret = seen
    ended = np.cumsum(done, axis=1) > 0
    running = np.concatenate([np.ones((NUM_TASKS, 1), bool), ~ended[:, :-1]], axis=1)
    if regret is not None:
        _require_regret(name, regret[running])
    for step in range(done.shape[1]):
        after = f" at step {step + 1} of an episode with random actions"
        what = f"{name}.step returned a reward{after}"
        _require_finite(what, reward[:, step], running[:, step])
        # What is observed once an episode has terminated is seen by nobody.
        observed = jax.tree.map(lambda x, step=step: x[:, step], (observation, mask))
        what = f"{name}.step returned an observation"
        _require_observation(env, what, after, observed[0], ~ended[:, step])
        _require_action(name, f"in the state after step {step + 1}", observed[1], ~ended[:, step])


def _episode(env: TaskDistribution, methods: Methods, task: Any, key: jax.Array) -> Any:
    """Returns the observations of an episode of random actions: of its first state, and of each step `[T]`."""
    reset_key, actions_key = jax.random.split(key)
    regret = env.regret(task) if knows_regret(env) else None

    def mask_of(state: EnvState) -> jax.Array | None:
        return canonical_mask(env, env.action_mask(task, state))

    def step(carry: tuple[EnvState, jax.Array | None], key: jax.Array) -> Any:
        state, mask = carry
        action = random_action(env.action_space, key, mask)
        cost = None if regret is None else scalar("a regret", regret(state, action))
        after = methods.step.call(task, state, action)
        mask = mask_of(after)
        return (after, mask), (after.observation, mask, after.reward, after.done, cost)

    start = methods.reset.call(task, reset_key)
    mask = mask_of(start)
    num_steps = min(NUM_STEPS, env.episode_length)
    _, seen = jax.lax.scan(step, (start, mask), jax.random.split(actions_key, num_steps))
    return (start.observation, mask), seen


def _require_observation(
    env: TaskDistribution, what: str, when: str, observation: Any, counts: np.ndarray
) -> None:
    """Raises `UserError` if a counted observation `[N, ...]` is not in the observation space."""
    leaves = jax.tree_util.tree_leaves_with_path(observation)
    for space, (path, values) in zip(space_leaves(env.observation_space), leaves, strict=True):
        subject = f"{what}{jax.tree_util.keystr(path)}{when}"
        if not isinstance(space, Integers):
            _require_finite(subject, values, counts)
            continue
        found = values[counts].astype(np.int64)
        wrong = found[(found < 0) | (found >= space.num_values)]
        if wrong.size:
            raise UserError(
                f"{subject} with a {wrong[0]} in it, expected integers from 0 to {space.num_values - 1}, as "
                f"observation_space says {space}"
            )


def _require_action(name: str, when: str, mask: np.ndarray | None, counts: np.ndarray) -> None:
    """Raises `UserError` if a counted mask `[N, A]` allows no action."""
    if mask is not None and (~mask.any(axis=1) & counts).any():
        raise UserError(
            f"{name}.action_mask allows no action {when}: at least one entry must be True; where nothing is left to "
            "do, let the step before return done"
        )


def _require_regret(name: str, regret: np.ndarray) -> None:
    """Raises `UserError` where a regret is negative or not finite."""
    lowest = -TOLERANCE * max(1.0, float(np.abs(regret).max()))
    bad = ~np.isfinite(regret) | (regret < lowest)
    if bad.any():
        raise UserError(
            f"{name}.regret(task) returned {regret[bad][0]:.3g} for a random action, expected 0 or more: it is "
            "V*(s) − Q*(s, a) of the best policy"
        )


def _require_finite(what: str, values: np.ndarray, counts: np.ndarray) -> None:
    """Raises `UserError` if a number of `values` `[N, ...]` is not finite where `counts` `[N]` is true."""
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1) & counts
    if bad.any():
        raise UserError(
            f"{what} that is not finite ({first_bad(values[bad])}): look for a division by zero, a square root or "
            "logarithm of a negative number, or physics that explodes; clip actions to the action space"
        )


def first_bad(values: np.ndarray) -> str:
    """Describes the first entry of `values` `[N, ...]` that is not finite."""
    entries = values.reshape(len(values), -1)
    row = entries[~np.isfinite(entries).all(axis=1)][0]
    index = int(np.argmin(np.isfinite(row)))
    return f"{row[index]}" if row.size == 1 else f"{row[index]} in entry {index}"
