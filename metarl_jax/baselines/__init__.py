"""Policies to compare a learner with: the random policy, the oracle, and known strategies of an environment.

```python
from metarl_jax import baselines, envs
env = envs.make("bandit")
baselines.strategies(env)  # ("gittins", "ucb1", ...)
learner = baselines.make(env, "ucb1", num_rounds=10, confidence=1.0)
returns = baselines.evaluate_control(program, "ucb1:confidence=1", key)  # [tasks, K]
```

To add one, subclass `metarl_jax.baselines.Strategy`; `baselines.register("bandit", MyStrategy)` gives it a name.
"""

from metarl_jax.baselines.base import Strategy
from metarl_jax.baselines.evaluation import evaluate_control, measure_control
from metarl_jax.baselines.registry import make, register, strategies

__all__ = ["Strategy", "evaluate_control", "make", "measure_control", "register", "strategies"]
