"""Adaptation without derivatives: the returns of perturbed policies on the new task, as in ES-MAML."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.spaces import blank
from metarl_jax.core.trees import standardize
from metarl_jax.core.types import Array, PyTree, Transition
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import LearnerConfig, MetaLearner, Setup
from metarl_jax.networks.layers import MIN_LOG_STD, Activation, MLPPolicy


class PerturbedState(struct.PyTreeNode):
    """The inner state of a learner that adapts by perturbations.

    Attributes:
      policy: parameters of the policy.
      noise: perturbations ε of the E episodes of each perturbed round, `[S, E, ...]` for each array of the policy.
      num_steps: `[]` int32, the inner steps that it has taken in this trial.
    """

    policy: PyTree
    noise: PyTree
    num_steps: Array


@dataclasses.dataclass(frozen=True)
class ZeroOrder(LearnerConfig):
    """Zero-order adaptation: with ε_e ~ N(0, I) in pairs ε, −ε, a policy θ takes the inner step

      θ′ = θ + α (1/Eσ) Σ_e F̂_e ε_e,

    where episode e of the round was acted by θ + σ ε_e, and F̂_e is its return, standardised over the episodes of the
    round. `num_inner_steps` rounds are perturbed, and each is followed by a step; in all later rounds θ′ acts and
    stays. Nothing is differentiated, so that the policy need not be differentiable.

    With `outer=es` there is no derivative anywhere: Algorithm 3 of Song et al. (2020), and `BlackboxAdaptation` with
    `MCBlackboxOptimizer` of the repository google-research/google-research (`es_maml/zero_order/
    adaptation_optimizers.py` and `es_maml/blackbox/blackbox_optimization_algorithms.py`), whose defaults these are: a
    linear policy, α = 0.05, σ = 0.1 and, with `num_episodes=20`, 20 queries of one episode each. With another outer
    method, the derivative of θ′ is taken as that of θ, as in FOMAML.

    Differences from the source: its policy is deterministic and ends in a tanh; here actions have a deviation, small by
    default, and boxes clip them. The source draws perturbations of the inner step without their negatives, and counts
    the return of the unperturbed policy in the standardisation. It normalises observations, which is
    `normalize_observations` here.

    References:
      Song et al., "ES-MAML: Simple Hessian-Free Meta Learning", ICLR 2020.
    """

    name: ClassVar[str] = "zero_order"
    needs_round_advantages: ClassVar[bool] = True
    has_value: ClassVar[bool] = False
    result_rounds: ClassVar[Literal["last", "all"]] = "last"
    round_label: ClassVar[Literal["round", "episode"]] = "round"

    hidden_sizes: tuple[int, ...] = bounded((), at_least=1)
    """Hidden layers of the policy; none for a linear one."""
    activation: Activation = "tanh"
    """Activation of the hidden layers."""
    log_std_init: float = bounded(-4.0, above=MIN_LOG_STD)
    """Initial log standard deviation of continuous actions, in units of half the width of the action box."""
    inner_lr: float = bounded(0.05, above=0)
    """Step size α of the inner step."""
    sigma: float = bounded(0.1, above=0)
    """Standard deviation σ of the perturbations."""
    num_inner_steps: int = bounded(1, at_least=1)
    """Number of rounds with perturbed policies, each followed by an inner step."""

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if self.num_inner_steps >= setup.num_rounds:
            raise UserError(
                f"learner.num_inner_steps={self.num_inner_steps} leaves no round of num_rounds={setup.num_rounds} to "
                f"the adapted policy: choose num_rounds={self.num_inner_steps + 1}, or fewer inner steps"
            )
        if setup.num_episodes < 2:
            raise UserError(
                f"num_episodes={setup.num_episodes} is a single perturbation, whose return there is nothing to compare "
                f"with: choose 20 for example with learner {self.name!r}"
            )

    def make_policy(self, env: TaskDistribution) -> MLPPolicy:
        """Returns the policy, a module from observations `[..., *]` to `PolicyOut`."""
        return MLPPolicy(
            action_space=env.action_space,
            observation_encoder=self.make_encoder(env),
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            log_std_init=self.log_std_init,
        )

    def num_adapted(self, env: TaskDistribution) -> int:
        shapes = jax.eval_shape(self.make(env).init, make_key(0))
        return sum(x.size for x in jax.tree.leaves(shapes))

    def filled_parameters(self) -> dict[str, str]:
        return {"log_std_init": "log_std$"}

    def make(self, env: TaskDistribution) -> MetaLearner:
        module = self.make_policy(env)

        def begin(meta_params, memory, key, num_episodes) -> PerturbedState:
            del memory
            keys = jax.random.split(key, self.num_inner_steps)
            noise = jax.vmap(lambda k: antithetic_noise(k, meta_params, num_episodes))(keys)
            return PerturbedState(meta_params, noise, jnp.zeros((), jnp.int32))

        def current_noise(state: PerturbedState) -> PyTree:
            round_index = jnp.minimum(state.num_steps, self.num_inner_steps - 1)
            return jax.tree.map(lambda e: e[round_index], state.noise)

        def policies(state: PerturbedState) -> PyTree:
            """Returns the parameters that act in each episode, `[E, ...]`."""
            scale = jnp.where(state.num_steps < self.num_inner_steps, self.sigma, 0.0)
            return jax.tree.map(lambda p, e: p + scale * e, state.policy, current_noise(state))

        def act(meta_params, state: PerturbedState, timestep):
            del meta_params
            out: Any = jax.vmap(module.apply)(policies(state), timestep.observation)
            return out, state

        def unroll(meta_params, state: PerturbedState, timesteps):
            del meta_params
            over_episodes: Any = jax.vmap(module.apply, in_axes=(0, 1), out_axes=1)
            return over_episodes(policies(state), timesteps.observation), state

        def adapt(meta_params, state: PerturbedState, rollout: Transition) -> PerturbedState:
            del meta_params
            returns = jnp.where(rollout.timestep.valid, rollout.reward, 0.0).sum(axis=0)
            weights = standardize(returns, jnp.ones_like(returns, bool), scale=0.0)
            size = jnp.where(state.num_steps < self.num_inner_steps, self.inner_lr, 0.0)
            size /= self.sigma * len(returns)
            moved = jax.tree.map(
                lambda p, e: p + size * jnp.tensordot(weights, e, axes=1),
                state.policy,
                current_noise(state),
            )
            return state.replace(policy=moved, num_steps=state.num_steps + 1)

        return MetaLearner(
            init=lambda key: module.init(key, blank(env.observation_space)),
            begin=begin,
            act=act,
            adapt=adapt,
            unroll=unroll,
            weights_per_task=True,
        )


def antithetic_noise(key: Array, params: PyTree, num_episodes: int) -> PyTree:
    """Draws standard normal arrays `[E, ...]` like those of `params`: the second half is the negative of the first."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    half = -(-num_episodes // 2)

    def draw(key: Array, x: Array) -> Array:
        noise = jax.random.normal(key, (half, *x.shape), x.dtype)
        return jnp.concatenate([noise, -noise])[:num_episodes]

    return structure.unflatten([draw(k, x) for k, x in zip(keys, leaves, strict=True)])
