"""RL² for exchangeable actions: it is equivariant to permutations of the actions."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Discrete, Observation, encoded_action_size
from metarl_jax.core.types import Array, Memory, PolicyOut, PyTree, TimeStep
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import Described
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequenceLearner, SequencePolicy
from metarl_jax.networks.layers import MLP, ActionDistribution, NarrowDense, orthogonal


class PerAction(nn.Module):
    """A core that reads the same trial once for each of A actions, with the same weights and a state for each.

    Inputs and features are `[..., E, A, ·]` where those of the core are `[..., E, ·]`. The carry is that of the core
    for E·A episodes.
    """

    core: nn.Module
    num_actions: int

    @property
    def is_parallel(self) -> bool:
        return self.core.is_parallel

    def init_carry(self, num_episodes: int) -> PyTree:
        return self.core.init_carry(num_episodes * self.num_actions)

    def describe(self, carry: PyTree) -> Described:
        """Returns nothing: there is a state for each action."""
        del carry
        return {}

    def project(self, inputs: Array) -> PyTree:
        return self.core.project(inputs)

    def __call__(self, carry: PyTree, projected: PyTree, valid: Array) -> tuple[PyTree, Array]:
        return self._for_each(self.core, carry, projected, valid)

    def sequence(self, carry: PyTree, projected: PyTree, valid: Array) -> tuple[PyTree, Array]:
        return self._for_each(self.core.sequence, carry, projected, valid)

    def _for_each(
        self, read: Callable[..., Any], carry: PyTree, projected: PyTree, valid: Array
    ) -> tuple[PyTree, Array]:
        """Returns the carry, and features `[..., E, A, F]`, from the result of `read` for E·A episodes."""
        leading = (*valid.shape, self.num_actions)

        def join(x: Array) -> Array:
            """`[..., E, A, P]` to `[..., E·A, P]`."""
            return x.reshape(*valid.shape[:-1], -1, x.shape[-1])

        each_valid = jnp.repeat(valid, self.num_actions, axis=-1)
        carry, features = read(carry, jax.tree.map(join, projected), each_valid)
        return carry, features.reshape(*leading, -1)


class SymmetricPolicy(SequencePolicy):
    """A policy with a state f_a for every action, and a score of each that does not depend on their order.

    For each action a, the core reads whether it was the last one (1 or 0; for a box, the entry of the action), that
    number times the last reward, and the inputs that all actions share. With ⊕ for the mean and the maximum over
    actions, side by side, h_a = tanh(f_a W + (⊕_i f_i) U + c) gives the score w·h_a of the action, and ⊕_a h_a the
    value. A permutation of the actions permutes the scores.

    References:
      Zaheer et al., "Deep Sets", NeurIPS 2017, for the layer.
    """

    def setup(self):
        size = self.core.core.size
        self.encoder = MLP(self.encoder_sizes, self.activation)
        self.own = nn.Dense(size, kernel_init=orthogonal())
        self.others = nn.Dense(size, use_bias=False, kernel_init=orthogonal())
        self.score = NarrowDense(1, 0.01)
        self.distribution = ActionDistribution(
            self.action_space, self.log_std_init, one_deviation=True
        )
        self.value_head = NarrowDense(1, 1.0)

    def read(self, timestep: TimeStep, previous: Observation | None, memory: Memory) -> list[Array]:
        """Returns the inputs of a step for each action: arrays `[..., A, I]`."""
        observation, action, *others = super().read(timestep, previous, memory)
        brought = action * self.see_reward(timestep.previous_reward)[..., None]
        shared = jnp.concatenate([observation, *others], axis=-1)[..., None, :]
        shared = jnp.broadcast_to(shared, (*action.shape, shared.shape[-1]))
        return [jnp.stack([action, brought], axis=-1), shared]

    def answer(self, features: Array, timestep: TimeStep) -> PolicyOut:
        del timestep
        hidden = jnp.tanh(self.own(features) + self.others(pool(features))[..., None, :])
        distribution = self.distribution(self.score(hidden)[..., 0])
        return PolicyOut(distribution, self.value_head(pool(hidden))[..., 0])


def pool(features: Array) -> Array:
    """Mean and maximum over actions: `[..., A, F]` to `[..., 2F]`."""
    return jnp.concatenate([features.mean(axis=-2), features.max(axis=-2)], axis=-1)


@dataclasses.dataclass(frozen=True)
class SymmetricRL2(RL2):
    """RL² with one small core for each action, all of the same weights, for tasks whose actions are exchangeable.

    If the distribution of tasks does not change when actions are permuted, as with arms of a bandit and actions of
    random MDPs, one set of weights serves all actions; RL² has to learn each separately. In a box, the entries of the
    action are treated as exchangeable. Do not use it elsewhere: it can tell actions apart only by what happens in the
    trial.

    References:
      Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016.
      Kirsch et al., "Introducing Symmetries to Black Box Meta Reinforcement Learning", AAAI 2022, for the symmetry.
    """

    name: ClassVar[str] = "symmetric_rl2"
    own_head: ClassVar[str | None] = "the core of each action"

    hidden_size: int = bounded(16, at_least=1)
    """Number of features per action."""
    encoder_sizes: tuple[int, ...] = bounded((16,), at_least=1)
    """Sizes of the hidden layers between the inputs and the core."""

    def suited_to(self, env: TaskDistribution) -> SequenceLearner:
        if not isinstance(env.action_space, Discrete):
            raise UserError(
                f"learner {self.name!r} treats actions as exchangeable, which the continuous actions of env "
                f"{env.name!r} are not: choose learner 'rl2', or an env with discrete actions"
            )
        return super().suited_to(env)

    def make_policy(self, env: TaskDistribution) -> SequencePolicy:
        return SymmetricPolicy(**self.policy_options(env))

    def policy_options(self, env: TaskDistribution) -> dict[str, Any]:
        num_actions = encoded_action_size(env.action_space)
        options = super().policy_options(env)
        return options | {"core": PerAction(options["core"], num_actions)}
