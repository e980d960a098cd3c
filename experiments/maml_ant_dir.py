"""MAML on ant direction: forward or backward, as the task says (Finn et al. 2017).

The paper has 8.7, 499.2, 500.7, 499.1 after 0, 1, 2, 3 gradient steps (MuJoCo). Brax's physics is another, so returns
do not compare. There are two tasks in all, hence no held-out set. Neither size of this preset has been trained to its
end yet.
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.envs.ant import AntDir
from metarl_jax.learners.gradient import MAML
from metarl_jax.outer.ppo import PPO
from metarl_jax.returns import AdvantageConfig

CONFIG = Config(
    name="maml-ant-dir",
    env=AntDir(variant="finn17"),
    learner=MAML(inner_lr=0.1, learn_inner_lr="array", log_std_init=-0.5),
    outer=PPO(learning_rate=1e-3, clip_eps=0.2, num_epochs=5),
    advantage=AdvantageConfig(discount=0.99, gae_lambda=0.95),
    num_meta_steps=500,
    num_tasks=40,
    num_rounds=2,
    num_episodes=20,
    normalize_observations=True,
    evaluation=EvaluationConfig(every=25, num_tasks=40, num_rounds=4),
)

SMALL = dataclasses.replace(
    CONFIG,
    name="maml-ant-dir-small",
    env=AntDir(variant="finn17", horizon=100),
    num_meta_steps=100,
    num_tasks=10,
    num_episodes=10,
    evaluation=EvaluationConfig(every=25, num_tasks=20, num_rounds=3),
)
"""MAML on ant direction, at a size for a CPU."""

if __name__ == "__main__":
    from metarl_jax.cli import run_preset

    run_preset("maml-ant-dir")
