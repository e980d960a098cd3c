"""Configurations: frozen, complete, and changed with `dataclasses.replace`."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Literal

from flax.traverse_util import flatten_dict

from metarl_jax import envs, learners, outer
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.declarations import check_declaration, is_foreign
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Registry, suggestion
from metarl_jax.core.validation import bounded, check_fields
from metarl_jax.core.version import __version__
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.contract import check_properties
from metarl_jax.learners.base import LearnerConfig, check_advantages
from metarl_jax.outer.base import OuterConfig


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How held-out returns are measured, while training and at the end."""

    every: int = bounded(25, at_least=0)
    """Meta-steps between evaluations; 0 for none before the end."""
    num_tasks: int = bounded(100, at_least=2)
    """Held-out tasks."""
    num_rounds: int | None = bounded(None, at_least=1)
    """Rounds of episodes; as in training when not given."""
    num_episodes: int | None = bounded(None, at_least=1)
    """Parallel episodes of a round; as in training when not given."""
    inner_lr_factors: tuple[float, ...] | None = bounded(None, at_least=0)
    """What inner step sizes are multiplied by, step after step (see `learner.inner_lr_factors`); as in training when
    not given. `1 0.5` is the protocol of Finn et al. (2017) at test time, with 40 episodes of a round."""
    deterministic: bool = False
    """Act by the mode of the policy. A learner that adapts between rounds adapts to sampled episodes all the same, and
    each round is measured in episodes by the mode beside them, from the same starts: nothing is learned from a mode."""
    split: Literal["test", "train", "ood"] = "test"
    """Split of the tasks: `test`, `train` or `ood`."""
    select_by: str = "return"
    """The best checkpoint has the greatest of this: the `return`, or a number that the environment reports, by name,
    such as `success` (its last value in an episode) or `success_mean` (its mean). With a minus before the name, as in
    `--evaluation.select-by=-slowdown`, it has the least."""


@dataclasses.dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a run is computed. None of it changes a result, but for the order of float sums."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """`cpu`, `gpu`, `tpu`, or `auto` for the best there is."""
    num_devices: int | None = bounded(None, at_least=1)
    """Devices to spread the tasks over; when not given, as many as share them evenly. On a CPU a core is a device."""
    collect_block: int | None = bounded(None, at_least=1)
    """Tasks of a device that are simulated side by side; when not given, all on an accelerator, and on a CPU as many
    as have inner states that fit into the cache of a core."""
    update_block: int | None = bounded(None, at_least=1)
    """Tasks of a device that are differentiated side by side; when not given, all on an accelerator, and on a CPU
    one where each task has weights of its own."""
    remat: bool = False
    """Compute adaptation and policies again in the backward pass, instead of keeping them: less memory, more time."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When the state is saved, and how many copies stay."""

    every: int = bounded(50, at_least=1)
    """Meta-steps between checkpoints."""
    keep: int = bounded(3, at_least=1)
    """Latest checkpoints to keep; the best by held-out return is kept beside them."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run: what is learned, on which tasks, how, and how it is watched."""

    env: TaskDistribution
    """Task distribution."""
    learner: LearnerConfig
    """The learner: what adapts to a task, and how."""
    outer: OuterConfig
    """How experience becomes an update of the meta-parameters."""
    advantage: AdvantageConfig = AdvantageConfig()
    """How rewards become advantages."""
    name: str = "custom"
    """Name of the preset."""
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    """Seed of every random draw of the run."""
    init_from: str | None = None
    """Folder of a run whose best meta-parameters this one begins with; drawn from the seed when not given. Learned step
    sizes and deviations begin with `learner.inner_lr` and `learner.log_std_init` where these are not as in that run."""
    num_meta_steps: int = bounded(300, at_least=1)
    """Meta-steps to train for."""
    num_tasks: int = bounded(40, at_least=1)
    """Tasks of a meta-batch (N)."""
    num_rounds: int = bounded(2, at_least=1)
    """Rounds of episodes in a trial (K); gradient learners adapt K − 1 times."""
    num_episodes: int = bounded(20, at_least=1)
    """Parallel episodes of a round (E)."""
    num_steps: int | None = bounded(None, at_least=2)
    """Steps of a trial that goes by steps: an episode that ends is followed by the next at once, up to `num_rounds` of
    them. When not given, a trial goes by episodes, each of which takes `env.episode_length` steps. For learners that
    adapt while they act."""
    normalize_observations: bool = False
    """Give observations mean 0 and deviation 1 by running statistics of the training tasks."""
    log_every: int = bounded(5, at_least=1)
    """Meta-steps of a chunk: one line of metrics. It is computed in calls of a few seconds."""
    max_skipped: int = bounded(20, at_least=1)
    """Stop after so many updates in a row that were skipped for not being finite."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Held-out evaluation."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Devices and blocks."""


WRITTEN_BY = "metarl_jax"
"""The entry of a written configuration that is no field of it: the version of the library that wrote it."""

FORMAT = 2
"""The entry `format` of a written configuration: the layout of run folders that it belongs to."""

Which = Literal["best", "last"] | int
"""A checkpoint of a run: the best by held-out return (the last where none was evaluated), the last, or that of a
meta-step."""

NOT_LEARNED = ("runtime.", "evaluation.", "checkpoint.")
NOT_LEARNED_ALONE = ("name", "num_meta_steps", "log_every", "max_skipped", "init_from")
"""Fields that a run may go on with other values of: how long it is, and how and where it is watched and computed."""

REGISTRIES: dict[str, Registry] = {
    "env": envs.registry,
    "learner": learners.registry,
    "outer": outer.registry,
}
"""The fields whose type is chosen by name."""


def validate(config: Config) -> None:
    """Checks a configuration as far as it is concrete.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    for field in REGISTRIES:
        check_declared(field, getattr(config, field))
    check_fields(config)
    _validate_part(config.env.validate)
    _validate_part(config.learner.validate, config)
    check_advantages(config.learner, config)
    _check_steps(config)
    _check_timeout(config)
    _check_normalization(config)
    _check_worst_fraction(config)
    _check_evaluation(config)
    _validate_part(config.outer.validate, config.learner, config.advantage)
    group = config.outer.task_group
    if config.num_tasks % group:
        raise UserError(
            f"num_tasks={config.num_tasks} is not a multiple of outer.num_minibatches={group}: "
            f"choose num_tasks={config.num_tasks - config.num_tasks % group or group}, or other minibatches"
        )
    devices = config.runtime.num_devices
    if devices is not None and config.num_tasks % (devices * group):
        raise UserError(
            f"num_tasks={config.num_tasks} is not a multiple of runtime.num_devices={devices}"
            + (f" times outer.num_minibatches={group}" if group > 1 else "")
            + ": choose sizes that divide, or leave runtime.num_devices out"
        )


def _validate_part(validate_part: Callable[..., None], *args: Any) -> None:
    """Calls `validate` of a part, whose class may be the user's own and raise any `ValueError`."""
    try:
        validate_part(*args)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


def check_declared(field: str, part: Any) -> None:
    """Checks a part whose class is not the library's own as far as nothing needs to be computed for that.

    Args:
      field: of a configuration: `env`, `learner` or `outer`.
      part: the value of that field.

    Raises:
      UserError: naming the class, the attribute, what it is and the remedy.
    """
    bases = {"env": TaskDistribution, "learner": LearnerConfig, "outer": OuterConfig}
    if is_foreign(part):
        check_declaration(part, bases[field])
        if isinstance(part, TaskDistribution):
            check_properties(part)


def _check_steps(config: Config) -> None:
    """A trial by steps has no rounds to adapt between, and no time that all of its episodes share."""
    if config.num_steps is None:
        return
    given, length = f"num_steps={config.num_steps}", config.env.episode_length
    if config.num_steps < length:
        raise UserError(
            f"{given} is less than an episode of env {config.env.name!r} may take, {length} steps, so that a good "
            f"policy would come to no end: choose {length} or more, or a shorter env.horizon"
        )
    if config.learner.needs_round_advantages:
        raise UserError(
            f"{given} does not fit learner {config.learner.name!r}, which adapts between rounds of whole episodes: "
            "leave num_steps out, or choose a learner that adapts while it acts, such as 'rl2'"
        )
    if config.advantage.baseline == "linear":
        raise UserError(
            f"{given} does not fit advantage.baseline='linear', a function of the time in one episode: choose "
            "advantage.baseline='value' or 'none'"
        )
    if getattr(config.outer, "first_round_entropy_factor", 1.0) != 1.0:
        raise UserError(
            f"{given} leaves outer.first_round_entropy_factor without a first round: choose 1"
        )


def _check_timeout(config: Config) -> None:
    """Only a value head says what follows a time-out."""
    advantage = config.advantage
    if advantage.timeout != "bootstrap":
        return
    if advantage.baseline != "value":
        raise UserError(
            f"advantage.timeout='bootstrap' needs advantage.baseline='value', not {advantage.baseline!r}: what follows "
            "the last step is the value head's to say"
        )
    if config.num_steps is not None and advantage.credit == "episode":
        raise UserError(
            "advantage.timeout='bootstrap' with num_steps needs advantage.credit='trial': only the end of a trial by "
            "steps is bootstrapped"
        )


def _check_normalization(config: Config) -> None:
    """Advantages that are normalised alone are zero, and nothing is learned from them."""
    advantage, length = config.advantage, config.env.episode_length
    if not (config.outer.reads_advantages or config.learner.needs_round_advantages):
        return
    outside = {
        "round": 1,
        "trial": config.num_rounds,
        "batch": config.num_tasks * config.num_rounds,
    }
    evaluated = config.evaluation.num_episodes
    episodes = {"num_episodes": config.num_episodes}
    if config.learner.needs_round_advantages and evaluated is not None:
        episodes["evaluation.num_episodes"] = evaluated
    for field, num_episodes in episodes.items():
        few = f"{field}={num_episodes} with episodes of {length} step(s) in env {config.env.name!r}"
        if outside.get(advantage.normalization, 2) * num_episodes * length < 2:
            raise UserError(
                f"advantage.normalization={advantage.normalization!r} would make all advantages 0: {few} leave one in "
                f"each {advantage.normalization}: choose {field}=2 or more, or advantage.normalization='none'"
            )
        # The constant and three powers of time go through so many returns of a single episode.
        if advantage.baseline == "linear" and num_episodes == 1 and length <= 4:
            raise UserError(
                f"advantage.baseline='linear' would make all advantages 0: it fits the returns of {few} exactly: "
                f"choose {field}=2 or more, or advantage.baseline='none'"
            )


def _check_worst_fraction(config: Config) -> None:
    """The worst trial alone is its own quantile, which it does not fall short of."""
    fraction = getattr(config.outer, "worst_fraction", 1.0)
    num_trials = config.num_tasks * config.num_episodes
    if isinstance(fraction, int | float) and fraction < 1 and fraction * num_trials <= 1:
        raise UserError(
            f"outer.worst_fraction={fraction} of num_tasks={config.num_tasks} times "
            f"num_episodes={config.num_episodes} is a single trial, from which nothing can be learned: choose more "
            "tasks, or a larger fraction"
        )


def _check_evaluation(config: Config) -> None:
    evaluation, learner = config.evaluation, config.learner
    if evaluation.split not in config.env.splits:
        raise UserError(
            f"evaluation.split={evaluation.split!r} is unknown to env {config.env.name!r}: "
            f"choose one of {', '.join(config.env.splits)}"
        )
    if evaluation.select_by != "return":
        reported = config.env.metric_names
        if evaluation.select_by.removeprefix("-") not in reported:
            known = ", ".join(("return", *reported))
            raise UserError(
                f"evaluation.select_by={evaluation.select_by!r} is nothing that env {config.env.name!r} reports: "
                f"choose of {known}"
            )
    factors = evaluation.inner_lr_factors
    if factors is None:
        return
    if not hasattr(learner, "inner_lr_factors"):
        raise UserError(
            f"evaluation.inner_lr_factors={factors} does not fit learner {learner.name!r}, which takes no inner "
            "gradient steps: leave it out"
        )
    if not factors:
        raise UserError(
            "evaluation.inner_lr_factors=() has no factor: choose 1 for constant steps, or leave it out"
        )


def evaluated_learner(config: Config) -> LearnerConfig:
    """The learner as it is evaluated: with the step sizes of `evaluation`, where these are others."""
    factors = config.evaluation.inner_lr_factors
    if factors is None:
        return config.learner
    changes: dict[str, Any] = {"inner_lr_factors": factors}
    return dataclasses.replace(config.learner, **changes)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested dictionaries ready for JSON.

    What is chosen by name carries its `name`: for a class of the user, the file or module that defines it.
    """
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            chosen = REGISTRIES.get(field.name)
            named = {} if chosen is None else {"name": chosen.reference(type(value))}
            value = named | to_dict(value)
        values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def stamped(config: Config) -> dict[str, Any]:
    """`to_dict` of a configuration, with the version of the library: what `config.json` holds."""
    return {WRITTEN_BY: __version__, "format": FORMAT} | to_dict(config)


def missing(values: dict[str, Any]) -> dict[str, Any]:
    """The fields that a written configuration lacks, as in `env.num_arms`, with the defaults that they are given.

    A file lacks them that was written before the fields were there, or that was edited.
    """
    filled, found = flat(to_dict(from_dict(values))), flat(values)
    return {name: value for name, value in filled.items() if name not in found}


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one, with names as in `env.num_arms`."""
    return flatten_dict(values, sep=".")


def changes(before: Config, now: Config) -> dict[str, tuple[Any, Any]]:
    """The fields of `now` that are others than `before`, by name as in `env.num_arms`, with both values."""
    old, new = (flat(to_dict(config)) for config in (before, now))
    return {name: (old.get(name), value) for name, value in new.items() if value != old.get(name)}


def differing(trained: dict[str, Any], config: Config) -> str:
    """The fields of what is learned that differ from a written configuration, in words; empty if none do."""
    before, now = flat(trained), flat(to_dict(config))
    found = [
        f"{name}={value!r} (trained with {before[name]!r})"
        for name, value in now.items()
        if name in before
        and value != before[name]
        and not name.startswith(NOT_LEARNED)
        and name not in NOT_LEARNED_ALONE
    ]
    return ", ".join(found)


class FormatError(UserError):
    """A configuration of another layout of run folders."""


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `to_dict` and of `stamped`.

    Raises:
      UserError: for an unknown name or field, with the nearest one, and the version that wrote it if that is another.
    """
    fields = dict(values)
    found = fields.pop("format", None if WRITTEN_BY in fields else FORMAT)
    written_by = fields.pop(WRITTEN_BY, __version__)
    if found != FORMAT:
        raise FormatError(
            f"written by a metarl_jax whose run folders this one ({__version__}) cannot open: train the run again"
        )
    try:
        return _from_dict(Config, fields, "")
    except UserError as error:
        if written_by == __version__:
            raise
        raise UserError(
            f"{error}; written by metarl_jax {written_by}, and this is {__version__}"
        ) from error


def _from_dict(cls: type, values: dict[str, Any], prefix: str) -> Any:
    known = {field.name for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in known:
            hint = suggestion(name, sorted(known))
            raise UserError(f"unknown field {prefix}{name}{hint}")
        if name in REGISTRIES and isinstance(value, dict):
            value = dict(value)
            value = _from_dict(REGISTRIES[name].get(value.pop("name")), value, f"{prefix}{name}.")
        elif dataclasses.is_dataclass(hints[name]):
            value = _from_dict(hints[name], value, f"{prefix}{name}.")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return cls(**arguments)
