"""A trained learner for your own control loop: on a robot, in another library's simulator, or in a service."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.advantages import AdvantageEstimator
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.spaces import Observation, encode_action, encoded_action_size
from metarl_jax.core.types import Array, Key, MetaState, TimeStep, Transition
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import MetaLearner, unroll
from metarl_jax.learners.sequence import blank_timestep
from metarl_jax.program.simulation import make_act, normalized

Carry = tuple[Array, ...]
"""The learner's state in a task: a flat tuple of arrays, which `jax.export` and any file format can hold."""


class Policy(NamedTuple):
    """A trained learner, for one task and one episode at a time.

    ```python
    carry = policy.init()  # a new task
    for _ in range(num_episodes):
        observation, reward, is_first, done = reset(), 0.0, True, False
        while not done:
            action, carry = policy.act(carry, observation, reward, is_first)
            observation, reward, done = step(action)
            is_first = False
    ```

    Attributes:
      init: () to the carry before anything was seen of a task.
      act: (carry, observation, reward, is_first, key=None, action_mask=None, outcome=None) to an action and the next
        carry. `reward` is that of the last action, 0 at the first step of a task; `is_first` marks the first step of
        an episode. Without a key the action is the mode of the policy. `outcome`, at the first step of another
        episode, is the observation in which the one before has ended, for learners that read it.
      adapt: (carry, observations `[T, E, *]`, actions `[T, E, ...]`, rewards `[T, E]`, valid `[T, E]`) to the carry
        after the learner has adapted to the E episodes of a round. None for a learner that adapts while it acts.
      read: carry to its arrays by name: `inner_state/…`, such as adapted weights or a recurrent state; `latent/…`, what
        the learner has inferred of the task at the last step, such as a belief or a routing; `previous_action`. The
        order is that of the carry.
    """

    init: Callable[[], Carry]
    act: Callable[..., tuple[Array, Carry]]
    adapt: Callable[..., Carry] | None
    read: Callable[[Carry], dict[str, Array]]


class _State(struct.PyTreeNode):
    inner_state: Any
    latent: Any
    previous_action: Array


def make_policy(
    env: TaskDistribution, learner: MetaLearner, advantages: AdvantageEstimator, meta: MetaState
) -> Policy:
    """Returns the policy of a learner with learned state `meta`, for tasks of `env`. It does not simulate."""
    act_on = make_act(learner, meta)
    size = encoded_action_size(env.action_space)

    def begin() -> _State:
        inner_state = learner.begin(meta.params, meta.memory, make_key(0), 1)
        answer, _ = jax.eval_shape(act_on, inner_state, blank_timestep(env))
        latent = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), answer.latent)
        return _State(inner_state, latent, jnp.zeros((1, size), jnp.float32))

    blank_state = jax.eval_shape(under_fixed_settings(begin))
    with_structure = jax.tree.structure(blank_state)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_flatten_with_path(blank_state)[0]
    ]

    @under_fixed_settings
    def init() -> Carry:
        return tuple(jax.tree.leaves(begin()))

    def one(x: Any) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x)[None], x)

    @under_fixed_settings
    def act(
        carry: Carry,
        observation: Observation,
        reward: Array | float,
        is_first: Array | bool,
        key: Key | None = None,
        action_mask: Array | None = None,
        outcome: Observation | None = None,
    ) -> tuple[Array, Carry]:
        state = jax.tree.unflatten(with_structure, carry)
        seen = observation if outcome is None else outcome
        timestep = TimeStep(
            observation=one(observation),
            previous_action=state.previous_action,
            previous_reward=jnp.asarray(reward, jnp.float32)[None],
            is_first=jnp.asarray(is_first, bool)[None],
            valid=jnp.ones(1, bool),
            outcome=one(seen) if learner.reads_outcome else None,
            action_mask=None if action_mask is None else one(action_mask),
        )
        out, inner_state = act_on(state.inner_state, timestep)
        action = out.distribution.mode() if key is None else out.distribution.sample(key)
        encoded = encode_action(env.action_space, action)
        return action[0], tuple(jax.tree.leaves(_State(inner_state, out.latent, encoded)))

    @under_fixed_settings
    def adapt(
        carry: Carry, observations: Observation, actions: Array, rewards: Array, valid: Array
    ) -> Carry:
        state = jax.tree.unflatten(with_structure, carry)
        timesteps = normalized(meta.normalizer, _timesteps(observations, rewards, valid, size))
        out, _ = unroll(learner, meta.params, state.inner_state, timesteps)
        zeros = jnp.zeros_like(timesteps.previous_reward)
        reward = jnp.where(valid, rewards, 0.0)
        rollout = Transition(
            timestep=timesteps,
            action=jnp.asarray(actions),
            policy=out,
            log_prob=out.distribution.log_prob(jnp.asarray(actions)),
            reward=reward,
            terminated=jnp.zeros_like(timesteps.valid),
            training_reward=reward,
            advantage=zeros,
            target=zeros,
        )
        rollout = advantages.on_round_end(rollout, None)
        assert learner.adapt is not None  # or this function is not given to anyone
        inner_state = learner.adapt(meta.params, state.inner_state, rollout)
        return tuple(jax.tree.leaves(state.replace(inner_state=inner_state)))

    def read(carry: Carry) -> dict[str, Array]:
        return dict(zip(names, carry, strict=True))

    return Policy(init, act, None if learner.adapt is None else adapt, read)


def _timesteps(observations: Observation, rewards: Array, valid: Array, size: int) -> TimeStep:
    """Returns the timesteps `[T, E]` of a round, for a learner that reads the observation alone."""
    shape = jnp.shape(rewards)
    if len(shape) != 2 or jnp.shape(valid) != shape:
        raise UserError(
            f"rewards {shape} and valid {jnp.shape(valid)} must both be [T, E]: T steps of E episodes"
        )
    first = jnp.broadcast_to((jnp.arange(shape[0]) == 0)[:, None], shape)
    return TimeStep(
        observation=jax.tree.map(jnp.asarray, observations),
        previous_action=jnp.zeros((*shape, size), jnp.float32),
        previous_reward=jnp.zeros(shape, jnp.float32),
        is_first=first,
        valid=jnp.asarray(valid, bool),
    )
