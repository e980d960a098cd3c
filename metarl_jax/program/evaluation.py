"""Held-out evaluation: the adaptation curve of a learner, and the controls to read it against."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import as_fixed_key, under_fixed_settings
from metarl_jax.core.types import Array, Key, TrainState
from metarl_jax.envs.base import check_split
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.step import StepSpec, keys_by_index, sample_tasks


def make_evaluate(
    spec: StepSpec, *, num_rounds: int, num_episodes: int, deterministic: bool
) -> Callable[[TrainState, Key, str, int], Array]:
    """`evaluate(state, key, split, num_tasks)`: mean return of every task and round, `[tasks, K]`.

    Nothing in `state` changes: the observation statistics are used, not updated, and no memory is written.
    """

    @under_fixed_settings
    def evaluate(state: TrainState, key: Key, split: str, num_tasks: int) -> Array:
        check_split(spec.env, split)
        if num_tasks < 1:
            raise UserError(f"num_tasks={num_tasks} must be at least 1")
        task_key, trial_key = jax.random.split(as_fixed_key(key))
        num_padded = -(-num_tasks // spec.axis.num_devices) * spec.axis.num_devices
        # Of the last meta-step, so that those of a distribution that changes are tasks that training has met.
        last_step = jnp.maximum(state.step - 1, 0)
        tasks = sample_tasks(spec, task_key, num_padded, split, last_step)
        keys = keys_by_index(trial_key, num_padded)

        def one(state, task, key):
            trial = collect_trial(
                spec.env,
                spec.learner,
                spec.advantages,
                state.meta,
                task,
                key,
                num_rounds=num_rounds,
                num_episodes=num_episodes,
                deterministic=deterministic,
            )
            return trial.episode_returns().mean(axis=-1)

        return spec.axis.map(one, state, tasks, keys, block=spec.collect_block)[:num_tasks]

    return evaluate
