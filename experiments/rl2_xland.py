"""RL² in XLand-MiniGrid, with the hyperparameters and the network of its authors' own script, at a smaller size.

Their script updates 128 times within a trial of 4096 steps in 8192 environments, with a GRU of 1024 units; this preset
updates 32 times within a trial of 1024 steps in 256 environments, with 128 units, so that it trains on a laptop.
"""

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.adapters.xland_tasks import XLand
from metarl_jax.learners.rl2 import RL2
from metarl_jax.outer.ppo import PPO

CONFIG: Config = Config(
    name="rl2-xland",
    env=XLand(),
    learner=RL2(hidden_size=128, encoder_sizes=(), head_sizes=(128,)),
    outer=PPO(
        rounds="all",
        learning_rate=1e-3,
        final_learning_rate=0.0,
        max_gradient_norm=0.5,
        num_epochs=1,
        num_minibatches=8,
        clip_eps=0.2,
        entropy_coefficient=0.01,
        value_coefficient=0.5,
    ),
    advantage=AdvantageConfig(
        discount=0.99,
        gae_lambda=0.95,
        baseline="value",
        credit="trial",
        normalization="batch",
        timeout="bootstrap",
    ),
    num_meta_steps=32 * 40,
    num_tasks=256,
    num_rounds=60,
    num_episodes=1,
    num_steps=1024,
    num_segments=32,
    log_every=32,
    evaluation=EvaluationConfig(every=32 * 10, num_tasks=256),
)
"""Trials of 1024 steps, in segments of 32."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("rl2-xland")
