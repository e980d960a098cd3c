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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import metarl_jax.envs as envs
    import metarl_jax.experiments as experiments
    from metarl_jax.config import Config
    from metarl_jax.program.build import Program, build

__all__ = ["Config", "Program", "build", "envs", "experiments"]
__version__ = "0.1.0"

_MODULES = {
    "Config": "metarl_jax.config",
    "Program": "metarl_jax.program.build",
    "build": "metarl_jax.program.build",
    "envs": "metarl_jax.envs",
    "experiments": "metarl_jax.experiments",
}
"""Where the public names are, imported when they are asked for: `metarl --help` does not wait for JAX."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_MODULES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
