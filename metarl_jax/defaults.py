"""Default configurations for any learner in any environment.

```python
config = metarl_jax.default_config("rl2", "point_robot")
```

The numbers come from the presets (`metarl_jax.experiments`), which were tuned on one environment each, and depend on
the kind of learner (`LearnerConfig`) and on the environment: kind of actions and length of an episode. They are meant
to train within minutes on a CPU.
"""

import dataclasses
from typing import Any

from metarl_jax import envs, learners, outer
from metarl_jax.config import Config, EvaluationConfig, check_declared, validate
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.declarations import instance
from metarl_jax.core.spaces import Discrete
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.outer.base import OuterConfig
from metarl_jax.outer.ppo import PPO

STEPS_OF_A_BATCH = 16_384
"""Env-steps of a meta-step of a learner that reads trials as sequences."""
STEPS_OF_A_ROUND = 4_000
"""Env-steps of a round of a learner that adapts between rounds, for each of its parallel episodes."""


def default_config(
    learner: str | type[LearnerConfig] | LearnerConfig,
    env: str | type[TaskDistribution] | TaskDistribution,
    outer_method: str | type[OuterConfig] = "ppo",
) -> Config:
    """Returns the default configuration to train a learner in an environment.

    Args:
      learner: a name, a reference or a class, with options that suit the environment; or an instance, whose options are
        kept.
      env: a name, a reference, a class, or a task distribution with options of your own.
      outer_method: a name, a reference or a class.

    Raises:
      UserError: if the learner cannot work in this environment, with the reason and an alternative.
    """
    if isinstance(env, str):
        env = envs.get(env)
    if isinstance(env, type):
        env = instance(env)
    check_declared("env", env)
    if isinstance(learner, str):
        learner = learners.get(learner)
    if isinstance(learner, type):
        learner = instance(learner).suited_to(env)
    if isinstance(outer_method, str):
        outer_method = outer.get(outer_method)
    if not outer_method.learns_step_sizes and hasattr(learner, "learn_inner_lr"):
        changed: dict[str, Any] = {"learn_inner_lr": "none"}
        learner = dataclasses.replace(learner, **changed)
    make = _between_rounds if learner.needs_round_advantages else _within_trials
    config = make(learner, env, outer_method)
    validate(config)
    return config


def _within_trials(
    learner: LearnerConfig, env: TaskDistribution, outer_class: type[OuterConfig]
) -> Config:
    """Defaults of learners that read a trial as one sequence, as in `rl2-bandit`, `rl2-gru-grid-navi` and
    `rl2-point-robot`."""
    length, is_discrete = env.episode_length, isinstance(env.action_space, Discrete)
    num_rounds = 10 if length == 1 else 4 if length <= 20 else 2
    num_steps = num_rounds * length
    has_value = learner.has_value and outer_class.learns_value
    entropy = {"entropy_coefficient": 0.05, "final_entropy_coefficient": 0.001}
    return Config(
        name=_name(learner, env),
        env=env,
        learner=learner,
        outer=_outer(
            outer_class,
            rounds="all",
            value_coefficient=0.5 if has_value else 0.0,
            ppo={
                "learning_rate": 1e-3,
                "final_learning_rate": 1e-5,
                "num_epochs": 2 if num_steps > 20 else 4,
                "num_minibatches": 4,
            },
            **(entropy if is_discrete else {}),
        ),
        advantage=AdvantageConfig(
            discount=1.0 if length == 1 else 0.97 if length <= 20 else 0.99,
            gae_lambda=0.95 if length == 1 else 0.9,
            # Of values far above 1 the error takes nearly all of the gradient of the shared layers.
            reward_scaling=1.0 if length == 1 else 0.1,
            baseline="value" if has_value else "none",
            credit="trial",
            normalization="batch",
        ),
        num_meta_steps=400 if length <= 20 else 300,
        num_tasks=_power_of_two(STEPS_OF_A_BATCH / num_steps, at_least=16, at_most=1024),
        num_rounds=num_rounds,
        num_episodes=1,
        log_every=10,
        evaluation=EvaluationConfig(every=100, num_tasks=200, deterministic=is_discrete),
    )


def _between_rounds(
    learner: LearnerConfig, env: TaskDistribution, outer_class: type[OuterConfig]
) -> Config:
    """Defaults of learners that adapt between rounds, as in `maml-point-robot` and `maml-grid-navi`."""
    length = env.episode_length
    num_episodes = 20 if length <= 100 else 10
    num_rounds = 4 if 20 < length <= 100 else 3
    return Config(
        name=_name(learner, env),
        env=env,
        learner=learner,
        outer=_outer(
            outer_class,
            ppo={"learning_rate": 3e-3, "final_learning_rate": 1e-4, "num_epochs": 5},
        ),
        advantage=AdvantageConfig(discount=0.97 if length <= 20 else 0.99, gae_lambda=0.9),
        num_meta_steps=60 if length > 20 else 150,
        num_tasks=max(10, min(40, STEPS_OF_A_ROUND // length)),
        num_rounds=num_rounds,
        num_episodes=num_episodes,
        log_every=2,
        evaluation=EvaluationConfig(every=20 if length > 20 else 50, num_tasks=200),
    )


def _outer(cls: type[OuterConfig], *, ppo: dict[str, Any], **options: Any) -> OuterConfig:
    """Returns an outer method with those of these options that it has; `ppo` holds the options of PPO alone."""
    known = {field.name for field in dataclasses.fields(cls)}
    tuned = ppo if issubclass(cls, PPO) else {}
    return cls(**tuned, **{name: value for name, value in options.items() if name in known})


def _name(learner: LearnerConfig, env: TaskDistribution) -> str:
    return f"{learner.name}-{env.name}"


def _power_of_two(value: float, *, at_least: int, at_most: int) -> int:
    """Returns the greatest power of two that is not above `value`, within these bounds."""
    return min(at_most, max(at_least, 1 << (max(1, int(value)).bit_length() - 1)))
