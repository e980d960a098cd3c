"""Meta-reinforcement learning as one compiled step.

```python
import jax, metarl_jax

config = metarl_jax.experiments.get("maml-point-robot")
program = metarl_jax.build(config)
state = program.init(jax.random.key(0))
state, metrics = jax.jit(program.step)(state)
returns = program.evaluate(state, jax.random.key(1))  # [tasks, K]
```
"""

import metarl_jax.envs as envs
import metarl_jax.experiments as experiments
from metarl_jax.config import Config
from metarl_jax.program import Program, build

__all__ = ["Config", "Program", "build", "envs", "experiments"]
__version__ = "0.1.0"
