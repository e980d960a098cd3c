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
from metarl_jax.envs.adapters.library import check_id, downloads, require
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split

MOST_ACTIONS = 10_000
"""Largest number of combinations of the parts of an action."""


@dataclasses.dataclass(frozen=True)
class JumanjiTasks(TaskDistribution):
    """An environment of jumanji, in which a task is an instance of its problem.

      metarl train rl2 --env jumanji:Knapsack-v1 --env.horizon 50

    The task is the key from which jumanji generates the instance, `[2]` uint32: all episodes of a trial are in the same
    one. Observations are flattened to float32, without the action mask, which masks the policy instead. Where an action
    has several parts, as in bin packing, all combinations are numbered as one discrete action: one is allowed if
    jumanji allows the combination or, where it masks the parts one by one, each part. `done` is termination (discount
    0), and not the time limit of jumanji; its auto-reset is not used.

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
        """How many values each part of an action has.

        Raises:
          UserError: if actions are not discrete.
        """
        spec = load(self.id).action_spec
        if not hasattr(spec, "num_values"):
            raise UserError(
                f"env.id={self.id!r} has continuous actions: choose one with discrete ones"
            )
        return tuple(int(x) for x in np.ravel(spec.num_values))

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return jax.random.bits(key, (2,), jnp.uint32)

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del key
        state, timestep = load(self.id).reset(jax.random.wrap_key_data(task))
        return episode_state(self._parts, state, timestep, jnp.float32(0))

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        del task
        if len(self._parts) > 1:
            action = jnp.stack(jnp.unravel_index(action, self._parts)).astype(jnp.int32)
        inner, timestep = load(self.id).step(state.simulator[0], action)
        reward = jnp.asarray(timestep.reward, jnp.float32).sum()
        return episode_state(self._parts, inner, timestep, reward)

    def action_mask(self, task: jax.Array, state: EnvState) -> jax.Array:
        """The actions that jumanji allows, or all where it does not say, `[A]` bool."""
        del task
        return state.simulator[1]

    def oracle_observation(self, task: jax.Array) -> jax.Array:
        """Nothing: the instance is observed as it is."""
        del task
        return jnp.zeros(1, jnp.float32)

    def validate(self) -> None:
        if math.prod(self._parts) > MOST_ACTIONS:
            raise UserError(
                f"env.id={self.id!r} has {math.prod(self._parts):,} combinations of the {len(self._parts)} parts of "
                f"an action, more than {MOST_ACTIONS:,}: choose another environment"
            )
        limit = getattr(load(self.id), "time_limit", None)
        if limit is not None and self.horizon >= limit:
            raise UserError(
                f"env.horizon={self.horizon} is not below the time limit of {self.id}, which jumanji takes for an end: "
                f"choose {limit - 1} or less"
            )


def episode_state(parts: tuple[int, ...], state: Any, timestep: Any, reward: jax.Array) -> EnvState:
    """The state of an episode, with the mask of actions `[A]`, whose parts have so many values."""
    fields = timestep.observation._asdict()
    mask = joint_mask(parts, fields.pop("action_mask", None))
    # A state without any action is the last one.
    mask = mask | ~mask.any()
    seen = [jnp.ravel(jnp.asarray(x)).astype(jnp.float32) for x in jax.tree.leaves(fields)]
    done = timestep.last() & (jnp.asarray(timestep.discount).max() == 0)
    return EnvState(jnp.concatenate(seen), reward, done, (strongly_typed(state), mask))


def joint_mask(parts: tuple[int, ...], mask: jax.Array | None) -> jax.Array:
    """The mask of all combinations of the parts, `[A]`, from one of them or, `[P, V]`, of each of P equal parts."""
    if mask is None:
        return jnp.ones(math.prod(parts), bool)
    if mask.size == math.prod(parts):
        return jnp.ravel(mask)
    return functools.reduce(lambda joint, part: jnp.ravel(joint[:, None] & part[None]), mask)


@functools.cache
def load(name: str) -> Any:
    """Returns an environment of jumanji. Made eagerly: the first call may be inside a trace.

    Raises:
      UserError: if jumanji is not installed, has no such environment, or lacks the data of this one.
    """
    jumanji = require("jumanji", "jumanji")
    check_id("id", name, list(jumanji.registered_environments()))
    with jax.ensure_compile_time_eval(), downloads(name):
        return jumanji.make(name)
