"""Outer methods, by name: algorithms that update the meta-parameters from the experience of a meta-step.

To add one, subclass `metarl_jax.OuterConfig`; `outer.register(MyMethod)` gives it a name in this process.
"""

from typing import TYPE_CHECKING

from metarl_jax.core.registry import Entry, Registry

if TYPE_CHECKING:
    from metarl_jax.outer.base import OuterConfig

registry: "Registry[type[OuterConfig]]" = Registry(
    "outer method",
    "metarl_jax.outer.base:OuterConfig",
    {
        "ppo": Entry("metarl_jax.outer.ppo:PPO", "clipped policy gradient, several epochs"),
        "policy_gradient": Entry(
            "metarl_jax.outer.policy_gradient:PolicyGradient", "one plain policy-gradient step"
        ),
        "trpo": Entry(
            "metarl_jax.outer.trpo:TRPO", "one natural-gradient step of bounded divergence"
        ),
        "reptile": Entry(
            "metarl_jax.outer.reptile:Reptile", "steps towards adapted weights, first order"
        ),
        "es": Entry("metarl_jax.outer.es:ES", "evolution strategies, without any derivative"),
    },
)

names, get, make, register = registry.names, registry.get, registry.make, registry.register
