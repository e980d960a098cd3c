"""Checks of classes that are not the library's own, before anything is compiled with them."""

from collections.abc import Callable

from metarl_jax.config import Config, validate
from metarl_jax.core.declarations import is_foreign
from metarl_jax.envs.told_task import as_observed
from metarl_jax.program.checks.environment import check_env
from metarl_jax.program.checks.learner import check_learner
from metarl_jax.program.checks.outer import check_outer, check_outer_declared

__all__ = ["check_env", "check_foreign", "check_learner", "check_outer", "check_outer_declared"]

_passed: set[tuple[tuple[type, str], ...]] = set()
"""Classes that have passed in this process, with their fields as text and those that they were checked with."""


def check_foreign(config: Config) -> None:
    """Checks the parts of a configuration whose classes are not the library's own, each once in a process.

    Must be called outside of a trace: it computes.

    Raises:
      UserError: for the first mistake, naming class, method, what it returned, what was expected and the remedy.
    """
    validate(config)
    env, learner, outer = config.env, config.learner, config.outer
    _once(lambda: check_env(env), env)
    _once(lambda: check_learner(learner, as_observed(env)), learner, env)
    # Step sizes with which an update diverges are no mistake in the class: training tells of them, and sweeps go on.
    _once(lambda: check_outer(config, run=False), outer, learner, env)


def _once(check: Callable[[], None], part: object, *others: object) -> None:
    """Runs the check of `part`, given the other parts, if its class is not the library's own and has not passed yet."""
    key = tuple((type(x), repr(x)) for x in (part, *others))
    if is_foreign(part) and key not in _passed:
        check()
        _passed.add(key)
