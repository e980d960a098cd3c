"""Checks of classes that are not the library's own, before anything is compiled with them."""

from metarl_jax.config import Config
from metarl_jax.core.declarations import is_foreign
from metarl_jax.program.checks.environment import check_env

__all__ = ["check_env", "check_foreign"]

_passed: set[tuple[type, str]] = set()
"""Classes that have passed in this process, with their fields as text."""


def check_foreign(config: Config) -> None:
    """Checks the parts of a configuration whose classes are not the library's own, each once in a process.

    Must be called outside of a trace: it computes.

    Raises:
      UserError: for the first mistake, naming class, method, what it returned, what was expected and the remedy.
    """
    env = config.env
    if is_foreign(env) and (type(env), repr(env)) not in _passed:
        check_env(env)
        _passed.add((type(env), repr(env)))
