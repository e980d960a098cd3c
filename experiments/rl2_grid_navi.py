"""RL² on the grid with a hidden goal: GridNavi of Zintgraf et al. (2020).

Sum of returns over the four episodes of a trial: Bayes-optimal 37.214 (4.000 + 3 × 11.071), random −4.6.

On one core of a 2-core AMD EPYC, `JAX_NUM_CPU_DEVICES=1 metarl train rl2-grid-navi`, greedy policy, 1000 tasks: 36.7
after 7.7M env-steps (three minutes), 36.2 to 36.5 from 12M to 17M, and 35.8 at the end, 20M, on tasks in which the
policy that knows the goal has 11.02 an episode instead of 11.07. The returns of the four episodes are about 4.0, 10.2,
11.07, 11.07: what is missing is in the second, because the first does not sweep the whole grid.
"""

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.learners.recurrent import RL2
from metarl_jax.outer.ppo import PPO
from metarl_jax.returns import AdvantageConfig

CONFIG = Config(
    name="rl2-grid-navi",
    env=GridNavi(),
    learner=RL2(hidden_size=128, encoder_sizes=(64,)),
    outer=PPO(
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        num_epochs=2,
        num_minibatches=4,
        rounds="all",
        value_coefficient=0.5,
        entropy_coefficient=0.01,
    ),
    advantage=AdvantageConfig(
        discount=0.97, gae_lambda=0.9, baseline="value", credit="trial", normalization="batch"
    ),
    num_meta_steps=1300,
    num_tasks=256,
    num_rounds=4,
    num_episodes=1,
    log_every=10,
    evaluation=EvaluationConfig(every=100, num_tasks=1000, deterministic=True),
)

if __name__ == "__main__":
    from metarl_jax.cli import run_preset

    run_preset("rl2-grid-navi")
