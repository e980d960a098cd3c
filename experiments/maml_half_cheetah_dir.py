"""MAML on half-cheetah direction: forward or backward, as the task says (Finn et al. 2017).

The paper has −50.7, 293.2, 313.5, 315.7 after 0, 1, 2, 3 gradient steps (MuJoCo, 200 steps an episode, 40 tasks × 20
trajectories a meta-step). Brax's physics is another, so returns do not compare. There are two tasks in all, hence no
held-out set.

The small preset on one core of a 2-core AMD EPYC, `JAX_NUM_CPU_DEVICES=1 metarl train maml-half-cheetah-dir-small`:
3M env-steps in four minutes, 100 steps an episode. Return after 0, 1, 2 gradient steps −19.8, 60.6, 67.1 (95% intervals
of the last two 39.5 to 82.8 and 48.5 to 86.6); random policy −15.3. The full-size preset is untried: it wants an
accelerator.
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.brax.half_cheetah import HalfCheetahDir
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.ppo import PPO

CONFIG = Config(
    name="maml-half-cheetah-dir",
    env=HalfCheetahDir(),
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
    name="maml-half-cheetah-dir-small",
    env=HalfCheetahDir(horizon=100),
    num_meta_steps=150,
    num_tasks=10,
    num_episodes=10,
    evaluation=EvaluationConfig(every=25, num_tasks=20, num_rounds=3),
)
"""MAML on half-cheetah direction, at a size for a CPU."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("maml-half-cheetah-dir")
