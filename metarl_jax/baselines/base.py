"""The interface of a known strategy: a policy without meta-parameters for one kind of tasks."""

from typing import Any

import jax.numpy as jnp

from metarl_jax.core.distributions import Categorical
from metarl_jax.core.registry import Named
from metarl_jax.core.types import Array
from metarl_jax.learners.base import MetaLearner


def always(action: Array, num_actions: int) -> Categorical:
    """Returns the distribution that takes this action, `[...]` int32."""
    is_taken = jnp.arange(num_actions) == action[..., None]
    return Categorical(jnp.zeros(is_taken.shape)).masked(is_taken)


class Strategy(Named):
    """A known strategy, to compare a learner with. Subclass it as a frozen dataclass whose fields are its options.

    `baselines.register(ENVIRONMENT, MyStrategy)` registers it under its `name`.
    """

    def make(self, env: Any, num_rounds: int) -> MetaLearner:
        """Returns the strategy for trials of K rounds, in the form of a learner without meta-parameters.

        Args:
          env: an environment of the kind that the strategy is registered for.
          num_rounds: K.
        """
        raise TypeError(f"{type(self).__name__} must define make")
