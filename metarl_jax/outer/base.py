"""What an outer method is, and what it is given."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import optax

from metarl_jax.learner import AuxLoss, LearnerConfig
from metarl_jax.returns import AdvantageConfig
from metarl_jax.task_axis import TaskAxis
from metarl_jax.types import (
    Array,
    InnerState,
    Key,
    Memory,
    MetaParams,
    Metrics,
    PolicyOut,
    PyTree,
    Trial,
)
from metarl_jax.validation import bounded


class MetaBatch(NamedTuple):
    """The tasks of one meta-step, as an outer method sees them.

    Attributes:
      collect: (meta_params, key) to the trials `[N, K, T, E]` of all tasks. On-policy methods call it once, evolution
        once for each perturbation.
      memory: what the learner keeps beyond trials, as it was when the meta-step began.
      replay: (meta_params, memory, trial of one task, first round) to the answers in the rounds from that one on,
        `[K', T, E]`, differentiable in the meta-parameters.
      adapted: (meta_params, memory, trial of one task) to the inner state after all of its rounds, the last included.
      absorb: the learner's `absorb`, where it has one.
      aux_loss: (meta_params, memory, answers, trial of one task) to the learner's own loss and metrics; of a trial that
        was replayed, the rounds that the objective counts.
      axis: maps functions of one task over all of them.
      block: size of the blocks in which to go through the tasks when differentiating.
      step: meta-steps done before this one, `[]` int32.
      progress: their share of all meta-steps of the run, `[]` in [0, 1].
    """

    collect: Callable[[MetaParams, Key], Trial]
    memory: Memory
    replay: Callable[[MetaParams, Memory, Trial, int], PolicyOut]
    adapted: Callable[[MetaParams, Memory, Trial], InnerState]
    absorb: Callable[[MetaParams, InnerState], MetaParams] | None
    aux_loss: AuxLoss
    axis: TaskAxis
    block: int | None
    step: Array
    progress: Array


class Outer(NamedTuple):
    """An outer method.

    Attributes:
      init: meta_params to the state of the optimizer.
      update: (key, meta_params, opt_state, batch) to (meta_params, opt_state, trials, metrics). Where it collected more
        than these trials, the metrics have the number of all `env_steps`.
    """

    init: Callable[[MetaParams], PyTree]
    update: Callable[
        [Key, MetaParams, PyTree, MetaBatch], tuple[MetaParams, PyTree, Trial, Metrics]
    ]


@dataclasses.dataclass(frozen=True)
class OuterConfig:
    """Options of an outer method; subclasses add theirs as fields and build it. `name` is how users call it."""

    name: ClassVar[str]

    def make(self, num_meta_steps: int) -> Outer:
        """Builds the outer method for a run of so many meta-steps (schedules end with the run)."""
        raise TypeError(f"{type(self).__name__} must define make")

    @property
    def task_group(self) -> int:
        """How many tasks stay together on a device; the number of tasks must be a multiple of it."""
        return 1

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        """Raises `ValueError` (field, value, remedy) for options that cannot work with this learner."""


@dataclasses.dataclass(frozen=True)
class AdamOptions:
    """Options of Adam on gradients of bounded norm, for outer methods that take its steps."""

    learning_rate: float = bounded(1e-3, above=0)
    """Step size of Adam."""
    final_learning_rate: float | None = bounded(None, at_least=0)
    """Step size at the last meta-step, reached linearly; the same as the first when not given."""
    max_gradient_norm: float = bounded(1.0, above=0)
    """The gradient is scaled down to this norm where it is longer."""

    def make_optimizer(self, num_updates: int) -> optax.GradientTransformation:
        """Adam for a run of so many updates."""
        schedule = self.learning_rate
        if self.final_learning_rate is not None:
            schedule = optax.linear_schedule(schedule, self.final_learning_rate, num_updates)
        return optax.chain(
            optax.clip_by_global_norm(self.max_gradient_norm), optax.adam(schedule, eps=1e-5)
        )
