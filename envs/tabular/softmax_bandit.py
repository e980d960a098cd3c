"""The smallest problem with a meta-gradient."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.envs.base import check_split
from metarl_jax.envs.tabular.base import TabularTasks
from metarl_jax.envs.tabular.planning import TabularMDP


@dataclasses.dataclass(frozen=True)
class SoftmaxBandit(TabularTasks):
    """One bandit with fixed rewards, always the same task: its meta-gradients are known in closed form.

    The task is the rewards `[k]` of the arms. An episode is one pull (T = 1) and the observation is empty, so that the
    logits of a policy without hidden layers are its biases. With θ = (.2, −.1, .3), the default rewards and an inner
    step of size .5 the return goes from 0.481523 to 0.515616, with the exact meta-gradient
    (.192139, −.012932, −.179207).
    """

    name: ClassVar[str] = "softmax_bandit"
    note: ClassVar[str] = "there is one task in all"
    single_task: ClassVar[bool] = True

    rewards: tuple[float, ...] = (1.0, 0.5, 0.0)
    """Fixed reward of each arm."""

    @property
    def sizes(self) -> tuple[int, int]:
        return 1, len(self.rewards)

    @property
    def episode_length(self) -> int:
        return 1

    @property
    def observations(self) -> np.ndarray:
        return np.zeros((1, 0), np.float32)

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        del key
        check_split(self, split)
        return jnp.asarray(self.rewards, jnp.float32)

    def mdp(self, task: jax.Array) -> TabularMDP:
        one = jnp.ones(1, task.dtype)
        return TabularMDP(jnp.ones((1, len(task), 1), task.dtype), task[None], one)

    def validate(self) -> None:
        if len(self.rewards) < 2:
            raise UserError(
                f"env.rewards={self.rewards} has nothing to choose from: give two or more"
            )
