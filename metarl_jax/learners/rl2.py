"""Adaptation by recurrence: RL²."""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn

from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution, has_action_features
from metarl_jax.learners.base import Setup
from metarl_jax.learners.sequence import SequenceLearner
from metarl_jax.networks.sequence import CoreName, make_core


@dataclasses.dataclass(frozen=True)
class RL2(SequenceLearner):
    """RL²: a recurrent policy whose carry persists over the episodes of a trial, and so learns the task.

    References:
      Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016.
      Wang et al., "Learning to Reinforcement Learn", 2016.
    """

    name: ClassVar[str] = "rl2"
    own_head: ClassVar[str | None] = None
    """What answers in place of the heads for policy and value; None where they do."""

    core: CoreName = "gru"
    """Sequence model: `gru` or `lstm`, or `min_gru` or `transformer`, which train in parallel over the steps of a
    trial."""
    num_layers: int = bounded(1, at_least=1)
    """Number of layers of `min_gru` and `transformer`."""
    num_heads: int = bounded(4, at_least=1)
    """Number of attention heads of `transformer`."""
    context_length: int = bounded(128, at_least=1)
    """Number of latest steps that `transformer` attends to."""

    head_sizes: tuple[int, ...] = bounded((), at_least=1)
    """Sizes of the hidden layers between the core and the policy, and of those between the core and the value."""
    per_action_head: bool = False
    """Score actions with shared weights, from what the environment says of each (`action_features`)."""

    def policy_options(self, env: TaskDistribution) -> dict[str, Any]:
        return super().policy_options(env) | {
            "action_features": env.action_features if self.per_action_head else None,
            "head_sizes": self.head_sizes,
        }

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        self._check_heads()
        if self.per_action_head:
            self._check_per_action_head(setup)
        if self.core == "transformer" and self.hidden_size % (2 * self.num_heads):
            raise UserError(
                f"learner.hidden_size={self.hidden_size} must be a multiple of twice learner.num_heads="
                f"{self.num_heads}: choose {2 * self.num_heads * max(1, self.hidden_size // (2 * self.num_heads))} "
                "for example"
            )

    def _check_heads(self) -> None:
        given = "per_action_head=True" if self.per_action_head else f"head_sizes={self.head_sizes}"
        if self.own_head is not None and (self.per_action_head or self.head_sizes):
            raise UserError(
                f"learner.{given} does not fit learner {self.name!r}, in which {self.own_head} answers: leave it out, "
                "or choose learner 'rl2'"
            )
        if self.per_action_head and self.head_sizes:
            raise UserError(
                f"learner.head_sizes={self.head_sizes} has no effect with learner.per_action_head=True, which is a "
                "head of its own: leave one of them out"
            )

    def _check_per_action_head(self, setup: Setup) -> None:
        what = "learner.per_action_head=True"
        if not has_action_features(setup.env):
            raise UserError(
                f"{what} needs features of each action, and env {setup.env.name!r} defines no action_features: "
                "leave it out"
            )
        if setup.normalize_observations:
            raise UserError(
                f"{what} reads raw observations: choose normalize_observations=False, or leave it out"
            )

    def make_core(self) -> nn.Module:
        return make_core(
            self.core,
            self.hidden_size,
            self.num_layers,
            self.num_heads,
            self.context_length,
            self.init_timescale,
        )
