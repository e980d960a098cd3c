"""Evolution strategies on the meta-parameters: returns of perturbed meta-parameters, and no derivatives."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.trees import standardize
from metarl_jax.core.types import Array, Key, MetaParams, Trial
from metarl_jax.core.validation import bounded
from metarl_jax.learners.base import LearnerConfig, ParameterGroups
from metarl_jax.outer.base import AdamOptions, MetaBatch, Outer, OuterConfig


@dataclasses.dataclass(frozen=True)
class ES(AdamOptions, OuterConfig):
    """Antithetic evolution strategies: with ε_i ~ N(0, I), Adam on −1/(nσ) Σ_i ½ (F(θ + σε_i) − F(θ − σε_i)) ε_i.

    F is the return of the counted rounds over all tasks, adaptation included, so that no derivative passes through an
    inner step. The values of F are divided by their deviation over the population. Both signs of a perturbation are
    evaluated on the same tasks with the same noise. One more collect, without perturbation, gives the reported returns.
    A learner's own losses (`aux_loss`) are no part of it.

    With learner `zero_order` this is ES-MAML with zero-order adaptation (Song et al. 2020, Algorithm 3; `es_maml` of
    the repository google-research/google-research, `config.py`: 150 perturbations of σ = 0.1, a linear policy). With a
    gradient learner it is a hybrid: evolution around inner policy gradients, which that paper does not have.

    Differences from the source: steps are of Adam, not of plain ascent; F is a mean over all tasks of the meta-batch,
    where the source draws one task for each evaluation; and the two signs share tasks and noise.

    References:
      Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017.
      Song et al., "ES-MAML: Simple Hessian-Free Meta Learning", ICLR 2020.
    """

    name: ClassVar[str] = "es"
    takes_segments: ClassVar[bool] = False
    reads_advantages: ClassVar[bool] = False

    learning_rate: float = bounded(1e-2, above=0)
    """Step size of Adam."""
    num_perturbations: int = bounded(16, at_least=1)
    """Number n of perturbations ε per meta-step, each evaluated with both signs."""
    sigma: float = bounded(0.05, above=0)
    """Standard deviation σ of the perturbations."""
    rounds: Literal["last", "all"] = "last"
    """Rounds whose return F counts: the `last` or `all`."""
    max_gradient_norm: float = bounded(10.0, above=0)
    """Gradients with a larger norm are scaled down to this norm."""

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        del learner
        if advantage.training_reward == "regret":
            raise UserError(
                "advantage.training_reward='regret' does not fit outer method 'es', whose fitness is the return, "
                "without advantages: choose advantage.training_reward='reward'"
            )

    def make(self, num_meta_steps: int, parameter_groups: ParameterGroups = ()) -> Outer:
        optimizer = self.make_optimizer(num_meta_steps, parameter_groups)

        def fitness(trials: Trial) -> Array:
            by_round = trials.episode_returns().mean(axis=(0, 2))
            return by_round[-1] if self.rounds == "last" else by_round.mean()

        def try_pair(meta_params, key: Key, batch: MetaBatch):
            """F(θ + σε), F(θ − σε) `[2]`, and the steps that they took."""
            noise_key, collect_key = jax.random.split(key)
            noise = optax.tree.random_like(noise_key, meta_params)

            def try_sign(sign):
                moved = jax.tree.map(lambda p, e: p + sign * self.sigma * e, meta_params, noise)
                trials = batch.collect(moved, collect_key)
                return fitness(trials), trials.rollout.timestep.valid.sum(dtype=jnp.int32)

            return jax.lax.map(try_sign, jnp.array([1.0, -1.0]))

        def update(key, meta_params, opt_state, batch: MetaBatch):
            collect_key, pairs_key = jax.random.split(key)
            trials = batch.collect(meta_params, collect_key)
            keys = jax.random.split(pairs_key, self.num_perturbations)
            values, num_steps = jax.lax.map(lambda k: try_pair(meta_params, k, batch), keys)
            scaled = standardize(values, jnp.ones_like(values, bool), scale=0.0)
            weights = 0.5 * (scaled[:, 0] - scaled[:, 1])
            gradient = _weighted_noise(keys, -weights / self.sigma, meta_params)
            updates, opt_state = optimizer.update(
                gradient, opt_state, meta_params, meta_step=batch.step
            )
            num_unperturbed = trials.rollout.timestep.valid.sum(dtype=jnp.int32)
            metrics = {
                "gradient_norm": optax.tree.norm(gradient),
                "fitness_std": values.std(),
                "env_steps": num_steps.sum(dtype=jnp.int32) + num_unperturbed,
            }
            return optax.apply_updates(meta_params, updates), opt_state, trials, metrics

        return Outer(init=optimizer.init, update=update)


def _weighted_noise(keys: Key, weights: Array, meta_params: MetaParams) -> MetaParams:
    """mean_i w_i ε_i, with every ε_i drawn again from its key `[n]` instead of having been kept."""

    def add(total, inputs):
        key, weight = inputs
        noise = optax.tree.random_like(jax.random.split(key)[0], meta_params)
        return jax.tree.map(lambda t, e: t + weight * e, total, noise), None

    zeros = jax.tree.map(jnp.zeros_like, meta_params)
    total, _ = jax.lax.scan(add, zeros, (keys, weights))
    return jax.tree.map(lambda x: x / len(keys), total)
