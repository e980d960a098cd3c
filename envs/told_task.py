"""A wrapper that adds the task to the observations of any environment, to train controls that need not infer it."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Array, Observation, ObservationSpace
from metarl_jax.envs.base import EnvState, Regret, Task, TaskDistribution
from metarl_jax.envs.wrapper import Wrapper


def as_observed(env: TaskDistribution) -> TaskDistribution:
    """Returns the environment as learners see it: with the task in its observations where `told_task` is set."""
    return ToldTask(dataclasses.replace(env, told_task=False)) if env.told_task else env


def describe_task(env: TaskDistribution, task: Task) -> jax.Array:
    """Returns `env.oracle_observation(task)` as a float32 vector `[G]`."""
    return jnp.ravel(env.oracle_observation(task)).astype(jnp.float32)


def task_size(env: TaskDistribution) -> int:
    """Returns the number G of entries that describe a task."""
    return jax.eval_shape(lambda: describe_task(env, env.sample(make_key(0)))).size


def untold(env: TaskDistribution) -> TaskDistribution:
    """Returns the environment without the task in its observations."""
    return env.env if isinstance(env, ToldTask) else env


@dataclasses.dataclass(frozen=True)
class ToldTask(Wrapper):
    """`env`, whose observations are `{"observation": its own, "task": oracle_observation(task)}`, the latter `[G]`."""

    name: ClassVar[str] = "told_task"
    forwarded: ClassVar[tuple[str, ...]] = (
        "action_mask",
        "action_features",
        "oracle_action",
        "regret",
        "render",
        "render_trial",
    )

    @property
    def observation_space(self) -> ObservationSpace:
        return {
            "observation": self.env.observation_space,
            "task": Array((task_size(self.env),)),
        }

    def reset(self, task: Task, key: jax.Array) -> EnvState:
        return self._tell(task, self.env.reset(task, key))

    def step(self, task: Task, state: EnvState, action: jax.Array) -> EnvState:
        return self._tell(task, self.env.step(task, _own(state), action))

    def action_mask(self, task: Task, state: EnvState) -> jax.Array | None:
        return self.env.action_mask(task, _own(state))

    def action_features(self, observation: Observation) -> jax.Array | None:
        return self.env.action_features(observation["observation"])

    def oracle_action(self, task: Task, observation: Observation) -> jax.Array | None:
        return self.env.oracle_action(task, observation["observation"])

    def regret(self, task: Task) -> Regret | None:
        regret = self.env.regret(task)
        return regret and (lambda state, action: regret(_own(state), action))

    def render(self, task: Task, states: EnvState) -> Scene | None:
        return self.env.render(task, _own(states))

    def render_trial(
        self, task: Task, states: EnvState, actions: np.ndarray, rewards: np.ndarray
    ) -> Scene | None:
        return self.env.render_trial(task, _own(states), actions, rewards)

    def bayes_optimal_value(self, num_rounds: int) -> np.ndarray | None:
        """Returns None: a policy that observes the task may reach higher returns."""
        del num_rounds

    def _tell(self, task: Task, state: EnvState) -> EnvState:
        told = describe_task(self.env, task)
        return state.replace(observation={"observation": state.observation, "task": told})


def _own(state: EnvState) -> EnvState:
    """Returns the state with the observation of the environment itself."""
    return state.replace(observation=state.observation["observation"])
