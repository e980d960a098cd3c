"""RL2 on gridnavi."""

from metarl_jax.config import Config
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.learners.recurrent import RL2
from metarl_jax.outer.ppo import PPO
from metarl_jax.returns import AdvantageConfig

CONFIG = Config(
    name="rl2-grid-navi",
    env=GridNavi(),
    learner=RL2(),
    outer=PPO(
        num_epochs=2,
        num_minibatches=4,
        rounds="all",
        value_coefficient=0.5,
        entropy_coefficient=0.01,
    ),
    advantage=AdvantageConfig(
        discount=0.99, gae_lambda=0.95, baseline="value", credit="trial", normalization="batch"
    ),
    num_tasks=256,
    num_rounds=4,
    num_episodes=1,
)
