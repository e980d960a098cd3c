"""Adaptation by episodic memory: what was learned in a task is there when the task comes back."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.spaces import Observation, flatten
from metarl_jax.core.trees import join_leading
from metarl_jax.core.types import Array, Memory, MetaParams, TimeStep, Trial
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners import episodic_store
from metarl_jax.learners.base import MetaLearner
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequencePolicy, read_sequence


class EpisodicPolicy(SequencePolicy):
    """A `SequencePolicy` that also sees what the store holds for its observation, and how familiar that is."""

    num_neighbors: int
    bandwidth: float
    flatten: Callable[[Observation], Array]

    def read(self, timestep: TimeStep, previous: Observation | None, memory: Memory) -> list[Array]:
        value, familiarity = episodic_store.recall(
            memory, self.flatten(timestep.observation), self.num_neighbors, self.bandwidth
        )
        return [*super().read(timestep, previous, memory), value, familiarity[..., None]]


@dataclasses.dataclass(frozen=True)
class Episodic(RL2):
    """RL² with a key–value store that outlives trials: it maximises the return over parameters θ *and* memory M.

      max_{θ, M} E_task E_{trajectory ~ π_θ(·|M)} Σ_t γ^t r_t

    When a task begins its first observation is the query, and so is every later one: the policy sees the value of the
    nearest keys and how near they are. If nothing similar is stored it sees zeros, and has to explore. When a trial
    ends, its first observation is written, with the features of having seen all of it, the last reward included
    (`update_memory`). Within a meta-step the store is frozen, as are the values in it: no gradient passes from one
    trial to another.

    References:
      Ritter et al., "Been There, Done That: Meta-Learning with Episodic Recall", ICML 2018.
      Pritzel et al., "Neural Episodic Control", ICML 2017.
    """

    name: ClassVar[str] = "episodic"

    capacity: int = bounded(1024, at_least=1)
    """Slots of the store."""
    num_neighbors: int = bounded(1, at_least=1)
    """Keys that are read."""
    bandwidth: float = bounded(0.3, above=0)
    """Distance at which a key is no longer similar, in the units of observations."""
    merge_distance: float = bounded(0.1, at_least=0)
    """Distance up to which two keys are the same task, in the units of observations."""
    store_enabled: bool = True
    """Write to the store. Without it this is RL²."""

    def make_policy(self, env: TaskDistribution) -> EpisodicPolicy:
        return EpisodicPolicy(
            **self.policy_options(env),
            num_neighbors=self.num_neighbors,
            bandwidth=self.bandwidth,
            flatten=partial(flatten, env.observation_space),
        )

    def init_memory(self, env: TaskDistribution) -> episodic_store.Store:
        return episodic_store.empty(self.capacity, env.observation_size, self.hidden_size)

    def make(self, env: TaskDistribution) -> MetaLearner:
        module, learner = self.make_policy(env), super().make(env)

        def what_remains(
            meta_params: MetaParams, memory: episodic_store.Store, trial: Trial
        ) -> Array:
            """The features after what the last action of the trial brought, `[E, V]`."""
            timesteps = join_leading(trial.rollout.timestep)
            num_episodes = timesteps.valid.shape[1]
            closing = jax.tree.map(lambda x: x[-1], trial.last)
            closing = closing.replace(valid=jnp.ones(num_episodes, bool))
            seen = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), timesteps, closing)
            start = learner.begin(meta_params, memory, trial.key, num_episodes)
            return read_sequence(module, meta_params, start, seen)[1][-1]

        def update_memory(meta_params: MetaParams, memory: episodic_store.Store, trials: Trial):
            if not self.store_enabled:
                return memory
            values = jax.vmap(lambda trial: what_remains(meta_params, memory, trial))(trials)
            first = jax.tree.map(lambda x: x[:, 0, 0], trials.rollout.timestep.observation)
            keys = flatten(env.observation_space, first)  # [N, E, O]
            keys, values = join_leading((keys, values))
            return episodic_store.write(memory, keys, values, self.merge_distance, self.bandwidth)

        return learner._replace(update_memory=update_memory)
