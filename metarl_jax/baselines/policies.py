"""Policies to compare a learner with: random, oracle, and known strategies."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metarl_jax.baselines import registry
from metarl_jax.baselines.registry import parse_strategy
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.distributions import Categorical, Uniform
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.types import PolicyOut
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.optional import has_oracle
from metarl_jax.envs.told_task import untold
from metarl_jax.envs.wrapper import Wrapper
from metarl_jax.learners.base import MetaLearner
from metarl_jax.program.step import StepSpec


def random_policy(env: TaskDistribution) -> MetaLearner:
    """Returns a learner that acts uniformly at random and learns nothing."""
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
class OracleControlled(Wrapper):
    """`env`, in which every action is replaced by that of its oracle policy."""

    name = "oracle_controlled"

    def step(self, task, state: EnvState, action: jax.Array) -> EnvState:
        oracle_action = self.env.oracle_action(task, state.observation)
        return self.env.step(task, state, action if oracle_action is None else oracle_action)


def control_names(env: TaskDistribution) -> list[str]:
    """Returns the names of all controls: the random policy, the oracle where there is one, and known strategies."""
    return ["random", *(["oracle"] if has_oracle(env) else []), *registry.strategies(env)]


def check_strategies(env: TaskDistribution, strategies: Sequence[str]) -> None:
    """Raises `UserError` if the task distribution has no such strategy, or the strategy no such option."""
    for text in strategies:
        name, options = parse_strategy(text)
        registry.make(env, name, 1, **options)


def control_spec(spec: StepSpec, control: str, num_rounds: int | None = None) -> StepSpec:
    """Returns the parts of a meta-step with the learner replaced by a control.

    Args:
      control: `random`, `oracle`, or a known strategy of the task distribution, whose fields may be set as in
        `ucb1:confidence=1`.
      num_rounds: rounds of the trials that the strategy is for; those of `spec` when not given.

    Raises:
      UserError: for another name, and for an oracle that the task distribution does not know.
    """
    env, (name, options) = untold(spec.env), parse_strategy(control)
    if control == "oracle" and not has_oracle(env):
        raise UserError(
            f"control='oracle': env {env.name!r} defines no oracle_action; choose 'random'"
        )
    if control not in ("random", "oracle") and name not in registry.strategies(env):
        raise UserError(
            f"control={control!r} must be one of {', '.join(map(repr, control_names(env)))}"
        )
    learner = random_policy(env)
    if name in registry.strategies(env):
        learner = registry.make(env, name, num_rounds or spec.num_rounds, **options)
    if control == "oracle":
        env = OracleControlled(env)
    return spec._replace(
        env=env,
        learner=learner,
        advantages=make_estimator(PLAIN_RETURNS),
        normalize_observations=False,
    )
