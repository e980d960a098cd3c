"""Known strategies, by environment and name: `ucb1`, or `ucb1:confidence=1` with a field of it set."""

import dataclasses
from typing import TYPE_CHECKING, Any

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Entry, Registry
from metarl_jax.core.validation import check_fields

if TYPE_CHECKING:
    from metarl_jax.baselines.base import Strategy
    from metarl_jax.envs.base import TaskDistribution
    from metarl_jax.learners.base import MetaLearner

BASE = "metarl_jax.baselines.base:Strategy"


def _of_bandits(cls: str) -> Entry:
    return Entry(f"metarl_jax.baselines.bandit_strategies:{cls}")


def _of_tables(cls: str) -> Entry:
    return Entry(f"metarl_jax.baselines.tabular_strategies:{cls}")


def _of_jobs(cls: str) -> Entry:
    return Entry(f"metarl_jax.baselines.scheduling_strategies:{cls}")


_registries: "dict[str, Registry[type[Strategy]]]" = {
    "bandit": Registry(
        "bandit strategy",
        BASE,
        {
            "gittins": _of_bandits("Gittins"),
            "ucb1": _of_bandits("UCB1"),
            "thompson": _of_bandits("Thompson"),
            "optimistic_thompson": _of_bandits("OptimisticThompson"),
            "epsilon_greedy": _of_bandits("EpsilonGreedy"),
            "greedy": _of_bandits("Greedy"),
        },
    ),
    "job_scheduling": Registry(
        "job_scheduling strategy",
        BASE,
        {
            "sjf": _of_jobs("ShortestJobFirst"),
            "bookkeeper": _of_jobs("Bookkeeper"),
            "tetris": _of_jobs("Tetris"),
            "packer": _of_jobs("Packer"),
            "first_fit": _of_jobs("FirstFit"),
            "smallest": _of_jobs("Smallest"),
        },
    ),
    "tabular_mdp": Registry(
        "tabular_mdp strategy",
        BASE,
        {
            "psrl": _of_tables("PSRL"),
            "opsrl": _of_tables("OPSRL"),
            "ucrl2": _of_tables("UCRL2"),
            "beb": _of_tables("BEB"),
            "epsilon_greedy": _of_tables("EpsilonGreedy"),
            "greedy": _of_tables("Greedy"),
        },
    ),
}


def register(env_name: str, strategy: "type[Strategy]") -> None:
    """Adds a strategy of your own for the environment of this name, under the strategy's `name`.

    Raises:
      UserError: if the name is taken.
    """
    if strategy.name in ("random", "oracle"):
        raise UserError(f"strategy {strategy.name!r} is built in: choose another name")
    registry = _registries.setdefault(env_name, Registry(f"{env_name} strategy", BASE))
    registry.register(strategy)


def strategies(env: "TaskDistribution") -> tuple[str, ...]:
    """Returns the names of the known strategies for these tasks; subclasses of an environment share its strategies."""
    registry = _registry_of(env)
    return () if registry is None else tuple(registry.in_order())


def make(
    env: "TaskDistribution", name: str, num_rounds: int, **options: float | None
) -> "MetaLearner":
    """Returns a known strategy in the form of a `MetaLearner` without meta-parameters.

    Args:
      env: the task distribution.
      name: one of `strategies(env)`.
      num_rounds: K, the rounds of the trials in which it acts.
      options: fields of the strategy that differ from the defaults.

    Raises:
      UserError: for an unknown name or field, with the known ones, and for a bad value.
    """
    registry = _registry_of(env)
    if registry is None:
        raise UserError(f"strategy={name!r}: env {env.name!r} has no known strategies")
    cls: Any = registry.get(name)
    fields = [field.name for field in dataclasses.fields(cls)]
    for field in options:
        if field not in fields:
            raise UserError(
                f"strategy {name!r} has no field {field!r}: it has {', '.join(fields) or 'none'}"
            )
    strategy = cls(**options)
    check_fields(strategy, f"{name}.")
    return strategy.make(env, num_rounds)


def parse_strategy(text: str) -> tuple[str, dict[str, float]]:
    """Parses `name:field=number,field=number` into the name and the fields.

    Raises:
      UserError: where it cannot be read so.
    """
    name, colon, fields = text.partition(":")
    options = {}
    for pair in fields.split(",") if colon else ():
        field, _, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise UserError(
                f"control={text!r} must be NAME or NAME:FIELD=NUMBER,FIELD=NUMBER"
            ) from error
        whole = number.is_integer() and "." not in value
        options[field.strip().replace("-", "_")] = int(number) if whole else number
    return name, options


def _registry_of(env: "TaskDistribution") -> "Registry[type[Strategy]] | None":
    """Returns the strategies of the class of an environment, or else of its nearest base class that has some."""
    names = [vars(cls).get("name") for cls in type(env).__mro__]
    return next((_registries[name] for name in names if name in _registries), None)
