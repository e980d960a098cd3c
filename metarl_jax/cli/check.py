"""`metarl check`: checks a user's own class before training with it."""

from typing import Any

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.options import split_positional
from metarl_jax.console.text import reflow
from metarl_jax.core.declarations import instance
from metarl_jax.core.errors import UserError
from metarl_jax.core.user_code import find, is_reference

USAGE = """usage: metarl check FILE:CLASS [--env ENV] [--learner LEARNER]

Check a task distribution, a learner or an outer method of your own: every method is traced, and called on small
sizes. The first mistake is told with the class, the method, what it returned, what was expected and the remedy; the
exit code is then 2. Training checks classes too, before it makes a run folder.

  metarl check pendulum.py:Pendulum
  metarl check my_learner.py:MyLearner --env grid_navi
  metarl check my_outer.py:MyOuter --learner rl2

--env says for whose observations and actions learners and outer methods are made; point_robot when not given.
--learner says what an outer method updates; maml or rl2 when not given."""


def main(args: list[str]) -> int:
    """`metarl check FILE:CLASS …`."""
    if {"-h", "--help"} & set(args):
        print(reflow(USAGE))
        return 0
    reference, rest = split_positional(args, is_reference)
    if reference is None:
        raise UserError("metarl check needs FILE:CLASS, such as pendulum.py:Pendulum; see --help")
    options = _options(rest)
    start_backend()
    print(f"{reference}: {_check(find(reference), **options)}")
    return 0


def _options(args: list[str]) -> dict[str, str]:
    """Parses the values of `--env` and `--learner`."""
    options: dict[str, str] = {}
    words = [part for word in args for part in word.split("=", 1)]
    for flag, value in zip(words[::2], [*words[1::2], None], strict=False):
        if flag not in ("--env", "--learner"):
            raise UserError(f"unknown option {flag}; metarl check knows --env and --learner")
        if value is None:
            raise UserError(f"{flag} needs a value; see --help")
        options[flag.removeprefix("--")] = value
    return options


def _check(cls: Any, env: str | None = None, learner: str | None = None) -> str:
    """Checks a class with the defaults of its fields; returns the findings as text."""
    from metarl_jax import testing
    from metarl_jax.envs.base import TaskDistribution
    from metarl_jax.learners.base import LearnerConfig
    from metarl_jax.outer.base import OuterConfig

    if not isinstance(cls, type):
        raise UserError(
            f"{cls!r} is not a class: name a TaskDistribution, LearnerConfig or OuterConfig"
        )
    if issubclass(cls, TaskDistribution):
        tasks = instance(cls)
        testing.check_env(tasks)
        return f"fine: {tasks.episode_length} steps, {tasks.observation_size} observation entries, {tasks.action_space}"
    if issubclass(cls, LearnerConfig):
        testing.check_learner(instance(cls), env or testing.ENV)
        return f"fine on {env or testing.ENV}"
    if issubclass(cls, OuterConfig):
        testing.check_outer(instance(cls), learner, env or testing.ENV)
        return f"fine on {env or testing.ENV}"
    raise UserError(
        f"{cls.__name__} is not a subclass of TaskDistribution, LearnerConfig or OuterConfig: name a class that is"
    )
