"""The interface of an outer method, and the batch of tasks that it updates from."""

import dataclasses
import re
from collections.abc import Callable, Hashable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.advantages import AdvantageConfig, AdvantageEstimator
from metarl_jax.core.registry import Named
from metarl_jax.core.task_axis import TaskAxis
from metarl_jax.core.types import (
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
from metarl_jax.core.validation import bounded
from metarl_jax.learners.base import AuxLoss, LearnerConfig, ParameterGroup, ParameterGroups


class MetaBatch(NamedTuple):
    """The tasks of one meta-step, as an outer method sees them.

    Attributes:
      collect: (meta_params, key) to the trials `[N, K, T, E]` of all tasks. On-policy methods call it once, evolution
        once for each perturbation.
      memory: the memory that persists across trials, as of the start of the meta-step.
      replay: (meta_params, memory, trial of one task, first round) to the answers in the rounds from that one on,
        `[K', T, E]`, differentiable in the meta-parameters.
      adapted: (meta_params, memory, trial of one task) to the inner state after all of its rounds, the last included.
      to_meta_params: the learner's `to_meta_params`, where it has one.
      aux_loss: (meta_params, memory, answers, trial of one task) to the learner's own loss and metrics; of a trial that
        was replayed, the rounds that the objective counts.
      advantages: how rewards become advantages.
      axis: maps functions of one task over all of them.
      block: size of the blocks in which to go through the tasks when differentiating.
      step: meta-steps done before this one, `[]` int32.
      progress: how far schedules are, `[]`, from 0 at the first meta-step to 1 at the last (`schedule_progress`).
    """

    collect: Callable[[MetaParams, Key], Trial]
    memory: Memory
    replay: Callable[[MetaParams, Memory, Trial, int], PolicyOut]
    adapted: Callable[[MetaParams, Memory, Trial], InnerState]
    to_meta_params: Callable[[MetaParams, InnerState], MetaParams] | None
    aux_loss: AuxLoss
    advantages: AdvantageEstimator
    axis: TaskAxis
    block: int | None
    step: Array
    progress: Array


class Outer(NamedTuple):
    """An outer method.

    Attributes:
      init: meta_params to the state of the optimizer.
      update: (key, meta_params, opt_state, batch) to (meta_params, opt_state, trials, metrics). If it collected more
        than these trials, the metrics contain the total number of `env_steps`.
      sharded: the state of the optimizer to a pytree of bools of the same structure: which of its arrays have a leading
        axis of tasks `[N, ...]`, such as a replay buffer of each task. These are spread over the devices with the
        tasks; all others are on every device. None where no array has one.
    """

    init: Callable[[MetaParams], PyTree]
    update: Callable[
        [Key, MetaParams, PyTree, MetaBatch], tuple[MetaParams, PyTree, Trial, Metrics]
    ]
    sharded: Callable[[PyTree], PyTree] | None = None


@dataclasses.dataclass(frozen=True)
class OuterConfig(Named):
    """Options of an outer method. Subclasses add fields and build the method in `make`; users choose it by `name`."""

    reads_advantages: ClassVar[bool] = True
    """Whether updates are computed from advantages; inner steps always are."""
    learns_value: ClassVar[bool] = True
    """Whether it trains a value function, which may serve as a baseline."""
    takes_segments: ClassVar[bool] = True
    """Whether it collects once, and so can update from segments of trials that go on (`Config.num_segments`)."""
    learns_step_sizes: ClassVar[bool] = True
    """Whether it trains inner step sizes that are meta-parameters."""

    def make(self, num_meta_steps: int, parameter_groups: ParameterGroups = ()) -> Outer:
        """Builds the outer method for a run of `num_meta_steps` (schedules end with the run).

        Args:
          num_meta_steps: of the run.
          parameter_groups: the parts of the meta-parameters that the learner wants to be optimised separately.
        """
        raise TypeError(f"{type(self).__name__} must define make")

    @property
    def task_group(self) -> int:
        """Number of tasks that stay together on a device; `num_tasks` must be a multiple of it."""
        return 1

    def validate(self, learner: LearnerConfig, advantage: AdvantageConfig) -> None:
        """Raises `UserError` (field, value, remedy) for options that cannot work with this learner."""


def schedule_progress(step: int | Array, num_meta_steps: int) -> Array:
    """Progress of schedules after `step` meta-steps, `[]`: 0 in the first meta-step of the run, 1 in the last."""
    if num_meta_steps == 1:
        return jnp.ones((), jnp.float32)
    return jnp.minimum(step / jnp.float32(num_meta_steps - 1), 1.0)


@dataclasses.dataclass(frozen=True)
class AdamOptions:
    """Options of outer methods that take steps of Adam on gradients of bounded norm."""

    learning_rate: float = bounded(1e-3, above=0)
    """Step size of Adam."""
    final_learning_rate: float | None = bounded(None, at_least=0)
    """Step size at the last meta-step, reached linearly; constant when not given."""
    max_gradient_norm: float = bounded(1.0, above=0)
    """Gradients with a larger norm are scaled down to this norm, separately for each parameter group."""

    def make_optimizer(
        self, num_meta_steps: int, parameter_groups: ParameterGroups = ()
    ) -> optax.GradientTransformationExtraArgs:
        """Returns Adam for a run of `num_meta_steps`, with separate moments and norms for each parameter group and for
        the rest.

        Its `update` takes `meta_step`, the meta-steps done, by which schedules go: a step of which several updates are
        made, or none because it was skipped, is one step. When not given, every update is one.
        """
        if not parameter_groups:
            return self._adam(num_meta_steps, self.learning_rate, self.max_gradient_norm)
        rest = ParameterGroup("rest", "")
        adams: dict[Hashable, optax.GradientTransformation] = {}
        for group in (*parameter_groups, rest):
            rate, norm = group.learning_rate, group.max_gradient_norm
            rate = self.learning_rate if rate is None else rate
            norm = self.max_gradient_norm if norm is None else norm
            adams[group.name] = self._adam(num_meta_steps, rate, norm)

        def labels(params: MetaParams) -> PyTree:
            def label(path, _):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                found = (g.name for g in (*parameter_groups, rest) if re.search(g.pattern, name))
                return next(found)

            return jax.tree_util.tree_map_with_path(label, params)

        return optax.with_extra_args_support(optax.partition(adams, labels))

    def _adam(
        self, num_meta_steps: int, learning_rate: float | Array, max_gradient_norm: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        clip = optax.clip_by_global_norm(max_gradient_norm)
        adam = optax.scale_by_adam(eps=1e-5)
        scale = self._scale(num_meta_steps, learning_rate)
        return optax.with_extra_args_support(optax.chain(clip, adam, scale))

    def _scale(
        self, num_meta_steps: int, learning_rate: float | Array
    ) -> optax.GradientTransformation:
        """Returns steps down the gradient, of a length that goes from `learning_rate` to the final one."""
        if self.final_learning_rate is None:
            return optax.scale_by_learning_rate(learning_rate)
        last = learning_rate * self.final_learning_rate / self.learning_rate

        def schedule(meta_step: Array) -> Array:
            progress = schedule_progress(meta_step, num_meta_steps)
            return learning_rate + progress * (last - learning_rate)

        return scale_by_meta_step(schedule)


def scale_by_meta_step(
    schedule: Callable[[Array], Array],
) -> optax.GradientTransformationExtraArgs:
    """Steps of a length that depends on the meta-step, as `AdamOptions.make_optimizer` describes."""

    def init(params):
        del params
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, meta_step: Array | None = None, **extra):
        del params, extra
        step = state.count if meta_step is None else meta_step
        size = schedule(step)
        scaled = jax.tree.map(lambda g: (-size * g).astype(g.dtype), updates)
        return scaled, optax.ScaleByScheduleState(count=step + 1)

    return optax.GradientTransformationExtraArgs(init, update)
