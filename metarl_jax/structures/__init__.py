"""Policies whose structure depends on a task: networks from a code of the task and an observation to actions.

A structure is a flax module with

- `code_size`: the entries Z of a code;
- `init_code(key)`: the code `[Z]` that a learner starts from;
- `__call__(code, observation)`: a code, and observations `[..., O]`, to `PolicyOut`. A code `[Z]` is that of all
  observations; a code `[..., Z]` has one for each.

Where the code comes from is not its concern: `metarl_jax.learners.structured` infers it or descends on it.
"""

from metarl_jax.structures.generated import GeneratedPolicy, Generation, HyperInit
from metarl_jax.structures.modular import ModularPolicy, Routing

__all__ = ["GeneratedPolicy", "Generation", "HyperInit", "ModularPolicy", "Routing"]
