"""MAML on the point robot."""
import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.env import TaskDistribution
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.learners.gradient import MAML
from metarl_jax.outer.ppo import PPO

CONFIG = Config(
    name="maml-point-robot",
    env=PointRobot(),
    learner=MAML(),
    outer=PPO(),
    num_rounds=3,
)
ONE_STEP = dataclasses.replace(CONFIG, name="maml-point-robot-one-step", num_rounds=2)
