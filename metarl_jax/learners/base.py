"""The interface of a meta-learner: a handful of pure functions, one for each time scale of meta-RL."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal, NamedTuple, Protocol

import flax.linen as nn
import jax

from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Named
from metarl_jax.core.types import (
    Array,
    InnerState,
    Key,
    Memory,
    MetaParams,
    Metrics,
    PolicyOut,
    TimeStep,
    Transition,
    Trial,
)
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.optional import knows_regret
from metarl_jax.networks.encoders import make_encoder

Described = dict[str, Array]
"""What a learner says of itself at a step, by name: arrays `[E, Z]`, of which pictures show Z entries over time."""
AuxLoss = Callable[[MetaParams, Memory, PolicyOut, Trial], tuple[Array, Metrics]]


class ParameterGroup(NamedTuple):
    """Meta-parameters whose gradient is clipped by its own norm and applied by an Adam of their own.

    Use it for parameters that only one of several losses trains. Clipped together with the others, the larger gradient
    would scale the smaller one down.

    Attributes:
      name: of the group.
      pattern: a regular expression that is found in the paths of its arrays, such as `params/encoder/Dense_0/kernel`.
      learning_rate: step size of its Adam; None for the step size of the outer method.
      max_gradient_norm: a gradient of the group with a larger norm is scaled down to this norm; None for the
        `max_gradient_norm` of the outer method.
    """

    name: str
    pattern: str
    learning_rate: float | Array | None = None
    max_gradient_norm: float | Array | None = None


ParameterGroups = tuple[ParameterGroup, ...]
"""Parameter groups in order: an array belongs to the first that matches. All others form one more group."""


def separate_group(
    name: str, pattern: str, learning_rate: float | None, max_gradient_norm: float | None
) -> ParameterGroups:
    """Returns the group with these options, or none if no option is given."""
    if learning_rate is None and max_gradient_norm is None:
        return ()
    return (ParameterGroup(name, pattern, learning_rate, max_gradient_norm),)


class MetaLearner(NamedTuple):
    """A learner, as functions of one task. Axes are those of `metarl_jax.core.types`.

    | function | called | what it does |
    |---|---|---|
    | `init(key)` | once a run | draws the meta-parameters |
    | `begin(meta_params, memory, key, num_episodes)` | once a trial | the inner state before anything was seen |
    | `act(meta_params, inner_state, timestep[E])` | every step | the policy, and the inner state after the step |
    | `adapt(meta_params, inner_state, rollout[T, E])` | after every round but the last | the adapted inner state |
    | `unroll(meta_params, inner_state, timesteps[T, E])` | in a replay | as `act` step after step, faster |
    | `aux_loss(meta_params, memory, out, trial)` | every outer step | a loss beside the policy's, and metrics |
    | `to_meta_params(meta_params, inner_state)` | by Reptile | the meta-parameters that begin with this inner state |
    | `metrics(meta_params)` | once a meta-step | numbers `[]` to report of what was learned |
    | `init_memory()` | once a run | what outlives trials, when empty |
    | `update_memory(meta_params, memory, trials)` | once a meta-step | the memory after these trials `[N, ...]` |
    | `describe(out, inner_state)` | every step, for `metarl render` | what it believes or recalls, `[E, Z]` by name |

    `None` stands for the default: `adapt` does nothing, so that the rounds of a trial are one sequence (`unroll` then
    gets `[K·T, E]`); `unroll` scans `act`; `aux_loss` is zero; `to_meta_params` is
    unsupported; `metrics` and `describe` have none; the memory is empty and stays so. `aux_loss` sees the rounds of the
    trial that the objective counts, and with `out` the answers of a replay in them. `describe` gets the answer at a
    step, and the inner state after it.

    `parameter_groups` are parts of the meta-parameters that outer methods which take steps of Adam optimise apart.
    `weights_per_task` says that each task has weights of its own in `act`; it sets the default size of the blocks in
    which a CPU goes through the tasks. `reads_outcome` says that the learner wants `TimeStep.outcome`, and
    `predicts_task` that its `aux_loss` reads `Trial.task`.
    """

    init: Callable[[Key], MetaParams]
    begin: Callable[[MetaParams, Memory, Key, int], InnerState]
    act: Callable[[MetaParams, InnerState, TimeStep], tuple[PolicyOut, InnerState]]
    adapt: Callable[[MetaParams, InnerState, Transition], InnerState] | None = None
    unroll: Callable[[MetaParams, InnerState, TimeStep], tuple[PolicyOut, InnerState]] | None = None
    aux_loss: AuxLoss | None = None
    to_meta_params: Callable[[MetaParams, InnerState], MetaParams] | None = None
    metrics: Callable[[MetaParams], Metrics] | None = None
    init_memory: Callable[[], Memory] | None = None
    update_memory: Callable[[MetaParams, Memory, Trial], Memory] | None = None
    describe: Callable[[PolicyOut, InnerState], Described] | None = None
    parameter_groups: ParameterGroups = ()
    weights_per_task: bool = False
    reads_outcome: bool = False
    predicts_task: bool = False


class Setup(Protocol):
    """The parts of a `metarl_jax.Config` that a learner's options may depend on."""

    @property
    def env(self) -> TaskDistribution: ...
    @property
    def advantage(self) -> AdvantageConfig: ...
    @property
    def num_rounds(self) -> int: ...
    @property
    def num_episodes(self) -> int: ...
    @property
    def normalize_observations(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class LearnerConfig(Named):
    """Options of a learner. Subclasses add fields and build the learner in `make`.

    `name` is how users call it. The other class variables say what kind of learner it is; checks, defaults, reports
    and pictures go by them. The defaults are those of a learner to which a trial is one sequence.
    """

    needs_round_advantages: ClassVar[bool] = False
    """Whether `adapt` needs the advantages of a round when the round ends, as an inner gradient step does."""
    has_value: ClassVar[bool] = True
    """Whether `act` returns a value, so that `advantage.baseline` may be `value`."""
    carries_over: ClassVar[bool] = False
    """Whether the inner state is all that a trial needs to go on after an update (`Config.num_segments`)."""
    result_rounds: ClassVar[Literal["last", "all"]] = "all"
    """Rounds whose return is the result of a trial: the `last`, if the others are data for adaptation, or `all`."""
    round_label: ClassVar[Literal["round", "episode"]] = "episode"
    """Name of a round in tables: `round` for parallel episodes between two inner steps, or `episode`."""

    def make(self, env: TaskDistribution) -> MetaLearner:
        """Builds the learner for the observations and actions of `env`."""
        raise TypeError(f"{type(self).__name__} must define make")

    encoder: str | None = None
    """Encoder of observations: `flat` (one vector, integers one-hot), `grid` (embeddings and small convolutions for
    integer grids), or a flax module of your own as `file.py:Class`. The environment's default when not given."""

    def make_encoder(self, env: TaskDistribution) -> nn.Module:
        """Returns the module that encodes the observations of `env`."""
        return make_encoder(self.encoder or env.encoder, env.observation_space)

    def num_adapted(self, env: TaskDistribution) -> int:
        """Returns how many numbers of the policy adapt to a new task: fast parameters, or entries of an inferred task
        code."""
        del env
        return 0

    def filled_parameters(self) -> dict[str, str]:
        """Returns the fields that set the initial value of meta-parameters.

        Maps the name of a field to a regular expression that matches the paths of exactly those meta-parameters. A run
        that starts from another one (`Config.init_from`) resets them if its value of the field differs.
        """
        return {}

    def suited_to(self, env: TaskDistribution) -> "LearnerConfig":
        """Returns these options with defaults that suit the actions of `env`, for `metarl_jax.defaults`.

        Raises:
          UserError: if the learner cannot work in `env`, with the reason and an alternative.
        """
        del env
        return self

    def validate(self, setup: Setup) -> None:
        """Raises `UserError` (field, value, remedy) for options that cannot work, by themselves or in this setup."""
        del setup


def check_advantages(learner: LearnerConfig, setup: Setup) -> None:
    """Checks that the advantage options fit this kind of learner.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    advantage, env = setup.advantage, setup.env
    if learner.needs_round_advantages:
        _check_round_advantages(learner, advantage)
        if setup.num_rounds < 2:
            raise UserError(
                f"num_rounds={setup.num_rounds} leaves learner {learner.name!r} no inner step: choose 2 or more"
            )
    if advantage.baseline == "value" and not learner.has_value:
        raise UserError(
            f"advantage.baseline='value' does not fit learner {learner.name!r}, which has no value head: "
            "choose 'linear' or 'none'"
        )
    if advantage.training_reward == "regret" and not knows_regret(env):
        raise UserError(
            f"advantage.training_reward='regret' is not known in env {env.name!r}, which defines no regret: "
            "choose advantage.training_reward='reward'"
        )
    if advantage.credit == "trial" and advantage.normalization == "round":
        raise UserError(
            "advantage.normalization='round' needs advantage.credit='episode': with credit='trial' advantages are "
            "known when the trial ends; choose normalization='trial', 'batch' or 'none'"
        )
    if advantage.credit == "trial" and advantage.baseline == "linear":
        raise UserError(
            "advantage.baseline='linear' needs advantage.credit='episode': it is a function of the time in one "
            "episode; choose baseline='value' or 'none'"
        )


def _check_round_advantages(learner: LearnerConfig, advantage: AdvantageConfig) -> None:
    if advantage.credit == "trial":
        raise UserError(
            f"advantage.credit='trial' does not fit learner {learner.name!r}, which needs advantages at the "
            "end of each round: choose advantage.credit='episode'"
        )
    if advantage.normalization in ("trial", "batch"):
        raise UserError(
            f"advantage.normalization={advantage.normalization!r} does not fit learner {learner.name!r}, whose "
            "inner step would see other advantages than the outer one: choose 'round' or 'none'"
        )
    if advantage.training_reward == "regret":
        raise UserError(
            f"advantage.training_reward='regret' does not fit learner {learner.name!r}, whose inner step would "
            "use the hidden task: choose advantage.training_reward='reward'"
        )


def unroll(
    learner: MetaLearner, meta_params: MetaParams, inner_state: InnerState, timesteps: TimeStep
) -> tuple[PolicyOut, InnerState]:
    """Runs the learner's `unroll` over timesteps `[T, E]`, or else a scan of its `act`."""

    def step(inner_state, timestep):
        out, inner_state = learner.act(meta_params, inner_state, timestep)
        return inner_state, out

    if learner.unroll is not None:
        out, inner_state = learner.unroll(meta_params, inner_state, timesteps)
    else:
        inner_state, out = jax.lax.scan(step, inner_state, timesteps)
    return out.with_mask(timesteps.action_mask), inner_state


def rematerialized(learner: MetaLearner) -> MetaLearner:
    """Returns the learner with `adapt` and `unroll` rematerialised: the backward pass stores only their arguments, and
    recomputes the rest."""
    adapt = learner.adapt
    return learner._replace(
        adapt=None if adapt is None else jax.checkpoint(adapt),
        unroll=jax.checkpoint(partial(unroll, learner)),
    )
