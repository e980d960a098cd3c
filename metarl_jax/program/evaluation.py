"""Held-out evaluation: the adaptation curve of a learner, and the metrics of the environment."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import as_fixed_key, under_fixed_settings
from metarl_jax.core.target import traced_for
from metarl_jax.core.types import Array, Key, TrainState
from metarl_jax.envs.base import check_split
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.step import StepSpec, keys_by_index, mean_by_round, reported, sample_tasks

RETURN = "return"
"""Name of the return among the measurements; metrics of the environment are named `env/NAME`."""

Measured = dict[str, Array]
"""Measurements by name: means over the parallel episodes of every task and round, `[tasks, K]`. In a trial by steps,
nan where no episode ended. An episode with a value that is not finite makes the mean infinite."""


def make_measure(
    spec: StepSpec,
    *,
    num_rounds: int,
    num_episodes: int,
    num_steps: int | None,
    deterministic: bool,
) -> Callable[[TrainState, Key, str, int], Measured]:
    """Returns `measure(state, key, split, num_tasks)`, which measures a learner in held-out tasks.

    Nothing in `state` changes: the observation statistics are used, not updated, and no memory is written.
    """

    @under_fixed_settings
    def measure(state: TrainState, key: Key, split: str, num_tasks: int) -> Measured:
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
                num_steps=num_steps,
                deterministic=deterministic,
            )
            # An unfinished episode is nan, and what is broken is infinite.
            values = {RETURN: trial.episode_returns()} | reported(trial.metrics)
            values = {name: jnp.where(jnp.isnan(x), jnp.inf, x) for name, x in values.items()}
            return {name: mean_by_round(x, trial, axes=(-1,)) for name, x in values.items()}

        measured = spec.axis.map(one, state, tasks, keys, block=spec.collect_block)
        return {name: x[:num_tasks] for name, x in measured.items()}

    return traced_for(spec.target, measure)
