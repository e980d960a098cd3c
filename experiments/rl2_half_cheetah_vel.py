"""RL² on half-cheetah velocity."""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.envs.half_cheetah import HalfCheetahVel
from metarl_jax.learners.recurrent import RL2
from metarl_jax.outer.ppo import PPO
from metarl_jax.returns import AdvantageConfig

CONFIG = Config(
    name="rl2-half-cheetah-vel",
    env=HalfCheetahVel(variant="pearl19"),
    learner=RL2(hidden_size=128, log_std_init=-0.5),
    outer=PPO(
        learning_rate=1e-3,
        num_epochs=4,
        num_minibatches=4,
        clip_eps=0.2,
        rounds="all",
        value_coefficient=0.5,
        entropy_coefficient=0.0,
    ),
    advantage=AdvantageConfig(
        discount=0.97,
        gae_lambda=0.9,
        reward_scaling=0.1,
        baseline="value",
        credit="trial",
        normalization="batch",
    ),
    num_meta_steps=2000,
    num_tasks=256,
    num_rounds=2,
    num_episodes=1,
    normalize_observations=True,
    evaluation=EvaluationConfig(every=100, num_tasks=128),
    log_every=10,
)

SMALL = dataclasses.replace(
    CONFIG,
    name="rl2-half-cheetah-vel-small",
    env=HalfCheetahVel(variant="finn17", horizon=50),
    num_meta_steps=400,
    num_tasks=64,
    evaluation=EvaluationConfig(every=50, num_tasks=64),
)

if __name__ == "__main__":
    from metarl_jax.cli import run_preset

    run_preset("rl2-half-cheetah-vel")
