"""A task distribution that changes parts of another one."""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import ActionSpace, Observation, ObservationSpace
from metarl_jax.envs.base import SPLITS, EnvState, Regret, Task, TaskDistribution


@dataclasses.dataclass(frozen=True)
class Wrapper(TaskDistribution):
    """A task distribution that forwards everything to `env`; the base of classes that change parts of another
    distribution."""

    name = "wrapper"
    splits = SPLITS
    forwarded: ClassVar[tuple[str, ...]] = ()
    """Overridden methods that a subclass merely forwards: they count as defined only if `env` defines them."""

    env: TaskDistribution

    @property
    def encoder(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.env.encoder

    @property
    def horizon_is_task(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.env.horizon_is_task

    @property
    def num_skills(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.env.num_skills

    @property
    def note(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.env.note

    @property
    def episode_length(self) -> int:
        return self.env.episode_length

    @property
    def observation_space(self) -> ObservationSpace:
        return self.env.observation_space

    @property
    def action_space(self) -> ActionSpace:
        return self.env.action_space

    def at(self, step: int | jax.Array) -> TaskDistribution:
        return dataclasses.replace(self, env=self.env.at(step))

    def sample(self, key: jax.Array, split: str = "train") -> Task:
        return self.env.sample(key, split)

    def reset(self, task: Task, key: jax.Array) -> EnvState:
        return self.env.reset(task, key)

    def step(self, task: Task, state: EnvState, action: jax.Array) -> EnvState:
        return self.env.step(task, state, action)

    def action_mask(self, task: Task, state: EnvState) -> jax.Array | None:
        return self.env.action_mask(task, state)

    def action_features(self, observation: Observation) -> jax.Array | None:
        return self.env.action_features(observation)

    def skill(self, task: Task) -> jax.Array:
        return self.env.skill(task)

    def render(self, task: Task, states: EnvState) -> Scene | None:
        return self.env.render(task, states)

    def render_trial(
        self, task: Task, states: EnvState, actions: np.ndarray, rewards: np.ndarray
    ) -> Scene | None:
        return self.env.render_trial(task, states, actions, rewards)

    def oracle_observation(self, task: Task) -> jax.Array:
        return self.env.oracle_observation(task)

    def oracle_action(self, task: Task, observation: Observation) -> jax.Array | None:
        return self.env.oracle_action(task, observation)

    def regret(self, task: Task) -> Regret | None:
        return self.env.regret(task)

    def bayes_optimal_value(self, num_rounds: int) -> np.ndarray | None:
        return self.env.bayes_optimal_value(num_rounds)

    def compiler_options(self, platform: str) -> dict[str, Any]:
        return self.env.compiler_options(platform)

    def validate(self) -> None:
        self.env.validate()
