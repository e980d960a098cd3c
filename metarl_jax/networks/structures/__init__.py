"""Policies whose structure depends on a task: networks from a task code and an observation to actions.
`metarl_jax.learners.structured` infers the code, or takes gradient steps on it.
"""

from metarl_jax.networks.structures.base import Structure
from metarl_jax.networks.structures.hypernetwork import GeneratedPolicy, Generation, HyperInit
from metarl_jax.networks.structures.modular import ModularPolicy, Routing

__all__ = ["GeneratedPolicy", "Generation", "HyperInit", "ModularPolicy", "Routing", "Structure"]
