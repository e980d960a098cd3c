"""Adaptation by episodic memory: the learner recalls its earlier state when a task recurs."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Observation, flatten
from metarl_jax.core.trees import join_leading, where_leading
from metarl_jax.core.types import Array, Memory, MetaParams, PolicyOut, PyTree, TimeStep, Trial
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners import episodic_store
from metarl_jax.learners.base import Described, MetaLearner, Setup
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequencePolicy, SequenceState, read_sequence
from metarl_jax.networks.layers import orthogonal


class Recall(struct.PyTreeNode):
    """The result of a query of the store, at one step.

    Attributes:
      slot: `[...]` int32, the nearest entry of the store.
      age: `[...]` int32, how many entries were written after it; −1 for an empty slot.
      familiarity: `[...]`, the similarity of its key to the observation, from 0 to 1.
      share: `[...]`, the mean share of the recurrent state that the recalled one replaced, from 0 to 1; 0 where
        recall is an input.
    """

    slot: Array
    age: Array
    familiarity: Array
    share: Array


class EpisodicPolicy(SequencePolicy):
    """A `SequencePolicy` that recalls what the store holds for its observation.

    Through a gate, the recurrent state h is replaced by the recalled state v, before each step of the core, by

      h ← h + κ r ∘ (v − h),   r = σ(W x + U h + b),

    where κ is how familiar the observation is and x what the policy reads. As an input, v and κ are read beside the
    observation.
    """

    num_neighbors: int
    bandwidth: float
    flatten: Callable[[Observation], Array]
    has_gate: bool

    def setup(self):
        super().setup()
        if self.has_gate:
            self.gate_input = nn.Dense(self.core.size, kernel_init=orthogonal(1.0))
            self.gate_state = nn.Dense(self.core.size, use_bias=False, kernel_init=orthogonal(1.0))

    def encode(self, timestep: TimeStep, previous: Observation | None, memory: Memory) -> PyTree:
        query = self.flatten(timestep.observation)
        value, slot, familiarity = episodic_store.recall(
            memory, query, self.num_neighbors, self.bandwidth
        )
        recall = Recall(
            slot, episodic_store.age(memory, slot), familiarity, jnp.zeros_like(familiarity)
        )
        seen = [*self.read(timestep, previous, memory), familiarity[..., None]]
        if not self.has_gate:
            seen.append(value)
        inputs = self.encoder(jnp.concatenate(seen, axis=-1))
        gate = (value, self.gate_input(inputs)) if self.has_gate else None
        return self.core.project(inputs), gate, recall

    def advance(self, carry: PyTree, encoded: PyTree, valid: Array) -> tuple[PyTree, PyTree]:
        projected, gate, recall = encoded
        if gate is not None:
            value, logits = gate
            state = self.core.state_of(carry)
            reinstated = jax.nn.sigmoid(logits + self.gate_state(state))
            reinstated *= recall.familiarity[..., None]
            changed = self.core.with_state(carry, state + reinstated * (value - state))
            carry = where_leading(valid, changed, carry)
            recall = recall.replace(share=reinstated.mean(-1))
        carry, features = super().advance(carry, projected, valid)
        return carry, (features, recall)

    def advance_all(self, carry: PyTree, encoded: PyTree, valid: Array) -> tuple[PyTree, PyTree]:
        projected, _, recall = encoded
        carry, features = super().advance_all(carry, projected, valid)
        return carry, (features, recall)

    def answer(self, features: PyTree, timestep: TimeStep) -> PolicyOut:
        features, recall = features
        return super().answer(features, timestep).replace(latent=recall)


@dataclasses.dataclass(frozen=True)
class Episodic(RL2):
    """RL² with a key–value store that outlives trials: it maximises the return over parameters θ *and* memory M.

      max_{θ, M} E_task E_{trajectory ~ π_θ(·|M)} Σ_t γ^t r_t

    Every observation is a query. The recurrent state of the most similar entry is reinstated in the network through a
    learned gate (`EpisodicPolicy`). If nothing similar is stored, nothing changes, and the policy has to explore. When
    a trial ends, its first observation is written as a key; the value is the recurrent state at the end of the trial,
    after the last reward. Where several trials of a meta-step are of the same task, the one with the highest return
    stays. Within a meta-step the store is frozen, and so are the states in it: no gradient passes from one trial to
    another.

    Differences from Ritter et al. (2018), whose agent is an LSTM trained by A2C on one task after another: keys are the
    observation itself, not an embedding of it, and the gate is multiplied by the similarity of the key.

    References:
      Ritter et al., "Been There, Done That: Meta-Learning with Episodic Recall", ICML 2018, equations 1 to 3.
      Pritzel et al., "Neural Episodic Control", ICML 2017.
    """

    name: ClassVar[str] = "episodic"
    carries_over: ClassVar[bool] = False

    recall: Literal["gate", "input"] = "gate"
    """How the recalled state reaches the policy: through a learned `gate` into the recurrent state of `gru` or `lstm`,
    or as an `input` beside the observation."""
    capacity: int = bounded(1024, at_least=1)
    """Number of entries in the store."""
    num_neighbors: int = bounded(1, at_least=1)
    """Number of nearest entries that a query reads."""
    bandwidth: float = bounded(0.3, above=0)
    """Length scale h of the similarity exp(−d²/2h²) of a key at distance d, in the units of observations."""
    merge_distance: float = bounded(0.1, at_least=0)
    """Keys at most this far apart are treated as the same task; in the units of observations."""
    store_enabled: bool = True
    """Write to the store. If disabled, the learner is RL²."""

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if self.recall == "gate" and self.core not in ("gru", "lstm"):
            raise UserError(
                f"learner.recall='gate' needs a recurrent state, which learner.core={self.core!r} does not have: "
                "choose learner.core gru or lstm, or learner.recall input"
            )

    def make_policy(self, env: TaskDistribution) -> EpisodicPolicy:
        return EpisodicPolicy(
            **self.policy_options(env),
            num_neighbors=self.num_neighbors,
            bandwidth=self.bandwidth,
            flatten=partial(flatten, env.observation_space),
            has_gate=self.recall == "gate",
        )

    def describe(self, core: nn.Module, out: PolicyOut, state: SequenceState) -> Described:
        recall: Recall = out.latent
        found = {"recall, familiarity": recall.familiarity[..., None]}
        if self.recall == "gate":
            found["recall, share of the state"] = recall.share[..., None]
        return found | super().describe(core, out, state)

    def init_memory(self, env: TaskDistribution) -> episodic_store.Store:
        return episodic_store.empty(self.capacity, env.observation_size, self.hidden_size)

    def make(self, env: TaskDistribution) -> MetaLearner:
        module, learner = self.make_policy(env), super().make(env)

        def final_state(
            meta_params: MetaParams, memory: episodic_store.Store, trial: Trial
        ) -> Array:
            """Returns the recurrent state, or the features, after a trial and its last reward, `[E, V]`."""
            timesteps = join_leading(trial.rollout.timestep)
            num_episodes = timesteps.valid.shape[1]
            closing = jax.tree.map(lambda x: x[-1], trial.last)
            closing = closing.replace(valid=jnp.ones(num_episodes, bool))
            seen = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), timesteps, closing)
            start = learner.begin(meta_params, memory, trial.key, num_episodes)
            state, (features, _) = read_sequence(module, meta_params, start, seen)
            return module.core.state_of(state.carry) if module.has_gate else features[-1]

        def update_memory(meta_params: MetaParams, memory: episodic_store.Store, trials: Trial):
            if not self.store_enabled:
                return memory
            values = jax.vmap(lambda trial: final_state(meta_params, memory, trial))(trials)
            first = jax.tree.map(lambda x: x[:, 0, 0], trials.rollout.timestep.observation)
            keys = flatten(env.observation_space, first)  # [N, E, O]
            returns = trials.episode_returns().sum(axis=-2)  # [N, E]
            keys, values, returns = join_leading((keys, values, returns))
            best_last = jnp.argsort(returns)  # Of equal keys, the last one that is written stays.
            return episodic_store.write(
                memory, keys[best_last], values[best_last], self.merge_distance, self.bandwidth
            )

        return learner._replace(update_memory=update_memory)
