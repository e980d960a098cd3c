"""Meta-learners, by name."""

from metarl_jax.core.registry import Registry
from metarl_jax.learners.base import LearnerConfig

registry: Registry[type[LearnerConfig]] = Registry(
    "learner",
    {
        "anil": "metarl_jax.learners.gradient:ANIL",
        "cavia": "metarl_jax.learners.gradient:CAVIA",
        "episodic": "metarl_jax.learners.episodic:Episodic",
        "hypernetwork": "metarl_jax.learners.structured:Hypernetwork",
        "key_value": "metarl_jax.learners.key_value:KeyValue",
        "maml": "metarl_jax.learners.gradient:MAML",
        "meta_sgd": "metarl_jax.learners.gradient:MetaSGD",
        "modular": "metarl_jax.learners.structured:Modular",
        "rl2": "metarl_jax.learners.rl2:RL2",
        "symmetric_rl2": "metarl_jax.learners.symmetric:SymmetricRL2",
        "tuned_hypernetwork": "metarl_jax.learners.structured:TunedHypernetwork",
        "tuned_modular": "metarl_jax.learners.structured:TunedModular",
        "varibad": "metarl_jax.learners.varibad:VariBAD",
    },
)


def names() -> list[str]:
    """The names of all registered learners."""
    return registry.names()


def get(name: str) -> type[LearnerConfig]:
    """The configuration class of this name; raises `UserError` that suggests the nearest name."""
    return registry.get(name)


def register(cls: type[LearnerConfig]) -> type[LearnerConfig]:
    """Adds a configuration class under its `name`; usable as a decorator."""
    registry.register(cls.name, cls)
    return cls
