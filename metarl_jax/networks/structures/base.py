"""The interface of a structure: a policy network whose weights or routing depend on the task."""

from typing import Protocol

from metarl_jax.core.types import Array, Key, PolicyOut


class Structure(Protocol):
    """A flax module that is a policy, given a code of the task.

    Attributes:
      code_size: entries Z of a code.
      code_scale: gain of the orthogonal initialisation of the layer that infers a code from features.
    """

    @property
    def code_scale(self) -> float: ...

    @property
    def code_size(self) -> int: ...

    def init_code(self, key: Key) -> Array:
        """The code `[Z]` that a learner starts from."""
        ...

    def __call__(self, code: Array, observation: Array) -> PolicyOut:
        """The answer to observations `[..., O]`. A code `[Z]` is that of all, a code `[..., Z]` has one for each."""
        ...
