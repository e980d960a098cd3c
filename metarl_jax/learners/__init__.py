"""Meta-learners, by name.

```python
from metarl_jax import learners
learner = learners.make("maml", inner_lr=0.05)
mine = learners.make("path/to/file.py:MyLearner")
```

To add one, subclass `metarl_jax.LearnerConfig`; `learners.register(MyLearner)` gives it a name in this process.
"""

from typing import TYPE_CHECKING

from metarl_jax.core.registry import Entry, Registry

if TYPE_CHECKING:
    from metarl_jax.learners.base import LearnerConfig

GRADIENT, MEMORY, STRUCTURE = "by gradient", "by memory", "by structure"
ANY, DISCRETE, RECURRING = (
    "any environment",
    "discrete actions",
    "any; made for recurring tasks",
)

registry: "Registry[type[LearnerConfig]]" = Registry(
    "learner",
    "metarl_jax.learners.base:LearnerConfig",
    {
        "maml": Entry(
            "metarl_jax.learners.maml:MAML",
            "gradient steps on all weights of the policy, or on any part of them",
            GRADIENT,
            ANY,
        ),
        "anil": Entry(
            "metarl_jax.learners.maml:ANIL", "gradient steps on the last layer", GRADIENT, ANY
        ),
        "cavia": Entry(
            "metarl_jax.learners.maml:CAVIA",
            "gradient steps on a context vector beside the observation",
            GRADIENT,
            ANY,
        ),
        "meta_sgd": Entry(
            "metarl_jax.learners.maml:MetaSGD",
            "MAML with a learned step size for every weight",
            GRADIENT,
            ANY,
        ),
        "zero_order": Entry(
            "metarl_jax.learners.zero_order:ZeroOrder",
            "steps along perturbed weights that return more, without derivatives",
            GRADIENT,
            ANY,
        ),
        "rl2": Entry(
            "metarl_jax.learners.rl2:RL2",
            "a recurrent policy or a transformer that carries its state over the trial",
            MEMORY,
            ANY,
        ),
        "symmetric_rl2": Entry(
            "metarl_jax.learners.symmetric:SymmetricRL2",
            "RL² for exchangeable discrete actions",
            MEMORY,
            DISCRETE,
        ),
        "key_value": Entry(
            "metarl_jax.learners.key_value:KeyValue",
            "an external memory that is written within the trial",
            MEMORY,
            ANY,
        ),
        "episodic": Entry(
            "metarl_jax.learners.episodic:Episodic",
            "RL² with a store that persists across trials, for recurring tasks",
            MEMORY,
            RECURRING,
        ),
        "varibad": Entry(
            "metarl_jax.learners.varibad:VariBAD",
            "a policy on a belief over tasks, trained to predict rewards and observations",
            MEMORY,
            ANY,
        ),
        "hypernetwork": Entry(
            "metarl_jax.learners.hypernetwork:Hypernetwork",
            "a recurrent encoder of the trial generates the weights of the policy",
            STRUCTURE,
            ANY,
        ),
        "modular": Entry(
            "metarl_jax.learners.modular:Modular",
            "a recurrent encoder of the trial routes through modules",
            STRUCTURE,
            ANY,
        ),
        "tuned_hypernetwork": Entry(
            "metarl_jax.learners.hypernetwork:TunedHypernetwork",
            "gradient steps on the code that generates the weights",
            STRUCTURE,
            ANY,
        ),
        "tuned_modular": Entry(
            "metarl_jax.learners.modular:TunedModular",
            "gradient steps on the routing through modules",
            STRUCTURE,
            ANY,
        ),
    },
)

names, get, make, register = registry.names, registry.get, registry.make, registry.register
