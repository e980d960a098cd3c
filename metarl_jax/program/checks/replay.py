"""The check of a learner in a short trial: a replay agrees with acting, and invalid steps change no state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.trees import join_leading
from metarl_jax.core.types import MetaState, Trial
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import MetaLearner
from metarl_jax.program.checks.calls import run_once
from metarl_jax.program.checks.standin import StandIn
from metarl_jax.program.rollout import collect_trial

NUM_ROUNDS, NUM_EPISODES = 2, 3
"""Sizes of the trial."""
TOLERANCE = 1e-3
"""Largest relative difference of results that the order of float sums excuses."""


def collect_unadapted(
    learner: MetaLearner, env: TaskDistribution, params: Any, memory: Any, key: jax.Array
) -> Trial:
    """Returns a trial `[K, T, E]` of random observations and rewards, in which the learner does not adapt."""
    stand_in = StandIn(env)
    unused = make_estimator(PLAIN_RETURNS)
    learner = learner._replace(adapt=None)
    return collect_trial(
        stand_in, learner, unused, MetaState(params, memory), stand_in.sample(key), key,
        num_rounds=NUM_ROUNDS, num_episodes=NUM_EPISODES,
    )  # fmt: skip


def check_replay(name: str, learner: MetaLearner, env: TaskDistribution) -> None:
    """Acts in a short trial, and compares the results of `unroll` with those of `act`."""

    def live(key: jax.Array) -> Any:
        # Heads may begin at zero, where a difference would not be seen.
        first = learner.init(key)
        noise = optax.tree.random_like(key, first)
        params = jax.tree.map(lambda x, e: x + 0.1 * e, first, noise)
        memory = () if learner.init_memory is None else learner.init_memory()
        timesteps = join_leading(
            collect_unadapted(learner, env, params, memory, key).rollout.timestep
        )
        start = learner.begin(params, memory, key, NUM_EPISODES)

        def step(state, timestep):
            out, state = learner.act(params, state, timestep)
            return state, (out.distribution, out.value)

        last, acted = jax.lax.scan(step, start, timesteps)
        invalid = jax.tree.map(lambda x: x[0], timesteps)
        invalid = invalid.replace(valid=jnp.zeros_like(invalid.valid))
        _, after = learner.act(params, last, invalid)
        replayed = unrolled_last = None
        if learner.unroll is not None:
            out, unrolled_last = learner.unroll(params, start, timesteps)
            replayed = out.distribution, out.value
        states = jax.tree.map(_plain, (last, after, unrolled_last))
        return first, acted, replayed, states, timesteps.valid

    first, acted, replayed, states, valid = run_once(name, live, make_key(0))
    last, after, unrolled_last = states
    _require_finite(f"{name}.init returned meta-parameters", first)
    _require_finite(f"{name}.act returned a distribution or a value", acted)
    if (path := _first_difference(last, after)) is not None:
        raise UserError(
            f"{name}.act changes the inner state{path} at an invalid step: where timestep.valid is False keep "
            "the old one, as metarl_jax.core.trees.where_leading(timestep.valid, new, old) does"
        )
    if replayed is None:
        return
    if (path := _first_difference(acted, replayed, valid)) is not None:
        raise UserError(
            f"{name}.unroll returns other results than act step by step (in {_named(path)}), so that likelihood "
            "ratios of unchanged parameters would not be 1: compute the same, or leave unroll out"
        )
    if (path := _first_difference(last, unrolled_last)) is not None:
        raise UserError(
            f"{name}.unroll returns another inner state than act step by step (in {path or 'the whole'})"
        )


def _plain(x: jax.Array) -> jax.Array:
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def _require_finite(what: str, tree: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            raise UserError(f"{what} with {jax.tree_util.keystr(path)} that is not finite")


def _first_difference(expected: Any, found: Any, valid: np.ndarray | None = None) -> str | None:
    """Returns the path of the first leaf that differs by more than rounding where `valid` `[S, E]`; None if none
    does."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True)
    for (path, x), y in pairs:
        scale = max(1.0, float(np.abs(x).max(initial=0)))
        differs = np.abs(np.asarray(x, np.float64) - y) > TOLERANCE * scale
        if valid is not None and x.shape[:2] == valid.shape:
            differs &= valid.reshape(valid.shape + (1,) * (x.ndim - valid.ndim))
        if differs.any():
            return jax.tree_util.keystr(path)
    return None


def _named(path: str) -> str:
    return "the distribution" + path[3:] if path.startswith("[0]") else "the value"
