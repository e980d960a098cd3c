"""Policies whose structure depends on a task: networks from a code of the task and an observation to actions.

Where the code comes from is not their concern: `metarl_jax.learners.structured` infers it or descends on it.
"""

from metarl_jax.networks.structures.base import Structure
from metarl_jax.networks.structures.hypernetwork import GeneratedPolicy, Generation, HyperInit
from metarl_jax.networks.structures.modular import ModularPolicy, Routing

__all__ = ["GeneratedPolicy", "Generation", "HyperInit", "ModularPolicy", "Routing", "Structure"]
