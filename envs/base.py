"""The interface of a task distribution, which `metarl_jax.envs` implements and users subclass."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import fixed_settings, make_key
from metarl_jax.core.registry import Named
from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import (
    ActionSpace,
    Array,
    Observation,
    ObservationSpace,
    flat_size,
    space_of,
)

Task = Any
"""One MDP of a distribution: a small pytree of arrays (a goal, a velocity, physics). It is traced, so that a new task
needs no recompilation."""

SPLITS = ("train", "test", "ood")
"""All names of splits. A task distribution lists its own in `splits`."""

CPU_LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
"""The option of XLA:CPU that chooses which operations a library computes. By default these include sums; one sum of a
long array of many axes took 1.4 s in the library, and 18 ms without it (docs/results/performance.md)."""


class EnvState(struct.PyTreeNode):
    """The state of one episode.

    Attributes:
      observation: a pytree of `observation_space`; most are one vector `[O]` float32.
      reward: `[]` float32, the reward of the step that led to this state.
      done: `[]` bool, whether the episode *terminated* here. Reaching `episode_length` is not termination.
      simulator: the state of the simulator, any pytree. Draw its noise in `reset`, for all steps at once: many small
        draws are slow.
      metrics: a pytree of scalars `[]` that the environment reports at each step, such as `{"success": …}` or the parts
        of a reward. Logs and evaluations show their mean over an episode and their last value.
    """

    observation: Observation
    reward: jax.Array
    done: jax.Array
    simulator: Any = ()
    metrics: Any = ()


Regret = Callable[[EnvState, jax.Array], jax.Array]
"""A function of the state of an episode and an action to the regret of the action (see `TaskDistribution.regret`)."""


@dataclasses.dataclass(frozen=True)
class TaskDistribution(Named):
    """A distribution p(task) of MDPs that share observations and actions.

    Subclass it as a frozen dataclass: its fields are the options that users set (`--env.FIELD` on the command line),
    and `name` is the name that users choose it by. All methods are pure and handle one task and one episode; the caller
    maps them with `vmap`. Whatever differs between tasks is in the task, never in `self`.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    """The splits that `sample` knows. `train` and `test` are independent draws unless `note` says otherwise."""
    note: ClassVar[str] = ""
    """A remark on the splits, shown beside held-out results."""
    single_task: ClassVar[bool] = False
    """Set this if `sample` always draws the same task; otherwise checks report that as a mistake."""
    horizon_is_task: ClassVar[bool] = True
    """Whether the time limit of `episode_length` steps is part of the task, so that the return to go is 0 there. If the
    limit merely cuts an episode that would go on, set False: learners with a value head then bootstrap at the limit."""
    encoder: ClassVar[str] = "flat"
    """Default encoder of observations (`metarl_jax.networks.encoders`); `learner.encoder` overrides it."""
    num_skills: ClassVar[int] = 0
    """Number of distinct skills that the tasks ask for, where these are few and known."""

    told_task: bool = dataclasses.field(default=False, kw_only=True)
    """Add the task (`oracle_observation`) to the observation. Use it to train a control that need not infer the
    task."""

    @property
    def episode_length(self) -> int:
        """T, the number of steps after which an episode is cut."""
        raise TypeError(f"{type(self).__name__} must define episode_length")

    @property
    def observation_space(self) -> ObservationSpace:
        """Shapes and types of an observation: a pytree of `Array` and `Integers`.

        By default a vector of `observation_size` floats if that is defined, and otherwise the space of what `reset`
        returns.
        """
        if type(self).observation_size is not TaskDistribution.observation_size:
            return Array((self.observation_size,))
        return space_of(self._abstract_state().observation)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names under which `EnvState.metrics` are reported: `NAME` for last values, `NAME_mean` for means."""
        leaves = jax.tree_util.tree_leaves_with_path(self._abstract_state().metrics)
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        return (*names, *(f"{name}_mean" for name in names))

    def _abstract_state(self) -> EnvState:
        """Shapes and types of a state."""
        try:
            return _abstract_state(self)
        except TypeError:  # a field that is a tracer has no hash
            return _abstract_state.__wrapped__(self)

    @property
    def observation_size(self) -> int:
        """O, the number of entries of a flattened observation."""
        return flat_size(self.observation_space)

    @property
    def action_space(self) -> ActionSpace:
        """`Discrete` or `Box`."""
        raise TypeError(f"{type(self).__name__} must define action_space")

    def at(self, step: int | jax.Array) -> "TaskDistribution":
        """Returns the distribution from which meta-step `step` draws tasks; by default it does not change.

        Args:
          step: `[]` int32, meta-steps done; usually a tracer, so that a field of the copy may be one.
        """
        del step
        return self

    def sample(self, key: jax.Array, split: str = "train") -> Task:
        """Draws one task."""
        raise TypeError(f"{type(self).__name__} must define sample")

    def reset(self, task: Task, key: jax.Array) -> EnvState:
        """Begins an episode."""
        raise TypeError(f"{type(self).__name__} must define reset")

    def step(self, task: Task, state: EnvState, action: jax.Array) -> EnvState:
        """Takes one step."""
        raise TypeError(f"{type(self).__name__} must define step")

    def action_mask(self, task: Task, state: EnvState) -> jax.Array | None:
        """Returns which actions of a `Discrete` space may be taken in a state, `[A]` bool; None if all always may.

        At least one action must be allowed. Learners give masked actions probability zero.
        """
        del task, state
        return None

    def action_features(self, observation: Observation) -> jax.Array | None:
        """Returns what an observation says of each action of a `Discrete` space; None where it says nothing of them.

        A policy that scores actions with shared weights reads it (`learner.per_action_head`), so that what it learns of
        one slot of a list holds for all.

        Args:
          observation: a pytree of arrays `[..., *]`, as `reset` and `step` return it.

        Returns:
          `[..., A, F]` float32.
        """
        del observation
        return None

    def skill(self, task: Task) -> jax.Array:
        """Returns which of the `num_skills` skills a task asks for, `[]` int32."""
        raise TypeError(f"{type(self).__name__} must define skill")

    def render(self, task: Task, states: EnvState) -> Scene | None:
        """Returns a picture of an episode, for `metarl render`; None where the environment does not draw itself.

        Args:
          task: as numpy arrays.
          states: the states in which actions were taken, as numpy arrays `[T, ...]`.
        """
        del task, states

    def render_trial(
        self, task: Task, states: EnvState, actions: np.ndarray, rewards: np.ndarray
    ) -> Scene | None:
        """Returns a picture of a whole trial, of environments whose episodes are too short to be looked at alone; where
        it is defined, `metarl render` shows it instead of episodes.

        Args:
          task: as numpy arrays.
          states: the states in which actions were taken, of all episodes of the trial, as numpy arrays `[S, ...]`.
          actions: `[S, ...]`.
          rewards: `[S]`.
        """
        del task, states, actions, rewards

    def oracle_observation(self, task: Task) -> jax.Array:
        """Returns the task as a float32 vector `[G]`, for policies that observe the task."""
        leaves = [jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(task)]
        return jnp.concatenate(leaves)

    def oracle_action(self, task: Task, observation: jax.Array) -> jax.Array | None:
        """Returns the action of a known good policy that is given the task; None if no closed form is known."""
        del task, observation
        return None

    def regret(self, task: Task) -> "Regret | None":
        """Per-action regret V*(s) − Q*(s, a), a privileged training signal; None where it is not known.

        Returns:
          A function of (state, action) to V*(s) − Q*(s, a) `[]`, not negative: the loss of expected return in the rest
          of the episode, for the best policy that knows the task and the time, when it takes this action first. Compute
          what depends on the task alone outside that function, once per trial.
        """
        del task
        return None

    def bayes_optimal_value(self, num_rounds: int) -> np.ndarray | None:
        """Returns the expected return of each round `[K]` of the policy that is best on average over the tasks of
        `sample`. It is an upper bound for every learner, in trials of `num_rounds` rounds of one episode. None if it is
        unknown or takes too long to compute.
        """
        del num_rounds
        return None

    def compiler_options(self, platform: str) -> dict[str, Any]:
        """Returns XLA options with which programs that contain this simulator run faster on `cpu`, `gpu` or `tpu`."""
        return {CPU_LIBRARY: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"} if platform == "cpu" else {}

    def validate(self) -> None:
        """Raises `UserError` (field, value, remedy) for options that cannot work."""


@functools.lru_cache(maxsize=64)
def _abstract_state(env: TaskDistribution) -> EnvState:
    """Returns shapes and types of the states of an environment; cached, because tracing `reset` may take seconds."""

    def start() -> EnvState:
        key = make_key(0)  # Made in here, or a trace that is under way would hold it.
        return env.reset(env.sample(key), key)

    with fixed_settings():
        state = jax.eval_shape(start)
    if not isinstance(state, EnvState):
        name = type(env).__name__
        raise UserError(f"{name}.reset returned a {type(state).__name__}, expected an EnvState")
    return state


def check_split(distribution: TaskDistribution, split: str) -> None:
    """Raises `UserError` where the distribution has no such split."""
    if split not in distribution.splits:
        known = ", ".join(distribution.splits)
        raise UserError(f"split={split!r} is unknown to {distribution.name}: choose one of {known}")
