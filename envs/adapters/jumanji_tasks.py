"""Environments of jumanji, whose tasks are instances of a problem."""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.trees import strongly_typed
from metarl_jax.core.validation import bounded
from metarl_jax.envs.adapters.library import check_id, require
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split


@dataclasses.dataclass(frozen=True)
class JumanjiTasks(TaskDistribution):
    """An environment of jumanji, in which a task is an instance of its problem.

      metarl train rl2 --env jumanji --env.id Knapsack-v1 --env.horizon 50

    The task is the key from which jumanji generates the instance, `[2]` uint32: all episodes of a trial are in the same
    one. Observations are flattened to float32, without the action mask, which masks the policy instead. Where an action
    has several parts, as in job shops, all combinations are numbered as one discrete action. `done` is termination
    (discount 0), and not the time limit of jumanji; its auto-reset is not used.

    References:
      Bonnet et al., "Jumanji: a Diverse Suite of Scalable Reinforcement Learning Environments in JAX", ICLR 2024.
    """

    name: ClassVar[str] = "jumanji"

    id: str = "Knapsack-v1"
    """Name of the environment in jumanji."""
    horizon: int = bounded(50, at_least=1)
    """Steps of an episode; not more than the time limit of jumanji."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def action_space(self) -> Discrete:
        return Discrete(math.prod(self._parts))

    @property
    def _parts(self) -> tuple[int, ...]:
        """How many values each part of an action has."""
        numbers = np.asarray(load(self.id).action_spec.num_values)
        return tuple(int(x) for x in numbers.ravel())

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return jax.random.bits(key, (2,), jnp.uint32)

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del key
        state, timestep = load(self.id).reset(jax.random.wrap_key_data(task))
        return _episode(self._parts, state, timestep, jnp.float32(0))

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        del task
        if len(self._parts) > 1:
            action = jnp.stack(jnp.unravel_index(action, self._parts)).astype(jnp.int32)
        inner, timestep = load(self.id).step(state.simulator[0], action)
        reward = jnp.asarray(timestep.reward, jnp.float32).sum()
        return _episode(self._parts, inner, timestep, reward)

    def action_mask(self, task: jax.Array, state: EnvState) -> jax.Array:
        """The actions that jumanji allows, or all where it does not say, `[A]` bool."""
        del task
        return state.simulator[1]

    def oracle_observation(self, task: jax.Array) -> jax.Array:
        """Nothing: the instance is observed as it is."""
        del task
        return jnp.zeros(1, jnp.float32)

    def validate(self) -> None:
        if not hasattr(load(self.id).action_spec, "num_values"):
            raise UserError(
                f"env.id={self.id!r} has continuous actions: choose one with discrete ones"
            )
        limit = getattr(load(self.id), "time_limit", None)
        if limit is not None and self.horizon >= limit:
            raise UserError(
                f"env.horizon={self.horizon} is not below the time limit of {self.id}, which jumanji takes for an end: "
                f"choose {limit - 1} or less"
            )


def _episode(parts: tuple[int, ...], state: Any, timestep: Any, reward: jax.Array) -> EnvState:
    """The state of an episode, with the mask of actions `[A]`, whose parts have so many values."""
    fields = timestep.observation._asdict()
    mask = jnp.asarray(fields.pop("action_mask", jnp.ones(parts, bool)))
    if mask.size != math.prod(parts):  # of parts of actions, one by one
        mask = jnp.ones(parts, bool)
    # A state without any action is the last one.
    mask = jnp.ravel(mask) | ~mask.any()
    seen = [jnp.ravel(jnp.asarray(x)).astype(jnp.float32) for x in jax.tree.leaves(fields)]
    done = timestep.last() & (jnp.asarray(timestep.discount).max() == 0)
    return EnvState(jnp.concatenate(seen), reward, done, (strongly_typed(state), mask))


@functools.cache
def load(name: str) -> Any:
    """Returns an environment of jumanji. Made eagerly: the first call may be inside a trace.

    Raises:
      UserError: if jumanji is not installed, or has no such environment.
    """
    jumanji = require("jumanji", "jumanji")
    check_id("id", name, list(jumanji.registered_environments()))
    with jax.ensure_compile_time_eval():
        return jumanji.make(name)
