"""Outer methods: how the experience of a meta-step becomes an update of the meta-parameters, by name."""

from metarl_jax.core.registry import Registry
from metarl_jax.outer.base import MetaBatch, Outer, OuterConfig

__all__ = ["MetaBatch", "Outer", "OuterConfig", "get", "names", "register", "registry"]

registry: Registry[type[OuterConfig]] = Registry(
    "outer method",
    {
        "es": "metarl_jax.outer.es:ES",
        "policy_gradient": "metarl_jax.outer.policy_gradient:PolicyGradient",
        "ppo": "metarl_jax.outer.ppo:PPO",
        "reptile": "metarl_jax.outer.reptile:Reptile",
        "trpo": "metarl_jax.outer.trpo:TRPO",
    },
)


def names() -> list[str]:
    """The names of all registered outer methods."""
    return registry.names()


def get(name: str) -> type[OuterConfig]:
    """The configuration class of this name; raises `UserError` that suggests the nearest name."""
    return registry.get(name)


def register(cls: type[OuterConfig]) -> type[OuterConfig]:
    """Adds a configuration class under its `name`; usable as a decorator."""
    registry.register(cls.name, cls)
    return cls
