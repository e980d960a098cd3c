"""Adaptation by a belief over tasks: VariBAD."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl_jax.core.distributions import DiagonalGaussian
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import (
    Observation,
    encode_action,
    encoded_action_size,
    flat_size,
    flatten,
)
from metarl_jax.core.trees import join_leading, padded_mean
from metarl_jax.core.types import (
    Array,
    Key,
    Memory,
    MetaParams,
    Metrics,
    PolicyOut,
    TimeStep,
    Trial,
)
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import Described, MetaLearner, ParameterGroup, Setup
from metarl_jax.learners.sequence import SequenceLearner, SequencePolicy, SequenceState
from metarl_jax.networks.layers import MLP, Dense, NarrowDense
from metarl_jax.networks.sequence.gated import GRU

RewardHead = Literal["regression", "bernoulli"]

BELIEF = "^params/(encoder|core|posterior_head|(reward|transition)_(decoder|head))(/|$)"
"""Regular expression for the parameters that the variational loss trains: encoder, posterior and decoders."""


class BeliefPolicy(SequencePolicy):
    """An encoder of the trial into a posterior over a latent task, a policy that acts on it, and decoders.

    The posterior after a step is N(μ, σ²), diagonal, of Z entries. The policy sees the observation, μ and log σ². After
    each action, including the last of an episode, the encoder reads the observation that the action led to, not the
    first observation of the next episode.
    """

    latent_size: int
    policy_sizes: Sequence[int]
    decoder_sizes: Sequence[int]
    observation_size: int
    flatten: Callable[[Observation], Array]
    policy_trains_encoder: bool
    reward_head_type: RewardHead

    def setup(self):
        super().setup()
        self.posterior_head = nn.Dense(2 * self.latent_size)
        self.policy = MLP(self.policy_sizes, self.activation)
        self.reward_decoder = MLP(self.decoder_sizes, "relu")
        by_outcome = self.reward_head_type == "bernoulli"
        self.reward_head = NarrowDense(self.observation_size if by_outcome else 1, 1.0)
        self.transition_decoder = MLP(self.decoder_sizes, "relu")
        self.transition_head = Dense(self.observation_size, 0.1)

    def read(self, timestep: TimeStep, previous: Observation | None, memory: Memory) -> list[Array]:
        led_to = timestep.replace(observation=timestep.outcome)
        return super().read(led_to, previous, memory)

    def posterior(self, features: Array) -> DiagonalGaussian:
        """N(μ, σ²) over the latent task, `[..., Z]`."""
        mean, log_std = jnp.split(self.posterior_head(features), 2, axis=-1)
        return DiagonalGaussian(mean, jnp.clip(log_std, -5.0, 2.0))

    def answer(self, features: Array, timestep: TimeStep) -> PolicyOut:
        posterior = self.posterior(features)
        belief = posterior if self.policy_trains_encoder else jax.lax.stop_gradient(posterior)
        seen = [self.observation_encoder(timestep.observation), belief.mean, 2.0 * belief.log_std]
        out = super().answer(self.policy(jnp.concatenate(seen, axis=-1)), timestep)
        return out.replace(latent=posterior)

    def decode(self, latent: Array, steps: "Steps") -> tuple[Array, Array]:
        """Predicts steps `[..., *]` in the task `[..., Z]`.

        Returns:
          The mean of the reward `[...]`, as the encoder reads it, or with `bernoulli` the logit that it is above 0; and
          the mean of the next observation `[..., O]`.
        """
        inputs = jnp.concatenate([latent, steps.observation, steps.action], axis=-1)
        change = self.transition_head(self.transition_decoder(inputs))
        if self.reward_head_type == "bernoulli":
            logits = self.reward_head(self.reward_decoder(latent))
            reward = jnp.sum(logits * steps.next_observation, axis=-1)
        else:
            reward = self.reward_head(self.reward_decoder(inputs))[..., 0]
        return reward, steps.observation + change

    def init_all(self, state: SequenceState, timestep: TimeStep) -> Any:
        latent, observation = jnp.zeros((1, self.latent_size)), self.flatten(timestep.observation)
        action, reward = timestep.previous_action, timestep.previous_reward
        steps = Steps(observation, action, reward, observation, timestep.valid)
        return self(state, timestep), self.decode(latent, steps)


class Steps(struct.PyTreeNode):
    """The transitions of a trial, `[S, E, ...]` with S = K·T, which the decoders predict.

    Attributes:
      observation, action, reward: of a step, the action encoded.
      next_observation: what the action led to.
      valid: whether the step was taken.
    """

    observation: Array
    action: Array
    reward: Array
    next_observation: Array
    valid: Array


@dataclasses.dataclass(frozen=True)
class VariBAD(SequenceLearner):
    """VariBAD: a recurrent encoder infers a belief over tasks, and the policy acts on the belief.

    With q_t the posterior after t steps and m ~ q_t, the encoder and the decoders minimise, beside the policy's loss,

      mean over t of  Σ_s [½ (r̂(m, o_s, a_s) − r_s)² + w_o ½ ‖ô(m, o_s, a_s) − o_{s+1}‖²] + w_KL KL(q_t ‖ q_{t−1})

    with q_{−1} = N(0, I), the sum over *all* steps s of the trial, those after t included, and `num_posteriors` steps t
    drawn for each meta-step. With `reward_head="bernoulli"` the first term is the cross entropy of r_s > 0 and a
    probability that depends on m and o_{s+1} alone.

    As in the source (section 3 of the paper, and `vae.py`, `models/encoder.py`, `models/decoder.py` of the repository
    lmzintgraf/varibad): the policy reads the observation, μ and log σ², and its gradient stops at the posterior;
    encoder and decoders have an Adam of their own; the encoder reads, and the decoders predict, what the last action of
    an episode led to; and the cross entropy has one output for each state (`multihead_for_reward`).

    Differences from the source: its variational loss is trained on a buffer of up to 100,000 older trials, in three
    updates after each update of the policy, which acts on the beliefs that were recorded; here it is trained on the
    trials of the meta-batch, in the same steps as the policy, whose beliefs are computed again in each epoch. The
    source sums over all t instead of drawing some, and does not bound log σ, which is kept in [−5, 2] here. It trains
    the policy on the grid by A2C.

    References:
      Zintgraf et al., "VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning", ICLR 2020.
    """

    name: ClassVar[str] = "varibad"
    carries_over: ClassVar[bool] = False

    latent_size: int = bounded(5, at_least=1)
    """Entries Z of the latent task."""
    policy_sizes: tuple[int, ...] = bounded((128, 64), at_least=1)
    """Sizes of the hidden layers of the policy that acts on the belief."""
    decoder_sizes: tuple[int, ...] = bounded((64, 32), at_least=1)
    """Sizes of the hidden layers of the reward and transition decoders."""
    elbo_coefficient: float = bounded(1.0, at_least=0)
    """Weight of the variational loss relative to the policy's."""
    kl_coefficient: float = bounded(0.1, at_least=0)
    """Weight w_KL of the KL divergence between successive posteriors."""
    reward_head: RewardHead = "regression"
    """How rewards are predicted: `regression` on observation and action, or `bernoulli`, whether they are above 0, by
    one output per entry of a one-hot observation, as the source does on the grid."""
    transition_coefficient: float = bounded(0.0, at_least=0)
    """Weight w_o of the prediction of observations; choose 0 if tasks differ in rewards alone."""
    num_posteriors: int = bounded(8, at_least=1)
    """Number of time steps whose posteriors are decoded in an outer step."""
    policy_trains_encoder: bool = False
    """Propagate the policy's gradient into the encoder."""
    belief_learning_rate: float | None = bounded(None, above=0)
    """Step size of the separate Adam optimizer of encoder and decoders; `outer.learning_rate` when not given."""
    belief_max_gradient_norm: float | None = bounded(None, above=0)
    """A gradient of encoder and decoders with a larger norm is scaled down to this norm; `outer.max_gradient_norm` when
    not given."""

    def suited_to(self, env: TaskDistribution) -> SequenceLearner:
        """Returns these options with the policy's gradient in the encoder, which becomes useful sooner, and a
        variational loss that does not dominate it."""
        suited = super().suited_to(env)
        changed: dict[str, Any] = {"policy_trains_encoder": True, "elbo_coefficient": 0.02}
        return dataclasses.replace(suited, **changed)

    def make_core(self) -> nn.Module:
        return GRU(self.hidden_size, self.init_timescale)

    def make_policy(self, env: TaskDistribution) -> BeliefPolicy:
        return BeliefPolicy(
            **self.policy_options(env),
            latent_size=self.latent_size,
            policy_sizes=self.policy_sizes,
            decoder_sizes=self.decoder_sizes,
            observation_size=flat_size(env.observation_space),
            flatten=partial(flatten, env.observation_space),
            policy_trains_encoder=self.policy_trains_encoder,
            reward_head_type=self.reward_head,
        )

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if self.reward_head == "bernoulli" and setup.normalize_observations:
            raise UserError(
                "learner.reward_head='bernoulli' reads one-hot observations, which normalize_observations=True "
                "changes: choose normalize_observations=False, or reward_head='regression'"
            )

    def num_adapted(self, env: TaskDistribution) -> int:
        return 2 * self.latent_size

    def describe(self, core: nn.Module, out: PolicyOut, state: SequenceState) -> Described:
        del core, state
        posterior = out.latent
        return {"belief, mean": posterior.mean, "belief, deviation": jnp.exp(posterior.log_std)}

    def make(self, env: TaskDistribution) -> MetaLearner:
        module, learner = self.make_policy(env), super().make(env)

        def aux_loss(
            meta_params: MetaParams, memory: Memory, out: PolicyOut, trial: Trial
        ) -> tuple[Array, Metrics]:
            del memory
            posteriors, steps = join_leading(out.latent), steps_of(env, trial)
            error = self._reconstruction(module, meta_params, posteriors, steps, trial.key)
            valid = join_leading(trial.rollout.timestep.valid)
            kl = padded_mean(divergence_from_previous(posteriors), valid)
            loss = self.elbo_coefficient * (error + self.kl_coefficient * kl)
            return loss, {"reconstruction_loss": error, "posterior_kl": kl}

        group = ParameterGroup(
            "belief", BELIEF, self.belief_learning_rate, self.belief_max_gradient_norm
        )
        return learner._replace(aux_loss=aux_loss, parameter_groups=(group,), reads_outcome=True)

    def _reconstruction(
        self, module, meta_params, posteriors: DiagonalGaussian, steps: Steps, key: Key
    ) -> Array:
        """Squared errors of what is decoded from posteriors `[S, E]` at steps drawn with the key of the trial."""
        choice_key, noise_key = jax.random.split(key)
        chosen = jax.random.choice(choice_key, len(steps.valid), (self.num_posteriors,))
        latent = jax.tree.map(lambda x: x[chosen], posteriors).sample(noise_key)  # [P, E, Z]
        num_steps = len(steps.valid)

        def spread(x, axis, size):
            x = jnp.expand_dims(x, axis)
            return jnp.broadcast_to(x, (*x.shape[:axis], size, *x.shape[axis + 1 :]))

        every = jax.tree.map(lambda x: spread(x, 0, self.num_posteriors), steps)
        decoded: Any = module.apply(
            meta_params, spread(latent, 1, num_steps), every, method="decode"
        )
        reward, observation = decoded
        if self.reward_head == "bernoulli":
            error = optax.sigmoid_binary_cross_entropy(reward, every.reward > 0)
        else:
            error = 0.5 * (reward - self.see_reward(steps.reward)) ** 2
        surprise = 0.5 * jnp.sum((observation - steps.next_observation) ** 2, axis=-1)
        error += self.transition_coefficient * surprise
        error = jnp.where(steps.valid, error, 0.0)
        return padded_mean(error.sum(axis=1), steps.valid[chosen])


def steps_of(env: TaskDistribution, trial: Trial) -> Steps:
    """Returns the steps of a trial, as the decoders read them."""
    rollout = trial.rollout
    timestep, valid = rollout.timestep, rollout.timestep.valid
    outcome, last = (flatten(env.observation_space, x.outcome) for x in (timestep, trial.last))
    # What a step led to is the outcome that the next one shows, or that follows the round.
    following = jnp.concatenate([outcome[:, 1:], last[:, None]], axis=1)
    action = encode_action(env.action_space, rollout.action)
    action = action.reshape(*valid.shape, encoded_action_size(env.action_space))
    observation = flatten(env.observation_space, timestep.observation)
    return join_leading(Steps(observation, action, rollout.reward, following, valid))


def divergence_from_previous(posteriors: DiagonalGaussian) -> Array:
    """KL(q_t ‖ q_{t−1}) of posteriors `[S, E]`, the first against N(0, I)."""
    previous = jax.tree.map(lambda x: jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]), posteriors)
    return posteriors.kl(previous)
