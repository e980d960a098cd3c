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
    """How held-out returns are measured, during training and at its end."""

    every: int = bounded(25, at_least=0)
    """Meta-steps between evaluations during training; 0 evaluates only at the end."""
    num_tasks: int = bounded(100, at_least=2)
    """Number of held-out tasks."""
    num_rounds: int | None = bounded(None, at_least=1)
    """Number of rounds in a trial (K); as in training when not given."""
    num_episodes: int | None = bounded(None, at_least=1)
    """Number of parallel episodes per round (E); as in training when not given."""
    inner_lr_factors: tuple[float, ...] | None = bounded(None, at_least=0)
    """Factors of the step size in the first inner step, in the second, and so on (see `learner.inner_lr_factors`); as
    in training when not given. `1 0.5` with 40 episodes per round is the test protocol of Finn et al. (2017)."""
    deterministic: bool = False
    """Act by the mode of the policy instead of a sample. A learner that adapts between rounds still adapts to sampled
    episodes; returns are then measured in additional episodes by the mode, from the same initial states."""
    split: Literal["test", "train", "ood"] = "test"
    """Split of the evaluated tasks: `test`, `train` or `ood`."""
    select_by: str = "return"
    """Criterion of the best checkpoint: the highest `return`, or the highest value of a metric of the environment, such
    as `success` (its last value in an episode) or `success_mean` (its mean over an episode). A minus before the name
    selects the lowest value, as in `--evaluation.select-by=-slowdown`."""


@dataclasses.dataclass(frozen=True)
class RuntimeConfig:
    """Devices and blocks of a run. They change results only by the order of float sums."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """`cpu`, `gpu`, `tpu`, or `auto` for the fastest one available."""
    num_devices: int | None = bounded(None, at_least=1)
    """Number of devices to spread the tasks over; when not given, the most that share the tasks evenly. On a CPU, each
    core is a device."""
    collect_block: int | None = bounded(None, at_least=1)
    """Number of tasks that a device simulates side by side. When not given, all on an accelerator, and on a CPU as many
    as have inner states that fit into the cache of a core."""
    update_block: int | None = bounded(None, at_least=1)
    """Number of tasks that a device differentiates side by side. When not given, all, except that a CPU takes one at a
    time if each task has its own weights."""
    remat: bool = False
    """Recompute adaptation and policies in the backward pass instead of storing them: less memory, more time."""
    compilation_cache: bool = True
    """Keep compiled programs in the user's cache folder (metarl_jax/programs in XDG_CACHE_HOME or ~/.cache) for the
    next start of the same program. JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false keeps none."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are saved, and how many are kept."""

    every: int = bounded(50, at_least=1)
    """Meta-steps between checkpoints."""
    every_seconds: float | None = bounded(None, above=0)
    """Seconds between checkpoints, in the place of `every`: one is saved at the end of the first chunk after them."""
    keep: int = bounded(3, at_least=1)
    """Number of latest checkpoints to keep; the best one is kept as well."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A complete run: environment, learner, outer method, sizes, evaluation and checkpoints."""

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
    """Folder of a run whose best meta-parameters initialise this run; drawn from the seed when not given. Learned step
    sizes and standard deviations start from `learner.inner_lr` and `learner.log_std_init` if these differ from that
    run."""
    num_meta_steps: int = bounded(300, at_least=1)
    """Number of meta-steps to train for."""
    max_hours: float | None = bounded(None, above=0)
    """End after this many hours, with the first chunk that passes them; evaluation and pictures follow. Counted over
    all processes that train the run, with compilation and what was done again; `metarl resume --max-hours` with more
    goes on."""
    num_env_steps: int | None = bounded(None, at_least=1)
    """End with the first chunk after this many environment steps of training, if `num_meta_steps` does not end it
    before. Schedules follow `num_meta_steps`."""
    num_tasks: int = bounded(40, at_least=1)
    """Number of tasks in a meta-batch (N)."""
    num_rounds: int = bounded(2, at_least=1)
    """Number of rounds in a trial (K); gradient learners adapt K − 1 times."""
    num_episodes: int = bounded(20, at_least=1)
    """Number of parallel episodes per round (E)."""
    num_steps: int | None = bounded(None, at_least=2)
    """Number of steps in a trial by steps: when an episode ends, the next begins at once, up to `num_rounds` episodes.
    Only for learners that adapt while they act. When not given, trials are counted in episodes of `env.episode_length`
    steps."""
    num_segments: int = bounded(1, at_least=1)
    """Number of meta-steps that a trial by steps takes. Each updates from `num_steps / num_segments` steps, after which
    the trial goes on with the new meta-parameters: more updates for the same experience, and credit through no more
    than a segment. Only for learners that adapt while they act."""
    normalize_observations: bool = False
    """Standardise observations to mean 0 and standard deviation 1, by running statistics of the training tasks."""
    log_every: int = bounded(5, at_least=1)
    """Number of meta-steps that one line of metrics summarises (a chunk)."""
    log: tuple[str, ...] = ()
    """Where to record metrics beside `metrics.jsonl` and TensorBoard: `wandb`, `mlflow`, or a writer of your own as
    path/to/file.py:CLASS (see `metarl_jax.runs.writers.base`)."""
    max_skipped: int = bounded(20, at_least=1)
    """Stop after this many consecutive updates that were skipped because they were not finite."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Held-out evaluation."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Devices and blocks."""


WRITTEN_BY = "metarl_jax"
"""Key of the library version in `config.json`; it is not a field of the configuration."""

FORMAT = 2
"""Value of `format` in `config.json`: the version of the layout of run folders."""

Which = Literal["best", "last"] | int
"""A checkpoint of a run: the best by held-out return (the last if none was evaluated), the last, or the one of a
meta-step."""

NOT_LEARNED = ("runtime.", "evaluation.", "checkpoint.")
NOT_LEARNED_ALONE = (
    "name",
    "num_meta_steps",
    "max_hours",
    "num_env_steps",
    "log_every",
    "log",
    "max_skipped",
    "init_from",
)
"""Fields that may change when a run is resumed: its length, evaluation, logging and devices."""

REGISTRIES: dict[str, Registry] = {
    "env": envs.registry,
    "learner": learners.registry,
    "outer": outer.registry,
}
"""Fields whose class is chosen by name."""


def validate(config: Config) -> None:
    """Checks all concrete values of a configuration; traced values are not checked.

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
    _check_segments(config)
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
    """Calls `validate` of a part, and converts a `ValueError` of a user's class to `UserError`."""
    try:
        validate_part(*args)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


def check_declared(field: str, part: Any) -> None:
    """Checks the declaration of a part whose class is not the library's own; computes nothing.

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
    """Checks that nothing depends on rounds or on a common time, which a trial by steps does not have."""
    if config.num_steps is None:
        return
    given, length = f"num_steps={config.num_steps}", config.env.episode_length
    if config.num_steps < length:
        raise UserError(
            f"{given} is less than the {length} steps that an episode of env {config.env.name!r} may take: "
            f"choose {length} or more, or a shorter env.horizon"
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
            f"{given} has no rounds that outer.first_round_entropy_factor could apply to: choose factor 1"
        )


def _check_segments(config: Config) -> None:
    """Checks that a trial can be divided into segments, and that what follows a segment can be valued."""
    given, num_steps = f"num_segments={config.num_segments}", config.num_steps
    if config.num_segments == 1:
        return
    if num_steps is None:
        raise UserError(
            f"{given} divides a trial by steps, and num_steps is not given: choose num_steps, or num_segments=1"
        )
    if num_steps % config.num_segments:
        divisor = max(n for n in range(1, config.num_segments) if num_steps % n == 0)
        raise UserError(
            f"{given} does not divide num_steps={num_steps}: choose {divisor} for example"
        )
    if not config.learner.carries_over:
        raise UserError(
            f"{given} does not fit learner {config.learner.name!r}, which needs a trial as a whole: choose "
            "num_segments=1, or a learner with a recurrent state alone, such as 'rl2'"
        )
    if not config.outer.takes_segments:
        raise UserError(
            f"{given} does not fit outer method {config.outer.name!r}, which needs a trial as a whole: choose 'ppo' "
            "for example"
        )
    if config.advantage.baseline != "value":
        raise UserError(
            f"{given} needs advantage.baseline='value', not {config.advantage.baseline!r}: what a trial earns after a "
            "segment is the output of the value head"
        )
    if getattr(config.outer, "worst_fraction", 1.0) != 1.0:
        raise UserError(
            f"{given} does not fit outer.worst_fraction, which selects trials by their whole return: choose 1"
        )


def _check_timeout(config: Config) -> None:
    """Checks that a value head exists where a time limit is bootstrapped."""
    advantage = config.advantage
    if advantage.timeout != "bootstrap":
        return
    if advantage.baseline != "value":
        raise UserError(
            f"advantage.timeout='bootstrap' needs advantage.baseline='value', not {advantage.baseline!r}: the "
            "return to go at a time limit is the output of the value head"
        )
    if config.num_steps is not None and advantage.credit == "episode":
        raise UserError(
            "advantage.timeout='bootstrap' with num_steps needs advantage.credit='trial': only the end of a trial by "
            "steps is bootstrapped"
        )


def _check_normalization(config: Config) -> None:
    """Checks that advantages are normalised over more than one step; a single one would become 0."""
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
                f"advantage.normalization={advantage.normalization!r} would make all advantages 0: {few} leave a "
                f"single step in each {advantage.normalization}: choose {field}=2 or more, or "
                "advantage.normalization='none'"
            )
        # The constant and three powers of time go through so many returns of a single episode.
        if advantage.baseline == "linear" and num_episodes == 1 and length <= 4:
            raise UserError(
                f"advantage.baseline='linear' would make all advantages 0: it fits the returns of {few} exactly: "
                f"choose {field}=2 or more, or advantage.baseline='none'"
            )


def _check_worst_fraction(config: Config) -> None:
    """Checks that the worst fraction contains more than one trial; a single one equals its own quantile."""
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
                f"evaluation.select_by={evaluation.select_by!r} is not a metric of env {config.env.name!r}: "
                f"choose one of {known}"
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
    """Returns the learner for evaluation, with the step-size factors of `evaluation` if given."""
    factors = config.evaluation.inner_lr_factors
    if factors is None:
        return config.learner
    changes: dict[str, Any] = {"inner_lr_factors": factors}
    return dataclasses.replace(config.learner, **changes)


def to_dict(config: Any) -> dict[str, Any]:
    """Converts a configuration to nested dictionaries, ready for JSON.

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
    """Returns the fields that a written configuration lacks, as in `env.num_arms`, with their defaults.

    A file lacks them that was written before the fields were there, or that was edited.
    """
    filled, found = flat(to_dict(from_dict(values))), flat(values)
    return {name: value for name, value in filled.items() if name not in found}


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one, with names as in `env.num_arms`."""
    return flatten_dict(values, sep=".")


def changes(before: Config, now: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields that differ between `before` and `now`, by name as in `env.num_arms`, with both values."""
    old, new = (flat(to_dict(config)) for config in (before, now))
    return {name: (old.get(name), value) for name, value in new.items() if value != old.get(name)}


def differing(trained: dict[str, Any], config: Config) -> str:
    """Describes the fields that affect training and differ from a written configuration; empty if none do."""
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
    """Restores a configuration; the inverse of `to_dict` and of `stamped`.

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
