"""MAML on robots that differ in goal, speed, direction or body, at a size for a CPU.

Held-out return after 0, 1, 2 gradient steps in 100 tasks, one seed, one core of an AMD EPYC beside other work, 12 to 20
minutes each; 95% intervals over tasks in brackets. One seed is an anecdote.

  metarl train maml-ant-goal-small

- `maml-ant-goal-small`: 94 (74 to 115), 107 (87 to 128), 124 (103 to 144); random 78.

- `maml-ant-vel-small`: 9.6 (−0.1 to 18.1), 17.4 (7.8 to 25.8), 20.0 (10.6 to 28.5); random −50. Most of what it learns
  is to walk at a speed that suits all.

- `maml-hopper-params-small`: 229 (221 to 237), 234 (226 to 241), 230 (221 to 238); random 19. It learns one gait that
  carries all bodies, and does not adapt: the aim, a return after adaptation above the one before it, is missed.

- `maml-walker2d-params-small`: 121 (109 to 132) before and 140 (130 to 151) after adaptation at meta-step 50, where it
  was stopped; all 250 take longer than 15 minutes. `maml-humanoid-dir-small` was not run.

The control that is told the task was not trained yet. Each is `maml-half-cheetah-dir-small` but for the tasks. The
control is the same command with `--env.told-task`, and `metarl eval RUN --told TOLD_RUN` sets the two side by side.
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
"""Run in a hidden direction. Fifty meta-steps are far too few; full training needs an accelerator."""
