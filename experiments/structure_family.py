"""Adaptation by network structure: hypernetworks and modular networks, with their comparisons.

docs/results/structure.md has their returns. On every problem, learners that infer the code have the settings of RL²,
and learners that tune it have those of MAML: compare within a protocol, for a round of MAML is 20 episodes, and a round
of RL² is one.
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.brax.half_cheetah import HalfCheetahVel
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.envs.rotated_point_robot import RotatedPointRobot
from metarl_jax.experiments import (
    maml_half_cheetah_dir,
    maml_point_robot,
    rl2_grid_navi,
    rl2_half_cheetah_vel,
)
from metarl_jax.learners.hypernetwork import Hypernetwork, TunedHypernetwork
from metarl_jax.learners.maml import MAML
from metarl_jax.learners.modular import Modular, TunedModular
from metarl_jax.learners.rl2 import RL2
from metarl_jax.outer.ppo import PPO

replace = dataclasses.replace

HYPERNETWORK_GRID_NAVI = replace(
    rl2_grid_navi.GRU, name="hypernetwork-grid-navi", learner=Hypernetwork()
)
"""A recurrent hypernetwork on the grid with a hidden goal: Beck et al. (2023)."""

MODULAR_GRID_NAVI = replace(rl2_grid_navi.GRU, name="modular-grid-navi", learner=Modular())
"""A modular policy with inferred routing on the grid with a hidden goal."""

HYPERNETWORK_HALF_CHEETAH_VEL = replace(
    rl2_half_cheetah_vel.SMALL,
    name="hypernetwork-half-cheetah-vel-small",
    learner=Hypernetwork(log_std_init=-0.5),
)
"""A recurrent hypernetwork on half-cheetah velocity, at a size for a CPU."""

HYPERNETWORK_BECK23 = replace(
    rl2_half_cheetah_vel.CONFIG,
    name="hypernetwork-half-cheetah-vel-beck23",
    learner=Hypernetwork(
        hidden_size=256,
        code_size=25,
        bounded_code=True,
        embedding_size=256,
        policy_sizes=(256, 128),
        separate_value=True,
        log_std_init=0.0,
        generator_learning_rate=3e-4,
    ),
    outer=replace(
        rl2_half_cheetah_vel.CONFIG.outer,
        learning_rate=1e-3,
        num_epochs=2,
        clip_eps=0.1,
        entropy_coefficient=0.01,
    ),
    num_meta_steps=750,
)
"""A recurrent hypernetwork with the sizes and the PPO of Beck et al. (2023), for 7.7e7 env-steps.

Untried: it wants an accelerator."""

MODULAR_HALF_CHEETAH_VEL = replace(
    rl2_half_cheetah_vel.SMALL,
    name="modular-half-cheetah-vel-small",
    learner=Modular(log_std_init=-0.5),
)
"""A modular policy with inferred routing on half-cheetah velocity, at a size for a CPU."""

MAML_GRID_NAVI = Config(
    name="maml-grid-navi",
    env=GridNavi(),
    learner=MAML(inner_lr=0.3, learn_inner_lr="array"),
    outer=PPO(learning_rate=3e-3, final_learning_rate=1e-4, num_epochs=5, clip_eps=0.2),
    advantage=AdvantageConfig(discount=0.97, gae_lambda=0.9),
    num_meta_steps=150,
    num_tasks=40,
    num_rounds=3,
    num_episodes=20,
    log_every=5,
    evaluation=EvaluationConfig(every=50, num_tasks=200),
)
"""MAML on the grid with a hidden goal, in rounds of 20 episodes; the first round has to find the goal."""

TUNED_HYPERNETWORK_GRID_NAVI = replace(
    MAML_GRID_NAVI,
    name="tuned-hypernetwork-grid-navi",
    learner=TunedHypernetwork(learn_inner_lr="parameter"),
)
"""A hypernetwork whose code is tuned, in the protocol of `maml-grid-navi`."""

TUNED_MODULAR_GRID_NAVI = replace(
    MAML_GRID_NAVI,
    name="tuned-modular-grid-navi",
    learner=TunedModular(learn_inner_lr="parameter"),
)
"""Modules whose routing is tuned, in the protocol of `maml-grid-navi`."""

MAML_HALF_CHEETAH_VEL = replace(
    maml_half_cheetah_dir.SMALL,
    name="maml-half-cheetah-vel-small",
    env=HalfCheetahVel(variant="finn17", horizon=50),
    num_meta_steps=80,
    num_tasks=16,
    evaluation=EvaluationConfig(every=20, num_tasks=40, num_rounds=3),
)
"""MAML on half-cheetah velocity, at a size for a CPU."""

TUNED_HYPERNETWORK_HALF_CHEETAH_VEL = replace(
    MAML_HALF_CHEETAH_VEL,
    name="tuned-hypernetwork-half-cheetah-vel-small",
    learner=TunedHypernetwork(learn_inner_lr="parameter", log_std_init=-0.5),
)
"""A hypernetwork whose code is tuned, in the protocol of `maml-half-cheetah-vel-small`."""

TUNED_MODULAR_HALF_CHEETAH_VEL = replace(
    MAML_HALF_CHEETAH_VEL,
    name="tuned-modular-half-cheetah-vel-small",
    learner=TunedModular(learn_inner_lr="parameter", log_std_init=-0.5),
)
"""Modules whose routing is tuned, in the protocol of `maml-half-cheetah-vel-small`."""

TUNED_HYPERNETWORK_POINT_ROBOT = replace(
    maml_point_robot.CONFIG,
    name="tuned-hypernetwork-point-robot",
    learner=TunedHypernetwork(policy_sizes=(64, 64), learn_inner_lr="parameter", log_std_init=-0.7),
)
"""A hypernetwork whose code is tuned, in the protocol of `maml-point-robot`."""

TUNED_MODULAR_POINT_ROBOT = replace(
    maml_point_robot.CONFIG,
    name="tuned-modular-point-robot",
    learner=TunedModular(learn_inner_lr="parameter", log_std_init=-0.7),
)
"""Modules whose routing is tuned, in the protocol of `maml-point-robot`."""

MULTITASK_POINT_ROBOT = replace(
    maml_point_robot.CONFIG,
    name="multitask-point-robot",
    learner=MAML(hidden_sizes=(340, 340), inner_lr=0.1, log_std_init=-0.7),
    outer=replace(maml_point_robot.CONFIG.outer, rounds="first"),
    num_rounds=2,
)
"""A control: one plain policy for all tasks, as large as the hypernetwork there, and fine-tuned."""

MULTITASK_GRID_NAVI = replace(
    MAML_GRID_NAVI,
    name="multitask-grid-navi",
    learner=MAML(hidden_sizes=(215, 215), inner_lr=0.1),
    outer=replace(MAML_GRID_NAVI.outer, rounds="first"),
    num_rounds=2,
    evaluation=replace(MAML_GRID_NAVI.evaluation, num_rounds=3),
)
"""A control: one plain policy for all tasks, as large as the tuned hypernetwork there, and fine-tuned."""

MULTITASK_HALF_CHEETAH_VEL = replace(
    MAML_HALF_CHEETAH_VEL,
    name="multitask-half-cheetah-vel-small",
    learner=MAML(hidden_sizes=(205, 205), inner_lr=0.1, log_std_init=-0.5),
    outer=replace(MAML_HALF_CHEETAH_VEL.outer, rounds="first"),
)
"""A control: one plain policy for all tasks, as large as the tuned hypernetwork there, and fine-tuned."""

RL2_POINT_ROBOT = Config(
    name="rl2-point-robot",
    env=PointRobot(),
    learner=RL2(log_std_init=-0.7),
    outer=PPO(
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        num_epochs=2,
        num_minibatches=8,
        rounds="all",
        value_coefficient=0.5,
        entropy_coefficient=0.0,
    ),
    advantage=AdvantageConfig(
        discount=0.99,
        gae_lambda=0.9,
        reward_scaling=0.1,
        baseline="value",
        credit="trial",
        normalization="batch",
    ),
    num_meta_steps=300,
    num_tasks=128,
    num_rounds=2,
    num_episodes=1,
    log_every=10,
    evaluation=EvaluationConfig(every=50, num_tasks=200),
)
"""RL² on the point robot with a hidden goal.

−3.68 and −1.00 in the two episodes (three seeds, `experiments/tables/structure_table.py`), where −0.50 is possible and
MAML has −2.25 after 60 episodes."""

HYPERNETWORK_POINT_ROBOT = replace(
    RL2_POINT_ROBOT,
    name="hypernetwork-point-robot",
    learner=Hypernetwork(log_std_init=-0.7),
)
"""A recurrent hypernetwork on the point robot with a hidden goal."""

MODULAR_POINT_ROBOT = replace(
    RL2_POINT_ROBOT,
    name="modular-point-robot",
    learner=Modular(log_std_init=-0.7),
)
"""A modular policy with inferred routing on the point robot with a hidden goal."""

RL2_ROTATED = replace(
    RL2_POINT_ROBOT,
    name="rl2-rotated-point-robot",
    env=RotatedPointRobot(),
    learner=RL2(hidden_size=64, log_std_init=-0.5),
    outer=replace(
        RL2_POINT_ROBOT.outer,
        learning_rate=2e-3,
        final_learning_rate=1e-4,
        num_epochs=4,
        num_minibatches=4,
    ),
    advantage=replace(RL2_POINT_ROBOT.advantage, discount=0.97, reward_scaling=1.0),
    num_tasks=256,
    evaluation=EvaluationConfig(every=100, num_tasks=1000),
)
"""RL² on a robot whose actions are turned by one of four angles."""

MODULAR_ROTATED = replace(
    RL2_ROTATED,
    name="modular-rotated-point-robot",
    learner=Modular(hidden_size=64, log_std_init=-0.5),
)
"""Modules with inferred routing, in tasks that are made of four skills."""

MAML_ROTATED = replace(
    MAML_GRID_NAVI,
    name="maml-rotated-point-robot",
    env=RotatedPointRobot(),
    learner=MAML(inner_lr=0.05, learn_inner_lr="array", log_std_init=-0.5),
)
"""MAML on a robot whose actions are turned by one of four angles."""

TUNED_MODULAR_ROTATED = replace(
    MAML_ROTATED,
    name="tuned-modular-rotated-point-robot",
    learner=TunedModular(learn_inner_lr="parameter", log_std_init=-0.5),
)
"""Modules whose routing is tuned, in tasks that are made of four skills."""
