"""The base of learners that read a trial as one sequence: an encoder, a recurrent core, and heads."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.spaces import ActionSpace, Discrete, Observation, blank, encoded_action_size
from metarl_jax.core.trees import where_leading
from metarl_jax.core.types import Array, Memory, PolicyOut, PyTree, TimeStep
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import Described, LearnerConfig, MetaLearner
from metarl_jax.networks.layers import (
    MIN_LOG_STD,
    MLP,
    Activation,
    NarrowDense,
    PerActionHead,
    PolicyHead,
)


class SequenceState(struct.PyTreeNode):
    """The inner state of a learner that reads a trial as one sequence.

    Attributes:
      carry: what the core carries, of `[E, ...]`.
      previous: the observation of the last valid step, `[E, *]`; None where the learner does not read it.
      memory: the memory that persists across trials, as of the start of this one; the learner only reads it.
    """

    carry: PyTree
    previous: Observation | None
    memory: Memory


class SequencePolicy(nn.Module):
    """Encoder, core (`metarl_jax.networks.sequence`), and heads for the policy and the value, over any leading axes."""

    action_space: ActionSpace
    core: nn.Module
    encoder_sizes: Sequence[int]
    activation: str
    log_std_init: float
    see_reward: Callable[[Array], Array]
    observation_encoder: nn.Module
    action_features: Callable[[Observation], Any] | None
    head_sizes: Sequence[int]
    predicted_size: int

    def setup(self):
        self.encoder = MLP(self.encoder_sizes, self.activation)
        if self.predicted_size:
            self.task_head = NarrowDense(self.predicted_size, 1.0)
        if self.action_features is not None:
            self.per_action_head = PerActionHead()
        else:
            self.policy_layers = MLP(self.head_sizes, self.activation)
            self.policy_head = PolicyHead(self.action_space, self.log_std_init)
            self.value_layers = MLP(self.head_sizes, self.activation)
            self.value_head = NarrowDense(1, 1.0)

    def read(self, timestep: TimeStep, previous: Observation | None, memory: Memory) -> list[Array]:
        """Returns the inputs of a step: arrays `[..., I]`. `previous` is the observation before it, or None."""
        del memory
        first = timestep.is_first.astype(jnp.float32)
        scalars = jnp.stack([self.see_reward(timestep.previous_reward), first], axis=-1)
        look = self.observation_encoder
        seen = [look(timestep.observation), timestep.previous_action, scalars]
        return seen if previous is None else [*seen, look(previous)]

    def encode(self, timestep: TimeStep, previous: Observation | None, memory: Memory) -> PyTree:
        """Returns the projected inputs of the core: arrays `[..., P]`."""
        seen = jnp.concatenate(self.read(timestep, previous, memory), axis=-1)
        return self.core.project(self.encoder(seen))

    def advance(self, carry: PyTree, encoded: PyTree, valid: Array) -> tuple[PyTree, PyTree]:
        """Takes one step of the core. Returns the next carry, and what `answer` reads: features `[E, F]`."""
        return self.core(carry, encoded, valid)

    def advance_all(self, carry: PyTree, encoded: PyTree, valid: Array) -> tuple[PyTree, PyTree]:
        """Takes all steps of a parallel core. Returns the last carry, and features `[S, E, F]`."""
        return self.core.sequence(carry, encoded, valid)

    def answer(self, features: PyTree, timestep: TimeStep) -> PolicyOut:
        """Returns the policy and the value after what was read; with `predicted_size` G, the predicted task `[..., G]`
        in `latent`."""
        if self.action_features is not None:
            out = self.per_action_head(features, self.action_features(timestep.observation))
        else:
            value = self.value_head(self.value_layers(features))[..., 0]
            out = PolicyOut(self.policy_head(self.policy_layers(features)), value)
        return out.replace(latent=self.task_head(features)) if self.predicted_size else out

    def init_all(self, state: SequenceState, timestep: TimeStep) -> Any:
        """Calls every part once, so that flax creates all parameters."""
        return self(state, timestep)

    def __call__(self, state: SequenceState, timestep: TimeStep) -> tuple[PolicyOut, SequenceState]:
        encoded = self.encode(timestep, state.previous, state.memory)
        carry, features = self.advance(state.carry, encoded, timestep.valid)
        previous = state.previous
        if previous is not None:
            previous = where_leading(timestep.valid, timestep.observation, previous)
        return self.answer(features, timestep), state.replace(carry=carry, previous=previous)


@dataclasses.dataclass(frozen=True)
class SequenceLearner(LearnerConfig):
    """The base of options of learners that read a trial as one sequence; builds these learners.

    They read the observation, the last action and reward, whether an episode begins and, with
    `reads_previous_observation`, the previous observation. The trial is one long episode for credit: set
    `advantage.credit` to `trial`.
    """

    carries_over: ClassVar[bool] = True

    hidden_size: int = bounded(128, at_least=1)
    """Number of features that the core outputs; the size of its recurrent state."""
    encoder_sizes: tuple[int, ...] = bounded((64,), at_least=1)
    """Sizes of the hidden layers between the inputs and the core."""
    activation: Activation = "tanh"
    """Activation of the encoder and, where they have hidden layers, of the heads."""
    log_std_init: float = bounded(0.0, above=MIN_LOG_STD)
    """Initial log standard deviation of continuous actions, in units of half the width of the action box."""
    reads_previous_observation: bool = False
    """Also read the observation in which the last action was taken, so that one step contains a whole transition. A
    core whose keys or gates depend on one step alone (a layer of `transformer` or `min_gru`) cannot relate a reward to
    the previous observation; `gru`, `lstm` and the controller of `key_value` can learn to store it."""

    reward_input: Literal["raw", "symlog"] = "raw"
    """How the core reads rewards: `raw`, or `symlog`, which is sign(r) log(1 + |r|), for rewards of very different
    sizes."""
    reward_input_scale: float = bounded(1.0, above=0)
    """Factor of rewards as inputs of the core, which rewards much larger than 1 saturate. It does not change the
    training objective; `advantage.reward_scaling` does."""
    init_timescale: float | None = bounded(None, above=2)
    """Initial time scale, in steps, of the slowest entries of a gated core; the fastest forget within two steps. The
    length of a trial is a good choice. When not given, 256 for `min_gru`, and no such initialisation for `gru` and
    `lstm`, which then forget within a few steps."""

    def see_reward(self, reward: Array) -> Array:
        """Transforms rewards, of any shape, to inputs of the learner."""
        scaled = self.reward_input_scale * reward
        if self.reward_input == "raw":
            return scaled
        return jnp.sign(scaled) * jnp.log1p(jnp.abs(scaled))

    def suited_to(self, env: TaskDistribution) -> "SequenceLearner":
        if isinstance(env.action_space, Discrete):
            return self
        return dataclasses.replace(self, log_std_init=-0.7)

    def make_core(self) -> nn.Module:
        """Builds the core of this learner."""
        raise TypeError(f"{type(self).__name__} must define make_core")

    def make_policy(self, env: TaskDistribution) -> SequencePolicy:
        """Builds the networks of this learner."""
        return SequencePolicy(**self.policy_options(env))

    def policy_options(self, env: TaskDistribution) -> dict[str, Any]:
        """Returns the arguments that every `SequencePolicy` takes."""
        return {
            "action_space": env.action_space,
            "core": self.make_core(),
            "encoder_sizes": self.encoder_sizes,
            "activation": self.activation,
            "log_std_init": self.log_std_init,
            "see_reward": self.see_reward,
            "observation_encoder": self.make_encoder(env),
            "action_features": None,
            "head_sizes": (),
            "predicted_size": 0,
        }

    def filled_parameters(self) -> dict[str, str]:
        return {"log_std_init": "log_std$"}

    def describe(self, core: nn.Module, out: PolicyOut, state: SequenceState) -> Described:
        """Returns what pictures show of a step (see `MetaLearner.describe`): what the core remembers."""
        del out
        return core.describe(state.carry)

    def init_memory(self, env: TaskDistribution) -> Memory:
        """Returns the empty memory that persists across trials."""
        del env
        return ()

    def make(self, env: TaskDistribution) -> MetaLearner:
        module = self.make_policy(env)

        def init(key):
            state = begin({}, self.init_memory(env), key, num_episodes=1)
            return module.init(key, state, blank_timestep(env), method="init_all")

        def begin(meta_params, memory, key, num_episodes):
            del meta_params, key
            previous = None
            if self.reads_previous_observation:
                previous = blank(env.observation_space, num_episodes)
            return SequenceState(module.core.init_carry(num_episodes), previous, memory)

        def act(meta_params, state: SequenceState, timestep):
            return module.apply(meta_params, state, timestep)

        def unroll(meta_params, state: SequenceState, timesteps):
            state, features = read_sequence(module, meta_params, state, timesteps)
            out: Any = module.apply(meta_params, features, timesteps, method="answer")
            return out, state

        return MetaLearner(
            init=init,
            begin=begin,
            act=act,
            unroll=unroll,
            init_memory=lambda: self.init_memory(env),
            describe=lambda out, state: self.describe(module.core, out, state),
        )


def read_sequence(
    module: SequencePolicy, meta_params: PyTree, state: SequenceState, timesteps: TimeStep
) -> tuple[SequenceState, PyTree]:
    """Returns the state after timesteps `[S, E]`, and the features of every step, `[S, E, F]`."""
    valid = timesteps.valid
    previous, last = previous_observations(state.previous, timesteps.observation, valid)
    encoded: Any = module.apply(meta_params, timesteps, previous, state.memory, method="encode")

    def advance(method: str, carry: PyTree, encoded: Any, valid: Array) -> Any:
        return module.apply(meta_params, carry, encoded, valid, method=method)

    def step(carry, inputs):
        return advance("advance", carry, *inputs)

    if module.core.is_parallel:
        carry, features = advance("advance_all", state.carry, encoded, valid)
    else:
        carry, features = jax.lax.scan(step, state.carry, (encoded, valid))
    return state.replace(carry=carry, previous=last), features


def previous_observations(
    first: Observation | None, observations: Observation, valid: Array
) -> tuple[Observation | None, Observation | None]:
    """Returns the observation of the valid step before each of `[S, E]`, and of the last valid one.

    Args:
      first: `[E, *]`, the observation before the first step; None if the learner does not read it.
      observations: `[S, E, *]`.
      valid: `[S, E]`.

    Returns:
      `[S, E, *]` and `[E, *]`, or None and None.
    """
    if first is None:
        return None, None
    steps = jnp.arange(1, len(valid) + 1)[:, None]
    latest = jax.lax.cummax(jnp.where(valid, steps, 0))  # 0 stands for `first`
    before = jnp.concatenate([jnp.zeros_like(latest[:1]), latest[:-1]])
    episodes = jnp.arange(valid.shape[1])
    known = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, observations)
    return jax.tree.map(lambda x: x[before, episodes], known), jax.tree.map(
        lambda x: x[latest[-1], episodes], known
    )


def blank_timestep(env: TaskDistribution) -> TimeStep:
    """Returns a timestep `[1]` of zeros."""
    return TimeStep(
        observation=blank(env.observation_space, 1),
        previous_action=jnp.zeros((1, encoded_action_size(env.action_space))),
        previous_reward=jnp.zeros(1),
        is_first=jnp.ones(1, bool),
        valid=jnp.ones(1, bool),
        outcome=blank(env.observation_space, 1),
    )
