"""Checks of your own classes, with a message for each mistake.

```python
from metarl_jax.testing import check_env, check_learner, check_outer

check_env(MyTasks())
check_learner(MyLearner(), MyTasks())
check_outer(MyOuter(), "maml")
```

They raise `metarl_jax.UserError`, a `ValueError` that names the class, the method, what it returned, what was expected
and the remedy. `metarl check FILE:CLASS` calls them too, and so does training, before it makes a run folder.
"""

import dataclasses

from metarl_jax import envs
from metarl_jax.core.errors import UserError
from metarl_jax.defaults import default_config
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.outer.base import OuterConfig
from metarl_jax.program import checks
from metarl_jax.program.checks import check_env

__all__ = ["check_env", "check_learner", "check_outer"]

ENV = "point_robot"
LEARNERS = ("maml", "rl2")
"""Parts that learners and outer methods are checked with by default; of the learners, the first that fits."""


def check_learner(learner: LearnerConfig, env: TaskDistribution | str = ENV) -> None:
    """Checks that a learner of your own does what the library expects of it, on a short trial of random numbers.

    Args:
      learner: an instance of its configuration.
      env: for whose observations and actions it is made, or a name or reference. Nothing is simulated.

    Raises:
      UserError: for the first mistake, naming class, function, what it returned, what was expected and the remedy.
    """
    checks.check_learner(learner, envs.make(env) if isinstance(env, str) else env)


def check_outer(
    outer: OuterConfig,
    learner: LearnerConfig | str | None = None,
    env: TaskDistribution | str = ENV,
) -> None:
    """Checks that an outer method of your own does what the library expects of it, with one update.

    Args:
      outer: an instance of its configuration.
      learner: what it updates, or a name or reference; `maml`, or `rl2` if that does not fit, when not given.
      env: for whose observations and actions, or a name or reference. Nothing is simulated.

    Raises:
      UserError: for the first mistake, naming class, function, what it returned, what was expected and the remedy.
    """
    checks.check_outer_declared(outer)
    for name in LEARNERS if learner is None else (learner,):
        try:
            config = dataclasses.replace(default_config(name, env), outer=outer)
            outer.validate(config.learner, config.advantage)
        except UserError:
            if learner is not None or name == LEARNERS[-1]:
                raise
            continue
        checks.check_outer(config)
        return
