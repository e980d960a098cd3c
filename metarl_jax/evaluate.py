"""Held-out evaluation: the adaptation curve of a learner, and the controls to read it against."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from metarl_jax.distributions import Categorical, Uniform
from metarl_jax.env import SPLITS, Discrete, EnvState, TaskDistribution, check_split
from metarl_jax.jax_settings import as_fixed_key, under_fixed_settings
from metarl_jax.learner import MetaLearner
from metarl_jax.returns import AdvantageConfig, AdvantageEstimator, make_estimator
from metarl_jax.rollout import collect_trial
from metarl_jax.step import StepSpec, keys_by_index, sample_tasks
from metarl_jax.strategies import parse_strategy
from metarl_jax.types import Array, Key, PolicyOut, TrainState, Trial

if TYPE_CHECKING:
    from metarl_jax.program import Program

PERCENTILES = (10, 25, 50, 75, 90)
"""Percentiles of the return over tasks that are reported: what rare tasks cost is not seen in a mean."""


def make_evaluate(
    spec: StepSpec, *, num_rounds: int, num_episodes: int, deterministic: bool
) -> Callable[[TrainState, Key, str, int], Array]:
    """`evaluate(state, key, split, num_tasks)`: mean return of every task and round, `[tasks, K]`.

    Nothing in `state` changes: the observation statistics are used, not updated, and no memory is written.
    """

    @under_fixed_settings
    def evaluate(state: TrainState, key: Key, split: str, num_tasks: int) -> Array:
        check_split(spec.env, split)
        if num_tasks < 1:
            raise ValueError(f"num_tasks={num_tasks} must be at least 1")
        task_key, trial_key = jax.random.split(as_fixed_key(key))
        num_padded = -(-num_tasks // spec.axis.num_devices) * spec.axis.num_devices
        # Of the last meta-step, so that those of a distribution that changes are tasks that training has met.
        last_step = jnp.maximum(state.step - 1, 0)
        tasks = sample_tasks(spec, task_key, num_padded, split, last_step)
        keys = keys_by_index(trial_key, num_padded)

        def one(state, task, key):
            trial = live_trial(
                spec.env,
                spec.learner,
                spec.advantages,
                state,
                task,
                key,
                num_rounds=num_rounds,
                num_episodes=num_episodes,
                deterministic=deterministic,
            )
            return trial.episode_returns().mean(axis=-1)

        return spec.axis.map(one, state, tasks, keys, block=spec.collect_block)[:num_tasks]

    return evaluate


def live_trial(
    env: TaskDistribution,
    learner: MetaLearner,
    advantages: AdvantageEstimator,
    state: TrainState,
    task: Any,
    key: Key,
    **sizes: Any,
) -> Trial:
    """One trial `[K, T, E]` of a learner as it is in `state`; `sizes` are the keywords of `collect_trial`."""
    learned = state.meta_params, state.memory, state.normalizer
    return collect_trial(env, learner, advantages, *learned, task, key, **sizes)


def greedy_trial(
    program: "Program", state: TrainState, task: Any, key: Key, num_rounds: int
) -> Trial:
    """One trial `[K, T, 1]` of a learner that infers, acting by the mode of its policy; it has no advantages."""
    unused = make_estimator(AdvantageConfig(baseline="none", normalization="none"))
    return live_trial(
        program.env,
        program.learner,
        unused,
        state,
        task,
        key,
        num_rounds=num_rounds,
        num_episodes=1,
        deterministic=True,
    )


def random_policy(env: TaskDistribution) -> MetaLearner:
    """A learner that acts uniformly at random and learns nothing."""
    space = env.action_space

    def act(meta_params, inner_state, timestep):
        del meta_params
        leading = timestep.previous_reward.shape
        if isinstance(space, Discrete):
            distribution = Categorical(jnp.zeros((*leading, space.num_actions)))
        else:
            bound = jnp.ones((*leading, space.size))
            distribution = Uniform(space.low * bound, space.high * bound)
        return PolicyOut(distribution, jnp.zeros(leading)), inner_state

    return MetaLearner(
        init=lambda key: (), begin=lambda meta_params, memory, key, num_episodes: (), act=act
    )


@dataclasses.dataclass(frozen=True)
class OracleControlled(TaskDistribution):
    """`env`, in which every action is replaced by that of its oracle policy."""

    name = "oracle_controlled"
    splits = SPLITS

    env: TaskDistribution

    @property
    def episode_length(self) -> int:
        return self.env.episode_length

    @property
    def observation_size(self) -> int:
        return self.env.observation_size

    @property
    def action_space(self):
        return self.env.action_space

    def at(self, step: int | jax.Array) -> "OracleControlled":
        return dataclasses.replace(self, env=self.env.at(step))

    def sample(self, key: jax.Array, split: str = "train"):
        return self.env.sample(key, split)

    def regret(self, task):
        return self.env.regret(task)

    def reset(self, task, key: jax.Array) -> EnvState:
        return self.env.reset(task, key)

    def step(self, task, state: EnvState, action: jax.Array) -> EnvState:
        oracle_action = self.env.oracle_action(task, state.observation)
        return self.env.step(task, state, action if oracle_action is None else oracle_action)


def has_oracle(env: TaskDistribution) -> bool:
    """Whether a good policy that is told the task is known in closed form."""
    return type(env).oracle_action is not TaskDistribution.oracle_action


def control_names(env: TaskDistribution) -> list[str]:
    """All controls of these tasks: the random policy, the oracle where there is one, and the known strategies."""
    return ["random", *(["oracle"] if has_oracle(env) else []), *env.strategies]


def check_strategies(env: TaskDistribution, strategies: Sequence[str]) -> None:
    """Raises `ValueError` where the task distribution has no such strategy, or the strategy no such option."""
    for text in strategies:
        name, options = parse_strategy(text)
        env.make_strategy(name, 1, **options)


def control_spec(spec: StepSpec, control: str, num_rounds: int | None = None) -> StepSpec:
    """The parts of a meta-step with the learner replaced by a control.

    Args:
      control: `random`, `oracle`, or a known strategy of the task distribution, whose fields may be set as in
        `ucb1:confidence=1`.
      num_rounds: rounds of the trials that the strategy is for; those of `spec` when not given.

    Raises:
      ValueError: for another name, and for an oracle that the task distribution does not know.
    """
    env, (name, options) = spec.env, parse_strategy(control)
    if control == "oracle" and not has_oracle(env):
        raise ValueError(
            f"control='oracle': env {env.name!r} defines no oracle_action; choose 'random'"
        )
    if control not in ("random", "oracle") and name not in env.strategies:
        raise ValueError(
            f"control={control!r} must be one of {', '.join(map(repr, control_names(env)))}"
        )
    learner = random_policy(env)
    if name in env.strategies:
        learner = env.make_strategy(name, num_rounds or spec.num_rounds, **options)
    if control == "oracle":
        env = OracleControlled(env)
    return spec._replace(env=env, learner=learner, normalize_observations=False)


def interquartile_mean(returns: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the tasks, `[tasks, K]` to `[K]`.

    References:
      Agarwal et al., «Deep Reinforcement Learning at the Edge of the Statistical Precipice», NeurIPS 2021.
    """
    from scipy import stats  # takes half a second to import

    return stats.trim_mean(returns, 0.25, axis=0)


def bootstrap_ci95(returns: np.ndarray, num_samples: int = 1000, seed: int = 0) -> np.ndarray:
    """Percentile bootstrap interval of the mean over tasks: `[tasks, K]` to `[2, K]`."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(returns), size=(num_samples, len(returns)))
    means = np.stack([returns[row].mean(axis=0) for row in rows])
    return np.percentile(means, [2.5, 97.5], axis=0)


def t_ci95(values: np.ndarray) -> np.ndarray:
    """Student's t interval of the mean of independent values: `[S, ...]`, with S ≥ 2, to `[2, ...]`."""
    num_values = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(num_values)
    margin = special.stdtrit(num_values - 1, 0.975) * error
    mean = values.mean(axis=0)
    return np.stack([mean - margin, mean + margin])


def ci95_over_seeds(returns: Sequence[np.ndarray]) -> np.ndarray:
    """95% interval of the mean return of trained learners: S times `[tasks, K]` to `[2, K]`.

    A t interval over the means of the S seeds. Each seed has its own tasks, so that the variation between tasks is
    in it. (A percentile bootstrap over three or five seeds holds the true mean far less often than in 95% of cases.)

    One seed says nothing of other seeds: the interval is then `bootstrap_ci95`, over the tasks alone.
    """
    if len(returns) == 1:
        return bootstrap_ci95(returns[0])
    return t_ci95(np.stack([mine.mean(axis=0) for mine in returns]))


def finite_tasks(returns: np.ndarray) -> np.ndarray:
    """The tasks of `[tasks, K]` whose returns are finite in all rounds; nan for every task where there are none."""
    is_finite = np.isfinite(returns).all(axis=1)
    return returns[is_finite] if is_finite.any() else np.full_like(returns, np.nan)


def summarize(returns: np.ndarray) -> dict[str, Any]:
    """Statistics of returns `[tasks, K]` by round and of their sum over the rounds, ready for JSON.

    Tasks with a return that is not finite are left out, where there are others, and counted in `num_nonfinite_tasks`.
    """
    num_broken = int((~np.isfinite(returns).all(axis=1)).sum())
    returns = finite_tasks(returns)
    total = returns.sum(axis=1, keepdims=True)
    by_round = np.percentile(returns, PERCENTILES, axis=0)
    of_total = np.percentile(total, PERCENTILES)
    counted = {"num_nonfinite_tasks": num_broken} if num_broken else {}
    return counted | {
        "return_mean": returns.mean(axis=0).tolist(),
        "return_iqm": interquartile_mean(returns).tolist(),
        "ci95": bootstrap_ci95(returns).T.tolist(),
        "total_mean": float(total.mean()),
        "total_ci95": bootstrap_ci95(total)[:, 0].tolist(),
        "return_percentiles": dict(zip(map(str, PERCENTILES), by_round.tolist(), strict=True)),
        "total_percentiles": dict(zip(map(str, PERCENTILES), of_total.tolist(), strict=True)),
    }
