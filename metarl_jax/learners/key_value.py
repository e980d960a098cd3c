"""Adaptation by an external memory that is written within a trial."""

import dataclasses
from typing import ClassVar

import flax.linen as nn

from metarl_jax.core.validation import bounded
from metarl_jax.learners.sequence import SequenceLearner
from metarl_jax.networks.sequence.key_value import KeyValueCore


@dataclasses.dataclass(frozen=True)
class KeyValue(SequenceLearner):
    """A policy with a key–value memory of a fixed number of slots, empty when a trial begins.

    Every step writes a key and a value to the least used slot, and reads by the similarity of keys to a query. The
    policy acts on the values that were read and on the state of the recurrent controller. See `KeyValueCore`.

    References:
      Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", ICML 2016.
    """

    name: ClassVar[str] = "key_value"

    num_slots: int = bounded(16, at_least=1)
    """Number of slots of the memory."""
    slot_size: int = bounded(32, at_least=1)
    """Entries of a key, and of a value."""
    num_heads: int = bounded(2, at_least=1)
    """Number of reads per step."""
    usage_decay: float = bounded(0.95, at_least=0, at_most=1)
    """Factor by which the usage of a slot decays at every step."""

    def make_core(self) -> nn.Module:
        return KeyValueCore(
            self.hidden_size,
            self.num_slots,
            self.slot_size,
            self.num_heads,
            self.usage_decay,
            self.init_timescale,
        )
