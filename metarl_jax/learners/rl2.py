"""Adaptation by recurrence: RL²."""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.trees import padded_mean
from metarl_jax.core.types import Array, Memory, MetaParams, Metrics, PolicyOut, Trial
from metarl_jax.core.validation import bounded, is_off
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.optional import has_action_features
from metarl_jax.envs.told_task import task_size
from metarl_jax.learners.base import MetaLearner, Setup
from metarl_jax.learners.sequence import SequenceLearner
from metarl_jax.networks.sequence import CoreName, make_core


@dataclasses.dataclass(frozen=True)
class RL2(SequenceLearner):
    """RL²: a recurrent policy whose carry persists over the episodes of a trial, and so learns the task.

    References:
      Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016.
      Wang et al., "Learning to Reinforcement Learn", 2016.
      Humplik et al., "Meta reinforcement learning as task inference", 2019, for the predicted task.
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
    task_prediction_coefficient: float = bounded(0.0, at_least=0)
    """Weight of the squared error of the task, as `env.oracle_observation` describes it, predicted at every step. It
    teaches the core to remember what tells tasks apart, with less noise than a policy gradient does, but uses the task
    during training. Evaluation never sees it."""

    def policy_options(self, env: TaskDistribution) -> dict[str, Any]:
        return super().policy_options(env) | {
            "action_features": env.action_features if self.per_action_head else None,
            "head_sizes": self.head_sizes,
            "predicted_size": task_size(env) if self.predicts_task else 0,
        }

    @property
    def predicts_task(self) -> bool:
        """Whether the task is predicted."""
        return not is_off(self.task_prediction_coefficient)

    def make(self, env: TaskDistribution) -> MetaLearner:
        learner = super().make(env)
        if not self.predicts_task:
            return learner
        return learner._replace(aux_loss=self._task_loss, predicts_task=True)

    def _task_loss(
        self, meta_params: MetaParams, memory: Memory, out: PolicyOut, trial: Trial
    ) -> tuple[Array, Metrics]:
        """c ½ mean ‖ĝ − g‖² / G over the steps of a trial, with ĝ `[K, T, E, G]` in `out.latent` for its task g."""
        del meta_params, memory
        error = 0.5 * jnp.mean((out.latent - trial.task) ** 2, axis=-1)
        loss = padded_mean(error, trial.rollout.timestep.valid)
        return self.task_prediction_coefficient * loss, {"task_loss": loss}

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        self._check_heads()
        if self.predicts_task and self.name != RL2.name:
            raise UserError(
                f"learner.task_prediction_coefficient={self.task_prediction_coefficient} does not fit learner "
                f"{self.name!r}: choose 0, or learner 'rl2'"
            )
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
