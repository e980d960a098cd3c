"""Adaptation by recurrence: RL²."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.distributions import Distribution
from metarl_jax.env import ActionSpace, TaskDistribution, encoded_action_size
from metarl_jax.learner import LearnerConfig, MetaLearner
from metarl_jax.networks import GRU, MLP, Activation, NarrowDense, PolicyHead
from metarl_jax.types import Array, PolicyOut, TimeStep
from metarl_jax.validation import bounded


class RecurrentPolicy(nn.Module):
    """Encoder, GRU, and heads for the policy and the value, each over any leading axes."""

    action_space: ActionSpace
    encoder_sizes: Sequence[int]
    hidden_size: int
    activation: str
    log_std_init: float

    def setup(self):
        self.encoder = MLP(self.encoder_sizes, self.activation)
        self.gru = GRU(self.hidden_size)
        self.policy_head = PolicyHead(self.action_space, self.log_std_init)
        self.value_head = NarrowDense(1, 1.0)

    def encode(self, timestep: TimeStep) -> Array:
        """What the GRU reads, projected: `[..., 3H]`."""
        first = timestep.is_first.astype(jnp.float32)
        scalars = jnp.stack([timestep.previous_reward, first], axis=-1)
        seen = [timestep.observation, timestep.previous_action, scalars]
        return self.gru.project(self.encoder(jnp.concatenate(seen, axis=-1)))

    def advance(self, carry: Array, encoded: Array, valid: Array) -> Array:
        """The next carry `[..., H]`, or the same where the step is not valid."""
        return jnp.where(valid[..., None], self.gru(carry, encoded), carry)

    def answer(self, carry: Array) -> tuple[Distribution, Array]:
        """The policy and the value after what was read."""
        return self.policy_head(carry), self.value_head(carry)[..., 0]

    def __call__(self, carry: Array, timestep: TimeStep):
        carry = self.advance(carry, self.encode(timestep), timestep.valid)
        return self.answer(carry), carry


@dataclasses.dataclass(frozen=True)
class RL2(LearnerConfig):
    """RL²: a recurrent policy whose hidden state, kept over the episodes of a trial, is the fast learner.

    It reads the observation, its last action and reward, and whether an episode begins. The trial is one long
    episode for credit: set `advantage.credit` to `trial`.

    References:
      Duan et al., «RL²: Fast Reinforcement Learning via Slow Reinforcement Learning», 2016.
      Wang et al., «Learning to Reinforcement Learn», 2016.
    """

    name: ClassVar[str] = "rl2"

    hidden_size: int = bounded(128, at_least=1)
    """Entries of the GRU's state."""
    encoder_sizes: tuple[int, ...] = bounded((64,), at_least=1)
    """Layers between the inputs and the GRU."""
    activation: Activation = "tanh"
    """Activation of the encoder."""
    log_std_init: float = 0.0
    """First log standard deviation of continuous actions, in units of the action bound."""

    def make(self, env: TaskDistribution) -> MetaLearner:
        module = RecurrentPolicy(
            action_space=env.action_space,
            encoder_sizes=self.encoder_sizes,
            hidden_size=self.hidden_size,
            activation=self.activation,
            log_std_init=self.log_std_init,
        )
        action_size = encoded_action_size(env.action_space)

        def init(key):
            timestep = TimeStep(
                observation=jnp.zeros(env.observation_size),
                previous_action=jnp.zeros(action_size),
                previous_reward=jnp.zeros(()),
                is_first=jnp.ones((), bool),
                valid=jnp.ones((), bool),
            )
            return module.init(key, jnp.zeros(self.hidden_size), timestep)

        def begin(meta_params, memory, key, num_episodes):
            del meta_params, memory, key
            return jnp.zeros((num_episodes, self.hidden_size), jnp.float32)

        def act(meta_params, carry, timestep):
            (distribution, value), carry = module.apply(meta_params, carry, timestep)
            return PolicyOut(distribution, value), carry

        def unroll(meta_params, carry, timesteps):
            encoded = module.apply(meta_params, timesteps, method="encode")

            def step(carry, inputs):
                carry = module.apply(meta_params, carry, *inputs, method="advance")
                return carry, carry

            carry, carries = jax.lax.scan(step, carry, (encoded, timesteps.valid))
            answers: Any = module.apply(meta_params, carries, method="answer")
            return PolicyOut(*answers), carry

        return MetaLearner(init=init, begin=begin, act=act, unroll=unroll)
