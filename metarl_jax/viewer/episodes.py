"""Records trials of a trained agent, to be drawn."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.scenes import Scene
from metarl_jax.core.types import TrainState
from metarl_jax.program.build import Program
from metarl_jax.program.step import keys_by_index

STREAM = 0x7265_6E64
"""Stream of keys for what is drawn, apart from those of training and evaluation."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode to be drawn.

    Attributes:
      round: its number, from 1.
      total: its return.
      rewards: `[T]`, of its valid steps.
      scene: the drawing.
    """

    round: int
    total: float
    rewards: list[float]
    scene: Scene


def record(
    program: Program,
    state: TrainState,
    *,
    num_tasks: int,
    rounds: Sequence[int] | None = None,
    split: str = "test",
    seed: int = 0,
) -> list[list[Episode]]:
    """Runs the agent in held-out tasks and draws the first parallel episode of each round.

    Args:
      program: of the run.
      state: its state.
      num_tasks: how many tasks.
      rounds: numbers of the rounds to draw, from 1; first, middle and last when not given.
      split: of the tasks.
      seed: of the tasks and of what is random in them.

    Returns:
      The episodes of each task.

    Raises:
      UserError: for an environment that does not draw itself, and for a round that there is not.
    """
    config = program.config
    num_rounds = config.evaluation.num_rounds or config.num_rounds
    shown = chosen_rounds(rounds, num_rounds)
    if config.num_steps is not None:
        raise UserError(
            f"num_steps={config.num_steps}: trials by steps cannot be drawn; name a run that goes by episodes"
        )
    task_key, trial_key = jax.random.split(jax.random.fold_in(make_key(seed), STREAM))
    step = np.maximum(int(state.step) - 1, 0)

    def trials(state: TrainState):
        env = program.env.at(step)
        tasks = jax.vmap(lambda key: env.sample(key, split))(keys_by_index(task_key, num_tasks))

        def one(task: Any, key: Any):
            return program.trial(
                state,
                task,
                key,
                num_rounds=num_rounds,
                deterministic=config.evaluation.deterministic,
                record_states=True,
            )

        return tasks, jax.vmap(one)(tasks, keys_by_index(trial_key, num_tasks))

    tasks, found = jax.device_get(jax.jit(trials)(state))
    drawn = []
    for index in range(num_tasks):
        task, trial = jax.tree.map(lambda x, i=index: x[i], (tasks, found))
        drawn.append([_episode(program, task, trial, number) for number in shown])
    return drawn


def chosen_rounds(rounds: Sequence[int] | None, num_rounds: int) -> list[int]:
    """Returns numbers of rounds to draw: those asked for, or the first, the middle and the last.

    Raises:
      UserError: for a round that there is not.
    """
    if rounds is None:
        return sorted({1, (num_rounds + 1) // 2, num_rounds})
    for number in rounds:
        if not 1 <= number <= num_rounds:
            raise UserError(
                f"rounds={number} must be from 1 to {num_rounds}, the rounds of a trial"
            )
    return list(rounds)


def _episode(program: Program, task: Any, trial: Any, number: int) -> Episode:
    """Returns the first parallel episode of a round, up to its last valid step."""
    rollout = trial.rollout
    valid = rollout.timestep.valid[number - 1, :, 0]
    length = int(valid.sum())
    states = jax.tree.map(lambda x: x[number - 1, :length, 0], trial.env_states)
    rewards = rollout.reward[number - 1, :length, 0]
    scene = program.env.render(task, states)
    if not isinstance(scene, Scene):
        raise UserError(
            f"env {program.config.env.name!r} does not draw itself: define {type(program.config.env).__name__}.render"
        )
    return Episode(number, float(rewards.sum()), [round(float(x), 4) for x in rewards], scene)
