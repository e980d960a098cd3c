"""MAML on robots that differ in goal, speed, direction or body, at a size for a CPU.

Held-out return after 0, 1, 2 gradient steps, one seed, one core of an AMD EPYC beside other work, 12 to 20 minutes
each; 95% intervals over tasks in brackets. The gain is of the last over the first of these rounds, in the same task.
Told is the same training with `--env.told-task`. One seed is an anecdote.

  metarl train maml-ant-goal-small --run-dir runs/mine
  metarl train maml-ant-goal-small --env.told-task --run-dir runs/told
  metarl eval runs/mine --told runs/told --num-tasks 200

- `maml-ant-goal-small`: 102 (87 to 117), 115 (100 to 130), 128 (113 to 143); gain 26 (22 to 31); random 88; told 181
  in its last round. Of the way from random to told it goes 0.15, 0.29, 0.43 (0.39 to 0.48).

- `maml-ant-vel-small`: 8.2 (3.6 to 13.0), 16.6 (12.3 to 21.3) in 400 tasks; gain in 200 tasks over two steps 10.6 (8.4
  to 13.0); random −52; told 46. Of the way to told it goes 0.61, 0.70, 0.72 (0.70 to 0.74): most of what it learns is
  to walk at a speed that suits all.

- `maml-walker2d-params-small`: 154 (147 to 161), 167 (160 to 174), 169 (162 to 175); gain 14.6 (10.8 to 18.8); random
  6. Told reaches 146, which is less: reading the 58 numbers of a body makes it learn more slowly in 250 meta-steps.

- `maml-hopper-params-small`: 223 (218 to 228), 231 (226 to 235) in 400 tasks; gain 8.0 (4.9 to 11.1) over one step, for
  which it is trained; a second step loses it again (229, 234, 230 in 100 tasks). Random 20; told 212, 226, 229. It
  learns one gait that carries all bodies, and adapts little.

- `maml-humanoid-dir-small`, after 15 of its 50 meta-steps: 245.9 (245.1 to 246.8), 248.6 (247.5 to 249.7), 251.4 (250.3
  to 252.5); gain 5.4 (4.6 to 6.3); random 246. Nearly all of it is the bonus for standing.

Each is `maml-half-cheetah-dir-small` but for the tasks.
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
