"""Records trials of a trained agent, to be drawn."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.scenes import Scene
from metarl_jax.core.trees import join_leading
from metarl_jax.core.types import Array, PyTree, TrainState, Trial
from metarl_jax.envs.optional import draws_itself, draws_trials
from metarl_jax.program.build import Program, evaluation_sizes
from metarl_jax.program.step import keys_by_index

STREAM = 0x7265_6E64
"""Stream of keys for what is drawn, apart from those of training and evaluation."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode to be drawn, or a whole trial.

    Attributes:
      round: its number, from 1; None for a whole trial.
      total: its return.
      rewards: `[T]`, of its valid steps.
      scene: the drawing.
      described: what the learner says of itself at each step (`MetaLearner.describe`), `[T, Z]` by name.
    """

    round: int | None
    total: float
    rewards: list[float]
    scene: Scene
    described: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def title(self, unit: str) -> str:
        """Returns the name of the episode, where a round is called `unit`."""
        return "trial" if self.round is None else f"{unit} {self.round}"


class _Steps(struct.PyTreeNode):
    """The steps of the first parallel episodes of a trial, one after another, `[S, ...]`.

    Attributes:
      round: number of the episode that a step is of, from 1.
      valid: whether the step was taken.
      action, reward, states, described: as in the trial.
    """

    round: Array
    valid: Array
    action: Array
    reward: Array
    states: PyTree
    described: PyTree


def check_drawn(config: Config, rounds: Sequence[int] | None = None) -> None:
    """Checks, before anything is compiled, that the trials of a run can be drawn.

    Args:
      config: of the run.
      rounds: numbers of the rounds to draw, from 1; None for some of them.

    Raises:
      UserError: for an environment that does not draw itself, and for a round that there is not.
    """
    env, num_rounds = config.env, evaluation_sizes(config)["num_rounds"]
    if not draws_itself(env):
        raise UserError(
            f"env {env.name!r} does not draw itself: define {type(env).__name__}.render"
        )
    if rounds and draws_trials(env):
        raise UserError(
            f"rounds={rounds[0]}: a picture of env {env.name!r} is of a whole trial; leave rounds out"
        )
    for number in rounds or ():
        if not 1 <= number <= num_rounds:
            raise UserError(
                f"rounds={number} must be from 1 to {num_rounds}, the rounds of a trial"
            )


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
      The episodes of each task; a single one, the whole trial, where the environment draws trials.

    Raises:
      UserError: where there is nothing to draw (`check_drawn`), or an episode was not begun in a trial by steps.
    """
    config = program.config
    check_drawn(config, rounds)
    num_rounds = evaluation_sizes(config)["num_rounds"]
    shown = list(rounds or _some_of(num_rounds))
    if draws_trials(config.env) or config.num_steps is not None:
        shown = list(range(1, num_rounds + 1))
    task_key, trial_key = jax.random.split(jax.random.fold_in(make_key(seed), STREAM))
    step = np.maximum(int(state.step) - 1, 0)

    def trials(state: TrainState):
        env = program.env.at(step)
        tasks = jax.vmap(lambda key: env.sample(key, split))(keys_by_index(task_key, num_tasks))

        def one(task: Any, key: Any):
            trial = program.trial(
                state,
                task,
                key,
                num_rounds=num_rounds,
                deterministic=config.evaluation.deterministic,
                record_states=True,
            )
            return _first_episodes(trial, shown)

        return tasks, jax.vmap(one)(tasks, keys_by_index(trial_key, num_tasks))

    tasks, found = jax.device_get(jax.jit(trials)(state))
    drawn = []
    for index in range(num_tasks):
        task, steps = jax.tree.map(lambda x, i=index: x[i], (tasks, found))
        if draws_trials(config.env):
            drawn.append([_draw(program, task, steps, None)])
            continue
        begun = int(steps.round[steps.valid].max())
        numbers = shown if config.num_steps is None else list(rounds or _some_of(begun))
        if max(numbers) > begun:
            raise UserError(
                f"rounds={max(numbers)}: a trial of num_steps={config.num_steps} began {begun} episodes only"
            )
        drawn.append([_draw(program, task, steps, number) for number in numbers])
    return drawn


def _some_of(num_rounds: int) -> list[int]:
    """The first, the middle and the last round."""
    return sorted({1, (num_rounds + 1) // 2, num_rounds})


def _first_episodes(trial: Trial, shown: Sequence[int]) -> _Steps:
    """Returns the steps of the first parallel episodes of the rounds to be shown; by steps, all that there are."""
    rows = np.asarray(shown) - 1 if trial.episode_index is None else np.zeros(1, int)

    def first(tree: PyTree) -> PyTree:
        return join_leading(jax.tree.map(lambda x: x[rows, :, 0], tree))

    rollout = trial.rollout
    if trial.episode_index is None:
        number = jnp.repeat(jnp.asarray(shown), rollout.reward.shape[1])
    else:
        number = first(trial.episode_index) + 1
    return _Steps(
        round=number,
        valid=first(rollout.timestep.valid),
        action=first(rollout.action),
        reward=first(rollout.reward),
        states=first(trial.env_states),
        described=first(trial.described),
    )


def _draw(program: Program, task: Any, steps: _Steps, number: int | None) -> Episode:
    """Draws the valid steps of an episode, or of the whole trial where `number` is None."""
    chosen = np.flatnonzero(steps.valid & ((number is None) | (steps.round == number)))
    taken = jax.tree.map(lambda x: x[chosen], steps)
    if number is None:
        scene = program.env.render_trial(task, taken.states, taken.action, taken.reward)
    else:
        scene = program.env.render(task, taken.states)
    if not isinstance(scene, Scene):
        method = f"{type(program.config.env).__name__}.render{'_trial' if number is None else ''}"
        raise UserError(
            f"env {program.config.env.name!r} does not draw itself: {method} returned a {type(scene).__name__}, "
            "expected a Scene"
        )
    rewards = [round(float(x), 4) for x in taken.reward]
    return Episode(number, float(taken.reward.sum()), rewards, scene, taken.described)
