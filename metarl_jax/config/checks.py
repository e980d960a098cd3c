"""Checks of a whole configuration: fields that do not fit each other."""

from collections.abc import Callable
from typing import Any

from metarl_jax.config.fields import REGISTRIES, Config
from metarl_jax.core.declarations import check_declaration, is_foreign
from metarl_jax.core.errors import UserError
from metarl_jax.core.sizes import parse_bytes
from metarl_jax.core.validation import check_fields
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.contract import check_properties
from metarl_jax.learners.base import LearnerConfig, check_advantages
from metarl_jax.outer.base import OuterConfig


def validate(config: Config) -> None:
    """Checks all concrete values of a configuration; traced values are not checked.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    for field in REGISTRIES:
        check_declared(field, getattr(config, field))
    check_fields(config)
    if config.runtime.memory_limit is not None:
        parse_bytes("runtime.memory_limit", config.runtime.memory_limit)
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
