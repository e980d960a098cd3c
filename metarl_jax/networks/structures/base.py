"""The interface of a structure: a policy network whose weights or routing depend on the task."""

from typing import Protocol

from metarl_jax.core.types import Array, Key, PolicyOut


class Structure(Protocol):
    """A policy as a flax module, conditioned on a code of the task.

    Attributes:
      code_size: entries Z of a code.
      code_scale: gain of the orthogonal initialisation of the layer that infers a code from features.
    """

    @property
    def code_scale(self) -> float: ...

    @property
    def code_size(self) -> int: ...

    def init_code(self, key: Key) -> Array:
        """Returns the initial code `[Z]`."""
        ...

    def __call__(self, code: Array, observation: Array) -> PolicyOut:
        """Returns the policy and value for observations `[..., O]`; the code is shared `[Z]`, or given for each
        observation `[..., Z]`."""
        ...
