"""Budgets that end a run before its last meta-step: hours, and environment steps."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metarl_jax.config import Config
from metarl_jax.runs.progress import Progress
from metarl_jax.runs.timekeeping import total_seconds


class Budget(NamedTuple):
    """Limits of a whole run, over all processes that train it; None for no limit.

    Attributes:
      max_hours: of the processes, with compilation, evaluations and steps that were done again.
      num_env_steps: of training; in a sweep, of each member.
    """

    max_hours: float | None = None
    num_env_steps: int | None = None

    def spent(self, env_steps: int, seconds: float) -> str | None:
        """Names the limit that is reached; None if none is."""
        if self.num_env_steps is not None and env_steps >= self.num_env_steps:
            return f"num_env_steps={self.num_env_steps}"
        if self.max_hours is not None and seconds >= 3600 * self.max_hours:
            return f"max_hours={self.max_hours:g}"
        return None


def budget_of(config: Config) -> Budget:
    """Returns the budget of a configuration."""
    return Budget(config.max_hours, config.num_env_steps)


def with_budget(config: Config, budget: Budget | None) -> Config:
    """Returns the configuration with another budget; unchanged if that is None."""
    return config if budget is None else dataclasses.replace(config, **budget._asdict())


def spent(config: Config, progress: Sequence[Progress], seconds: float) -> str | None:
    """Names the limit that a run, or every member of a sweep, has reached after a chunk; None if none is."""
    return budget_of(config).spent(min(member.env_steps for member in progress), seconds)


def spent_in(path: Path, values: dict, env_steps: int) -> str | None:
    """Names the limit that the run in the folder `path` has reached, with this content of `config.json`."""
    budget = Budget(values.get("max_hours"), values.get("num_env_steps"))
    return budget.spent(env_steps, total_seconds(path))
