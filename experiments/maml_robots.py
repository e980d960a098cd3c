"""MAML on robots that differ in goal, speed, direction or body, at a size for a CPU.

Each is `maml-half-cheetah-dir-small` but for the tasks. The control that is told the task is the same command with
`--env.told-task`, and `metarl eval RUN --told TOLD_RUN` sets the two side by side.
"""

import dataclasses

from metarl_jax.config import EvaluationConfig
from metarl_jax.envs.brax.ant import AntGoal, AntVel
from metarl_jax.envs.brax.humanoid import HumanoidDir
from metarl_jax.envs.brax.random_physics import HopperParams, Walker2dParams
from metarl_jax.experiments import maml_half_cheetah_dir

BASE = dataclasses.replace(
    maml_half_cheetah_dir.SMALL,
    num_meta_steps=250,
    evaluation=EvaluationConfig(every=50, num_tasks=100, num_rounds=3),
)

ANT_GOAL = dataclasses.replace(
    BASE, name="maml-ant-goal-small", env=AntGoal(variant="finn17", horizon=100)
)
"""Walk to a hidden goal."""

ANT_VEL = dataclasses.replace(BASE, name="maml-ant-vel-small", env=AntVel(horizon=100))
"""Walk at a hidden speed."""

WALKER = dataclasses.replace(
    BASE, name="maml-walker2d-params-small", env=Walker2dParams(horizon=100)
)
"""Walk with a hidden body."""

HOPPER = dataclasses.replace(BASE, name="maml-hopper-params-small", env=HopperParams(horizon=100))
"""Hop with a hidden body."""

HUMANOID = dataclasses.replace(
    BASE, name="maml-humanoid-dir-small", env=HumanoidDir(horizon=50), num_meta_steps=50
)
"""Run in a hidden direction. Fifty meta-steps are far too few: it wants an accelerator."""
