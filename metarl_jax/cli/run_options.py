"""The subject of `train`, `sweep` and `bench`: a preset, a learner in an environment, or a trained run."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro

from metarl_jax import envs, experiments, learners, outer
from metarl_jax.cli.options import last_value, parse
from metarl_jax.config import REGISTRIES, Config, validate
from metarl_jax.console.text import reflow
from metarl_jax.core.declarations import instance
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion
from metarl_jax.core.user_code import file_of, find, is_reference
from metarl_jax.core.validation import check_fields
from metarl_jax.defaults import default_config
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.runs.folder import open_existing

NAMING_FLAGS = ("--env", "--learner", "--outer", "--from")
"""Flags whose value may look like the subject of the command."""

SUBJECTS = "PRESET | LEARNER --env ENV | FILE.py:CONFIG | --from RUN_DIR"


@dataclasses.dataclass(frozen=True)
class RunOptions(Config):
    """The fields of a configuration as flags, and flags that choose parts of it by name."""

    name: tyro.conf.Suppress[str] = "custom"
    env_name: Annotated[str, tyro.conf.arg(name="env", metavar="ENV")] = ""
    """Task distribution: a name of `metarl list`, LIBRARY:ID for `--env LIBRARY --env.id ID` (gymnax:CartPole-v1),
    path/to/file.py:CLASS or package.module:CLASS."""
    learner_name: Annotated[str, tyro.conf.arg(name="learner", metavar="LEARNER")] = ""
    """Learner: a name of `metarl list`, path/to/file.py:CLASS or package.module:CLASS."""
    outer_name: Annotated[str, tyro.conf.arg(name="outer", metavar="METHOD")] = ""
    """Outer method: a name of `metarl list`, path/to/file.py:CLASS or package.module:CLASS."""
    from_run: Annotated[Path | None, tyro.conf.arg(name="from", metavar="RUN_DIR")] = None
    """Folder of a run whose configuration is the starting point; its parameters are not used (see `init-from`)."""

    def config(self, hint: str = "") -> Config:
        """Returns the configuration, checked.

        Args: hint: added to the message of an error.

        Raises:
          UserError: naming the field, the value and the remedy.
        """
        config = Config(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(Config)}
        )
        try:
            validate(config)
        except UserError as error:
            raise UserError(f"{error}{hint}") from error
        return config


Run = TypeVar("Run", bound=RunOptions)


class Subject(NamedTuple):
    """The subject of a command.

    Attributes:
      title: as the user wrote it.
      config: the configuration, with parts chosen by flags, before other flags.
      has_defaults: whether it consists of defaults, which depend on the options of the environment.
      hint: a simpler call, if flags replace the learner of a preset by one of another kind.
    """

    title: str
    config: Config
    has_defaults: bool
    hint: str = ""


def read_run(cls: type[Run], command: str, args: Sequence[str], what: str) -> tuple[Run, Config]:
    """Parses the options of a command about a run; the configuration in them is checked.

    Args:
      cls: the options.
      command: its name.
      args: its arguments.
      what: its help, in which `{prog}` stands for the call.

    Raises:
      UserError: naming the flag or field, the value and the remedy.
      SystemExit: after `--help`.
    """
    word, rest = split_subject(with_ids(args))
    if asks_for_help(word, rest):
        print(reflow(subject_help(command, what.format(prog=f"metarl {command} PRESET"))))
        raise SystemExit(0)
    subject = find_subject(command, word, rest)
    prog = f"metarl {command} {subject.title}"
    options = parse_run(cls, subject, rest, prog=prog, description=what.format(prog=prog))
    config = options.config(subject.hint)
    check_fields(options)
    return options, config


def with_ids(args: Sequence[str]) -> list[str]:
    """Returns the arguments with `--env LIBRARY:ID`, such as gymnax:CartPole-v1, as `--env LIBRARY --env.id ID`."""
    words: list[str] = []
    for before, word in itertools.pairwise(["", *args]):
        flag = "--env=" if word.startswith("--env=") else ""
        library, colon, name = word.removeprefix(flag).partition(":")
        if colon and (flag or before == "--env") and library in _libraries():
            words += [flag + library, "--env.id", name]
        else:
            words.append(word)
    return words


def _libraries() -> list[str]:
    """The environments of which a field says which of another library is meant."""
    return [name for name in envs.names() if envs.registry.entry(name).group == envs.LIBRARIES]


def split_subject(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits off the argument that names a preset, a learner or a configuration: the first argument, or any that names
    a preset.
    """
    words = list(args)
    for index, (before, word) in enumerate(itertools.pairwise(["", *words])):
        is_first = index == 0 and not word.startswith("-")
        if is_first or (before not in NAMING_FLAGS and word in experiments.names()):
            return word, words[:index] + words[index + 1 :]
    return None, words


def find_subject(command: str, word: str | None, args: Sequence[str]) -> Subject:
    """Finds the subject of a command.

    Args:
      command: for messages.
      word: a preset, a learner, or the configuration or learner of a file or module; or None.
      args: the other arguments, of which `--from`, `--learner`, `--env` and `--outer` are read.

    Raises:
      UserError: if nothing is named, or the name is unknown.
    """
    run = last_value(args, "--from")
    if run is not None:
        if word is not None:
            raise UserError(f"metarl {command} got both {word!r} and --from {run}: give only one")
        config = open_existing(Path(run))[1]
        return _with_parts(f"--from {run}", config, args)
    if word is None:
        word = last_value(args, "--learner")
        if word is None:
            raise UserError(f"metarl {command} needs {SUBJECTS}: `metarl list` shows all")
        return _default(command, word, args)
    found = experiments.get(word) if word in experiments.names() else None
    if found is None and is_reference(word):
        found = find(word)
        if isinstance(found, Config):
            name = _name_of_reference(word) if found.name == "custom" else found.name
            found = dataclasses.replace(found, name=name)
        elif not (isinstance(found, type) and issubclass(found, LearnerConfig)):
            raise UserError(f"{word!r} is neither a Config nor a LearnerConfig")
    if isinstance(found, Config):
        return _with_parts(word, found, args)
    if found is None and word not in learners.names():
        hint = suggestion(word, [*experiments.names(), *learners.names()])
        raise UserError(f"unknown preset or learner {word!r}{hint or '; `metarl list` shows all'}")
    again = last_value(args, "--learner")
    if again is not None and again != word:
        raise UserError(f"metarl {command} got both {word!r} and --learner {again}: give only one")
    return _default(command, word, args)


def _default(command: str, learner: str, args: Sequence[str]) -> Subject:
    """Returns a learner with the defaults for the environment that `--env` names."""
    cls = learners.get(learner)
    env = last_value(args, "--env")
    if env is None:
        raise UserError(
            f"metarl {command} {learner} needs --env: choose one of {', '.join(envs.names())}, or "
            "path/to/file.py:CLASS"
        )
    config = default_config(cls, env, last_value(args, "--outer") or "ppo")
    return Subject(f"{learner} --env {env}", config, True)


def _with_parts(title: str, config: Config, args: Sequence[str]) -> Subject:
    """Returns a configuration with the parts that flags name; replaced parts start from their own defaults."""
    before = config.learner
    for field, registry in REGISTRIES.items():
        name = last_value(args, f"--{field}")
        if name is not None and registry.get(name) is not type(getattr(config, field)):
            config = dataclasses.replace(config, **{field: instance(registry.get(name))})
    hint = ""
    if config.learner.needs_round_advantages != before.needs_round_advantages:
        learner, env = (
            REGISTRIES[field].reference(type(getattr(config, field)))
            for field in ("learner", "env")
        )
        hint = f"; `{learner} --env {env}` in the place of {title!r} has defaults that fit"
    return Subject(title, config, False, hint)


def _name_of_reference(reference: str) -> str:
    place, _, name = reference.rpartition(":")
    path = file_of(reference)
    return f"{place if path is None else path.stem}-{name}"


def parse_run(
    cls: type[Run], subject: Subject, args: Sequence[str], *, prog: str, description: str
) -> Run:
    """Applies the flags `args` to the subject of a command, and returns a `cls`.

    Raises:
      UserError: for an unknown part, flag or a bad value, with the nearest name.
      SystemExit: after `--help`.
    """
    config = subject.config
    options = _parse(cls, config, args, prog, description)
    if subject.has_defaults and options.env != config.env:
        defaults = default_config(type(config.learner), options.env, type(config.outer))
        options = _parse(cls, defaults, args, prog, description)
    return options


def _parse(cls: type[Run], config: Config, args: Sequence[str], prog: str, description: str) -> Run:
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    parts: dict[str, Any] = {
        f"{field}_name": registry.reference(type(getattr(config, field)))
        for field, registry in REGISTRIES.items()
    }
    return parse(cls, args, prog=prog, description=description, default=cls(**fields, **parts))


def subject_help(command: str, what: str) -> str:
    """Returns the help text for a call without a subject."""
    return (
        f"usage: metarl {command} {SUBJECTS} [OPTIONS]\n\n{what}\n\n"
        f"Learners: {', '.join(learners.names())}.\n\n"
        f"Environments: {', '.join(envs.names())}.\n\n"
        f"Outer methods: {', '.join(outer.names())}.\n\n"
        "Presets, and what all of these are: `metarl list`.\n\n"
        f"`metarl {command} PRESET --help` and `metarl {command} LEARNER --env ENV --help` show every option with "
        "its default."
    )


def asks_for_help(word: str | None, args: Sequence[str]) -> bool:
    """Whether `--help` is requested without a subject."""
    is_named = word is not None or any(last_value(args, flag) for flag in ("--from", "--learner"))
    is_learner = word in learners.names() and last_value(args, "--env") is None
    return bool({"-h", "--help"} & set(args)) and (not is_named or is_learner)


def folder_name(config: Config) -> str:
    """Returns a folder name for the name of a configuration."""
    return re.sub(r"[^\w.-]+", "-", config.name).strip("-.") or "run"
