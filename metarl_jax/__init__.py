"""Meta-reinforcement learning as one compiled step.

```python
import jax
import metarl_jax as mrl

config = mrl.default_config("rl2", "grid_navi")  # or mrl.presets.get("maml-point-robot")
program = mrl.build(config)
state = program.init(jax.random.key(0))
state, metrics = jax.jit(program.step)(state)
returns = program.evaluate(state, jax.random.key(1))  # [tasks, K]

mrl.train(config, "runs/mine")  # the whole run, as `metarl train` does it
```

Your own tasks, learners and outer methods derive from `TaskDistribution`, `LearnerConfig` and `OuterConfig`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metarl_jax.core.version import __version__ as __version__

if TYPE_CHECKING:
    import metarl_jax.baselines as baselines
    import metarl_jax.core.spaces as spaces
    import metarl_jax.envs as envs
    import metarl_jax.experiments as presets
    import metarl_jax.learners as learners
    import metarl_jax.outer as outer
    import metarl_jax.testing as testing
    from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig
    from metarl_jax.core.advantages import AdvantageConfig
    from metarl_jax.core.distributions import Categorical, DiagonalGaussian
    from metarl_jax.core.errors import UserError
    from metarl_jax.core.spaces import Box, Discrete
    from metarl_jax.core.types import MetaState, PolicyOut, TimeStep, Transition, Trial
    from metarl_jax.defaults import default_config
    from metarl_jax.envs.base import EnvState, TaskDistribution
    from metarl_jax.envs.wrapper import Wrapper
    from metarl_jax.learners.base import LearnerConfig, MetaLearner
    from metarl_jax.outer.base import MetaBatch, Outer, OuterConfig
    from metarl_jax.program.build import Program, build
    from metarl_jax.runs.callbacks import Callback
    from metarl_jax.runs.evaluate import evaluate_run as evaluate
    from metarl_jax.runs.export import export_run as export
    from metarl_jax.runs.restore import load
    from metarl_jax.runs.train import train
    from metarl_jax.searches.search import search
    from metarl_jax.sweeps.sweep import Sweep
    from metarl_jax.sweeps.train import resume
    from metarl_jax.sweeps.train import train_sweep as sweep

__all__ = [
    "AdvantageConfig",
    "Box",
    "Callback",
    "Categorical",
    "Config",
    "DiagonalGaussian",
    "Discrete",
    "EnvState",
    "EvaluationConfig",
    "LearnerConfig",
    "MetaBatch",
    "MetaLearner",
    "MetaState",
    "Outer",
    "OuterConfig",
    "PolicyOut",
    "Program",
    "RuntimeConfig",
    "Sweep",
    "TaskDistribution",
    "TimeStep",
    "Transition",
    "Trial",
    "UserError",
    "Wrapper",
    "baselines",
    "build",
    "default_config",
    "envs",
    "evaluate",
    "export",
    "learners",
    "load",
    "outer",
    "presets",
    "resume",
    "search",
    "spaces",
    "sweep",
    "testing",
    "train",
]

_SOURCES = {
    "baselines": "metarl_jax.baselines",
    "envs": "metarl_jax.envs",
    "learners": "metarl_jax.learners",
    "outer": "metarl_jax.outer",
    "presets": "metarl_jax.experiments",
    "spaces": "metarl_jax.core.spaces",
    "testing": "metarl_jax.testing",
    "AdvantageConfig": "metarl_jax.core.advantages:AdvantageConfig",
    "Box": "metarl_jax.core.spaces:Box",
    "Callback": "metarl_jax.runs.callbacks:Callback",
    "Categorical": "metarl_jax.core.distributions:Categorical",
    "Config": "metarl_jax.config:Config",
    "DiagonalGaussian": "metarl_jax.core.distributions:DiagonalGaussian",
    "Discrete": "metarl_jax.core.spaces:Discrete",
    "EnvState": "metarl_jax.envs.base:EnvState",
    "EvaluationConfig": "metarl_jax.config:EvaluationConfig",
    "LearnerConfig": "metarl_jax.learners.base:LearnerConfig",
    "MetaBatch": "metarl_jax.outer.base:MetaBatch",
    "MetaLearner": "metarl_jax.learners.base:MetaLearner",
    "MetaState": "metarl_jax.core.types:MetaState",
    "Outer": "metarl_jax.outer.base:Outer",
    "OuterConfig": "metarl_jax.outer.base:OuterConfig",
    "PolicyOut": "metarl_jax.core.types:PolicyOut",
    "Program": "metarl_jax.program.build:Program",
    "RuntimeConfig": "metarl_jax.config:RuntimeConfig",
    "Sweep": "metarl_jax.sweeps.sweep:Sweep",
    "TaskDistribution": "metarl_jax.envs.base:TaskDistribution",
    "TimeStep": "metarl_jax.core.types:TimeStep",
    "Transition": "metarl_jax.core.types:Transition",
    "Trial": "metarl_jax.core.types:Trial",
    "UserError": "metarl_jax.core.errors:UserError",
    "Wrapper": "metarl_jax.envs.wrapper:Wrapper",
    "build": "metarl_jax.program.build:build",
    "default_config": "metarl_jax.defaults:default_config",
    "evaluate": "metarl_jax.runs.evaluate:evaluate_run",
    "export": "metarl_jax.runs.export:export_run",
    "load": "metarl_jax.runs.restore:load",
    "resume": "metarl_jax.sweeps.train:resume",
    "search": "metarl_jax.searches.search:search",
    "sweep": "metarl_jax.sweeps.train:train_sweep",
    "train": "metarl_jax.runs.train:train",
}
"""Where the public names are, imported when they are asked for: `metarl --help` does not wait for JAX."""


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _SOURCES[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
