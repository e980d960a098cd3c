"""Environments of gymnax, whose parameters differ from task to task."""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.ranges import Range
from metarl_jax.core.spaces import ActionSpace, Box, Discrete
from metarl_jax.core.trees import strongly_typed
from metarl_jax.core.validation import bounded
from metarl_jax.envs.adapters.library import (
    check_id,
    downloads,
    draw_step_keys,
    require,
    step_key,
)
from metarl_jax.envs.adapters.vary import check_vary, read_ranges, sample_values, with_values
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split


@dataclasses.dataclass(frozen=True)
class GymnaxTasks(TaskDistribution):
    """An environment of gymnax, whose parameters differ from task to task.

      metarl train rl2 --env gymnax:CartPole-v1 --env.vary gravity=5..15 force_mag=-10,10

    The task is a dictionary of the varied parameters, `[]` float32 each; all others are gymnax's. They are traced: a
    new task needs no compilation. Derived parameters are not adjusted: who varies `length` of CartPole-v1 may want to
    vary `polemass_length` too. The `ood` split draws parameters of an interval from the half interval above it.

    `done` is the termination of gymnax, and not its time limit; its own auto-reset is not used. The random numbers of a
    step come from keys that `reset` draws.

    References:
      Lange, "gymnax: A JAX-based Reinforcement Learning Environment Library", 2022.
    """

    name: ClassVar[str] = "gymnax"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    horizon_is_task: ClassVar[bool] = False

    id: str = "CartPole-v1"
    """Name of the environment in gymnax."""
    vary: tuple[str, ...] = ("gravity=5..15", "force_mag=-10,10")
    """Parameters that differ between tasks, each as NAME=LOW..HIGH, NAME=LOW..HIGH:log, or NAME=A,B,C."""
    horizon: int | None = bounded(None, at_least=1)
    """Steps of an episode; the limit of gymnax when not given."""

    @property
    def episode_length(self) -> int:
        return self.horizon or int(load(self.id)[1].max_steps_in_episode)

    @property
    def action_space(self) -> ActionSpace:
        env, params = load(self.id)
        with jax.ensure_compile_time_eval():
            space = env.action_space(params)
            if hasattr(space, "n"):
                return Discrete(int(space.n))
            low, high = float(np.min(space.low)), float(np.max(space.high))
        return Box(math.prod(space.shape), low, high)

    @property
    def ranges(self) -> dict[str, Range]:
        """The varied parameters by name."""
        return read_ranges(self.vary)

    def sample(self, key: jax.Array, split: str = "train") -> dict[str, jax.Array]:
        check_split(self, split)
        return sample_values(self.ranges, key, outside=split == "ood")

    def reset(self, task: dict[str, jax.Array], key: jax.Array) -> EnvState:
        reset_key, steps_key = jax.random.split(key)
        observation, state = load(self.id)[0].reset_env(reset_key, self._params(task))
        keys = draw_step_keys(steps_key, self.episode_length)
        carried = strongly_typed((state, keys, jnp.zeros((), jnp.int32)))
        return EnvState(_floats(observation), jnp.float32(0), jnp.zeros((), bool), carried)

    def step(self, task: dict[str, jax.Array], state: EnvState, action: jax.Array) -> EnvState:
        inner, keys, time = state.simulator
        key = step_key(keys, time)
        env, params = load(self.id)[0], self._params(task)
        if isinstance(self.action_space, Box):
            space = env.action_space(params)
            action = jnp.clip(action, space.low, space.high).reshape(space.shape)
        observation, inner, reward, done, _ = env.step_env(key, inner, action, params)
        carried = strongly_typed((inner, keys, time + 1))
        return EnvState(_floats(observation), jnp.asarray(reward, jnp.float32), done, carried)

    def oracle_observation(self, task: dict[str, jax.Array]) -> jax.Array:
        """The varied parameters, in the order of `vary`."""
        return jnp.stack([task[name] for name in self.ranges])

    def validate(self) -> None:
        _, params = load(self.id)
        if not self.vary:
            raise UserError("env.vary is empty: name parameters that differ, as in gravity=5..15")
        check_vary(self.vary, params, self.id)

    def _params(self, task: dict[str, jax.Array]) -> Any:
        return with_values(load(self.id)[1], task)


@functools.cache
def load(name: str) -> tuple[Any, Any]:
    """Returns an environment of gymnax and its parameters. Made eagerly: the first call may be inside a trace.

    Raises:
      UserError: if gymnax is not installed, has no such environment, or lacks the data of this one.
    """
    gymnax = require("gymnax", "gymnax")
    check_id("id", name, list(gymnax.registered_envs))
    with jax.ensure_compile_time_eval(), downloads(name):
        return gymnax.make(name)


def _floats(observation: jax.Array) -> jax.Array:
    return jnp.asarray(observation, jnp.float32)
