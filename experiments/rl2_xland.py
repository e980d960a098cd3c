"""RL² in XLand-MiniGrid, with the hyperparameters and the network of its authors' own script, at a smaller size.

Their script updates 128 times within a trial of 4096 steps in 8192 environments, with a GRU of 1024 units; this preset
updates 32 times within a trial of 1024 steps in 256 environments, with 128 units, so that it trains on a laptop.

`metarl train rl2-xland`, one seed, 10.4M env-steps, twenty minutes on one shared core of an AMD EPYC: the return of a
whole trial in held-out rulesets rises from 0.8 (95% interval 0.7 to 1.0, before training) to 9.4 (7.3 to 11.6), and the
episodes that come to their end within it from 4.6 to 13.1. In the first four episodes, which every task finishes, the
return is 0.42, 0.41, 0.42 and 0.41 (0.15 before training): the policy has learned to search, and not yet to remember
within a trial. The published curves are of 10⁹ env-steps and more. In tables of `metarl eval`, later episodes are those
of the tasks that finish many, which are the easy ones.
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
