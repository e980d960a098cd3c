"""Bias and variance of the meta-gradient estimators, measured on a task whose exact meta-gradient is known.

A policy that is a softmax over the states of a tabular task takes K inner steps on E sampled trajectories each, as in
training, through the same learner, rollout and outer method. Of many independent estimates, the mean, the spread and
the direction are compared with the exact meta-gradient of K exact inner steps.

All estimators have the same first derivative, so that they collect the same trials from the same key: every estimate is
made by all of them from the same trials, and their differences are not blurred by sampling.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metarl_jax import learners, outer
from metarl_jax.analysis.exact_gradients import exact_adapted, exact_return, policy_matrix
from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.task_axis import make_task_axis
from metarl_jax.core.types import Array, Key, MetaParams
from metarl_jax.core.validation import bounded, check_fields
from metarl_jax.envs.base import Task, TaskDistribution
from metarl_jax.envs.tabular.base import TabularTasks
from metarl_jax.learners.base import MetaLearner
from metarl_jax.outer.policy_gradient import replayed_gradient
from metarl_jax.program.build import make_spec
from metarl_jax.program.step import StepSpec, keys_by_index, make_init, make_meta_batch

ESTIMATORS: dict[str, dict[str, Any]] = {
    "first_order": {"first_order": True},
    "log_likelihood": {"surrogate": "log_likelihood"},
    "e_maml": {"surrogate": "log_likelihood", "sampling_correction": 1.0},
    "lvc": {"surrogate": "likelihood_ratio"},
    "loaded_dice": {"surrogate": "loaded_dice", "loaded_dice_lambda": 0.5},
    "dice": {"surrogate": "dice"},
}
"""Options of the learner and of the outer method for each estimator, by name."""

STEPS_AT_ONCE = 100_000
"""Number of transitions that are simulated side by side on a device."""


@dataclasses.dataclass(frozen=True)
class BiasConfig:
    """Options of a measurement of estimators."""

    env: TaskDistribution
    """Tabular task distribution."""
    estimators: tuple[str, ...] = tuple(ESTIMATORS)
    """Estimators to compare."""
    num_episodes: tuple[int, ...] = bounded((10, 30, 100, 300), at_least=1)
    """Numbers of trajectories (E) per inner step, and after the last one; each number is measured separately."""
    num_estimates: int = bounded(400, at_least=2)
    """Number of independent estimates for each number of trajectories."""
    num_tasks: int = bounded(4, at_least=1)
    """Number of trials that an estimate averages over, all in the same task. The sampling correction compares their
    returns."""
    num_inner_steps: int = bounded(1, at_least=1)
    """Number of inner gradient steps."""
    inner_lr: float = bounded(1.0, at_least=0)
    """Step size α of an inner step on the gradient of the expected return."""
    baseline: Literal["linear", "none"] = "linear"
    """Baseline of the advantages: `linear` in state and time, fitted to each round, as in training, or `none`."""
    hidden_sizes: tuple[int, ...] = bounded((), at_least=1)
    """Sizes of the hidden layers of the policy; without any, the policy is a table."""
    weight_scale: float = bounded(1.0, at_least=0)
    """Standard deviation of the random weights at which the meta-gradient is taken."""
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    """Seed of the task, the weights and the samples."""


@under_fixed_settings
def measure(config: BiasConfig, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Compares the estimators on one task of the distribution.

    Returns:
      A report ready for JSON: the returns and the norm of the exact meta-gradient, and for each estimator lists over
      `num_episodes` of `bias`, `std`, `cosine` and their standard errors, as `summarize` defines them.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    env = validate(config)
    task_key, weights_key, sample_key = jax.random.split(make_key(config.seed), 3)
    task = env.sample(task_key)
    spec = estimator_spec(config, config.estimators[0], config.num_episodes[0])
    meta_params = random_weights(spec.learner, weights_key, config.weight_scale)
    exact = exact_meta_gradient_of(config, env, task, spec.learner, meta_params)
    gradient = np.asarray(ravel_pytree(exact["meta_gradient"])[0], np.float64)

    rows = {name: [] for name in config.estimators}
    for num_episodes in config.num_episodes:
        progress(f"{config.num_estimates} estimates from {num_episodes} trajectories each")
        estimates = make_sampler(config, num_episodes)(sample_key, meta_params, task)
        for name, samples in estimates.items():
            rows[name].append(summarize(np.asarray(samples, np.float64), gradient))
    return {
        "env": type(env).name,
        "config": _plain(config),
        "return_before": float(exact["before"]),
        "return_after": float(exact["after"]),
        "exact_norm": float(np.linalg.norm(gradient)),
        "num_episodes": list(config.num_episodes),
        "estimators": {
            name: {field: [row[field] for row in rows[name]] for field in rows[name][0]}
            for name in rows
        },
    }


def validate(config: BiasConfig) -> TabularTasks:
    """Checks the configuration and returns its environment.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    check_fields(config)
    if not isinstance(config.env, TabularTasks):
        raise UserError(
            f"env.name={config.env.name!r} has no tables to compute with: choose random_mdp, tabular_mdp, point_1d, "
            "softmax_bandit, or a TabularTasks of your own"
        )
    config.env.validate()
    unknown = [name for name in config.estimators if name not in ESTIMATORS]
    if unknown or not config.estimators:
        raise UserError(
            f"estimators={' '.join(config.estimators)!r}: choose some of {', '.join(ESTIMATORS)}"
        )
    if not config.num_episodes:
        raise UserError("num_episodes=() leaves nothing to measure: give one number or more")
    return config.env


def estimator_config(config: BiasConfig, estimator: str, num_episodes: int) -> Config:
    """Returns the configuration of a run with this estimator.

    Losses of the library are means over the steps of an episode where J is a sum: the inner step size is αT.
    """
    options = dict(ESTIMATORS[estimator])
    sampling_correction = options.pop("sampling_correction", 0.0)
    learner: Any = learners.get("maml")
    objective: Any = outer.get("policy_gradient")
    return Config(
        env=config.env,
        learner=learner(
            hidden_sizes=config.hidden_sizes,
            inner_lr=config.inner_lr * config.env.episode_length,
            **options,
        ),
        outer=objective(sampling_correction=sampling_correction),
        advantage=AdvantageConfig(
            discount=1.0, gae_lambda=1.0, baseline=config.baseline, normalization="none"
        ),
        num_tasks=config.num_tasks,
        num_rounds=config.num_inner_steps + 1,
        num_episodes=num_episodes,
        runtime=RuntimeConfig(num_devices=1, update_block=config.num_tasks),
    )


def estimator_spec(config: BiasConfig, estimator: str, num_episodes: int) -> StepSpec:
    """Returns the parts of the meta-step with this estimator."""
    return make_spec(estimator_config(config, estimator, num_episodes))


def random_weights(learner: MetaLearner, key: Key, scale: float) -> MetaParams:
    """Returns meta-parameters with normal entries; initial ones are too close to zero for a test."""
    flat, unravel = ravel_pytree(learner.init(key))
    return unravel(scale * jax.random.normal(key, flat.shape))


def exact_meta_gradient_of(
    config: BiasConfig, env: TabularTasks, task: Task, learner: MetaLearner, meta_params: MetaParams
) -> dict[str, Any]:
    """Returns the exact `meta_gradient` of a learner, and the return `before` and `after` its inner steps."""
    mdp = env.mdp(task)

    def after(meta_params, num_inner_steps):
        begun = learner.begin(meta_params, (), make_key(0), 1)

        def objective(fast):
            inner_state = begun.replace(fast=fast)
            policy = policy_matrix(learner, meta_params, inner_state, jnp.asarray(env.observations))
            return exact_return(policy, mdp, env.episode_length)

        return objective(exact_adapted(objective, begun.fast, config.inner_lr, num_inner_steps))

    @jax.jit
    def compute(meta_params):
        value, gradient = jax.value_and_grad(after)(meta_params, config.num_inner_steps)
        return {"before": after(meta_params, 0), "after": value, "meta_gradient": gradient}

    return compute(meta_params)


def make_sampler(
    config: BiasConfig, num_episodes: int
) -> Callable[[Key, MetaParams, Task], dict[str, Array]]:
    """(key, meta_params, task) to independent estimates `[M, P]` of the meta-gradient, for each estimator."""
    configs = {name: estimator_config(config, name, num_episodes) for name in config.estimators}
    specs = {name: make_spec(configs[name]) for name in configs}
    axis = make_task_axis(jax.devices())
    steps = num_episodes * (config.num_inner_steps + 1) * config.env.episode_length
    block = max(1, STEPS_AT_ONCE // (steps * config.num_tasks))
    num_padded = -(-config.num_estimates // axis.num_devices) * axis.num_devices

    def estimate(shared: tuple[MetaParams, Task], key: Key) -> dict[str, Array]:
        meta_params, task = shared
        tasks = jax.tree.map(lambda x: jnp.stack([x] * config.num_tasks), task)
        state = make_init(next(iter(specs.values())))(key)
        state = state.replace(meta=state.meta.replace(params=meta_params))
        batches = {name: make_meta_batch(spec, state, tasks) for name, spec in specs.items()}
        trials = next(iter(batches.values())).collect(meta_params, key)

        def gradient(name: str) -> Array:
            objective: Any = configs[name].outer
            found, _ = replayed_gradient(objective, meta_params, batches[name], trials)
            return -config.env.episode_length * ravel_pytree(found)[0]

        return {name: gradient(name) for name in batches}

    @jax.jit
    def sample(key: Key, meta_params: MetaParams, task: Task) -> dict[str, Array]:
        keys = axis.shard(keys_by_index(key, num_padded))
        found = axis.map(estimate, (meta_params, task), keys, block=block)
        return jax.tree.map(lambda x: x[: config.num_estimates], found)

    return sample


def summarize(samples: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Returns the errors of estimates `[M, P]` of a gradient `[P]`.

    With g the exact gradient, m and Σ mean and covariance of an estimate:

    - `bias`: ‖m − g‖ / ‖g‖, from the unbiased estimate ‖m̂ − g‖² − tr Σ̂/M of its square, or 0 where that is negative;
      `bias_se`: what one standard error of the square, √(4 bᵀΣb/M + 2 tr Σ²/M²) with b = m̂ − g, adds to it.
    - `std`: √(tr Σ) / ‖g‖, of one estimate.
    - `cosine`: the mean over estimates of cos(estimate, g), and `cosine_se`.
    """
    num_samples, norm = len(samples), np.linalg.norm(exact)
    offset = samples.mean(axis=0) - exact
    covariance = np.atleast_2d(np.cov(samples, rowvar=False))
    square = offset @ offset - np.trace(covariance) / num_samples
    square_se = np.sqrt(
        4.0 * offset @ covariance @ offset / num_samples
        + 2.0 * np.sum(covariance**2) / num_samples**2
    )
    bias = np.sqrt(max(square, 0.0))
    # An estimate of few trajectories can be zero, and points nowhere.
    lengths = np.maximum(np.linalg.norm(samples, axis=1), np.finfo(np.float64).tiny)
    cosine = samples @ exact / (lengths * norm)
    return {
        "bias": float(bias / norm),
        "bias_se": float((np.sqrt(max(square, 0.0) + square_se) - bias) / norm),
        "std": float(np.sqrt(np.trace(covariance)) / norm),
        "cosine": float(cosine.mean()),
        "cosine_se": float(cosine.std() / np.sqrt(num_samples)),
    }


def _plain(config: BiasConfig) -> dict[str, Any]:
    """Returns the configuration, ready for JSON."""
    return {
        name: list(x) if isinstance(x, tuple) else x
        for name, x in dataclasses.asdict(config).items()
    }
