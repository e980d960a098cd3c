"""One preset, learner, environment or outer method in full: `metarl list NAME`."""

import ast
import dataclasses
import inspect
import itertools
import sys
import textwrap
from types import ModuleType
from typing import Any

from metarl_jax import envs, experiments, learners, outer
from metarl_jax.config import Config, flat, to_dict
from metarl_jax.console.text import reflow
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Registry
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.user_code import find
from metarl_jax.defaults import default_config
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.outer.base import OuterConfig

KINDS: dict[type, Registry] = {
    TaskDistribution: envs.registry,
    LearnerConfig: learners.registry,
    OuterConfig: outer.registry,
    Config: experiments.registry,
}


def describe(registry: Registry | None, name: str) -> dict[str, Any]:
    """Describes a name: its kind, summary, description and fields, and what fits it.

    Args:
      registry: the registry of the name; None for a reference to a file or module.
      name: a name or a reference.

    Raises:
      UserError: for a reference to something of no known kind.
    """
    thing = find(name) if registry is None else registry.get(name)
    if isinstance(thing, Config):
        return _describe_preset(name, thing)
    kinds = [kind for kind in KINDS if isinstance(thing, type) and issubclass(thing, kind)]
    if not kinds:
        raise UserError(f"{name!r} is not an environment, learner, outer method or configuration")
    registry = KINDS[kinds[0]]
    thing = registry.get(name)
    found = {
        "name": name,
        "kind": registry.kind,
        "description": inspect.cleandoc(_class_docstring(thing)),
        "fields": [
            {
                "name": field.name,
                "default": _plain(field.default),
                "help": _field_docstring(thing, field.name),
            }
            for field in dataclasses.fields(thing)
        ],
    }
    if name in registry.names():
        entry = registry.entry(name)
        found |= {"summary": entry.summary, "fits": entry.fits}
    presets = [preset for preset in experiments.names() if _is_of(experiments.get(preset), thing)]
    return found | {"presets": presets} | _fitting(thing)


def _is_of(preset: Config, cls: type) -> bool:
    return cls in (type(preset.env), type(preset.learner), type(preset.outer))


def _fitting(cls: type) -> dict[str, Any]:
    """Returns, for an environment, the learners that fit it and the size of an episode; for a learner, its
    environments."""
    if issubclass(cls, LearnerConfig):
        return {"environments": [env for env in envs.names() if _fits(cls, envs.get(env))]}
    if not issubclass(cls, TaskDistribution):
        return {}
    env = cls()
    space = env.action_space
    is_discrete = isinstance(space, Discrete)
    return {
        "actions": f"{space.num_actions} discrete" if is_discrete else f"{space.size} continuous",
        "episode_length": env.episode_length,
        "splits": list(env.splits),
        "learners": [name for name in learners.names() if _fits(learners.get(name), cls)],
    }


def _fits(learner: type[LearnerConfig], env: type[TaskDistribution]) -> bool:
    try:
        learner().suited_to(env())
    except UserError:
        return False
    return True


def _describe_preset(name: str, config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "kind": "preset"}
    if name in experiments.names():
        entry = experiments.registry.entry(name)
        found["summary"] = entry.summary
        module_name, variable = entry.target.split(":")
        module = sys.modules[module_name]
        below = _docstring_below(_source(module), variable)
        texts = [below, ast.get_docstring(_source(module)) or ""]
        found["description"] = "\n\n".join(inspect.cleandoc(text) for text in texts if text)
    learner, env = (registry.reference(type(part)) for registry, part in _parts(config))
    found |= {"learner": learner, "environment": env}
    defaults = flat(to_dict(default_config(type(config.learner), config.env, type(config.outer))))
    values = flat(to_dict(config))
    found["changes"] = {
        field: {"value": value, "default": defaults[field]}
        for field, value in values.items()
        if value != defaults[field] and field != "name"
    }
    return found


def _parts(config: Config) -> list[tuple[Registry, Any]]:
    return [(learners.registry, config.learner), (envs.registry, config.env)]


def to_text(found: dict[str, Any]) -> str:
    """Formats the result of `describe` for a terminal."""
    parts = [f"{found['name']} ({found['kind']})"]
    if found.get("summary"):
        parts.append(found["summary"])
    if found.get("description"):
        parts.append(reflow(found["description"]))
    facts = {
        "learner": "learner",
        "environment": "environment",
        "actions": "actions",
        "episode_length": "steps of an episode",
        "splits": "splits",
        "learners": "learners",
        "environments": "environments",
        "presets": "presets",
    }
    lines = [
        f"{label}: {', '.join(value) if isinstance(value, list) else value}"
        for key, label in facts.items()
        if (value := found.get(key)) not in (None, [])
    ]
    parts.append("\n".join(reflow(line) for line in lines))
    if "fields" in found:
        flags = {"environment": "env", "learner": "learner", "outer method": "outer"}
        parts.append(_fields_to_text(found["fields"], flags[found["kind"]]))
    if "changes" in found:
        changes = [
            f"  --{field.replace('_', '-')} {_words(change['value'])}  (default {_words(change['default'])})"
            for field, change in found["changes"].items()
        ]
        about = f"`metarl train {found['learner']} --env {found['environment']}`"
        parts.append("\n".join([f"what differs from {about}:", *changes]))
    return "\n\n".join(part for part in parts if part)


def _fields_to_text(fields: list[dict[str, Any]], section: str) -> str:
    lines = ["fields:" if fields else "no fields"]
    for field in fields:
        flag = f"--{section}.{field['name'].replace('_', '-')}"
        lines.append(f"  {flag} (default {_words(field['default'])})")
        lines.append(textwrap.indent(reflow(field["help"], 90), "      "))
    return "\n".join(lines)


def _words(value: Any) -> str:
    """Formats a value as on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _class_docstring(cls: type) -> str:
    """Returns the docstring in the source of a class, or of its nearest base that has one. `__doc__` is empty under
    `python -OO`, and a signature if a dataclass has no docstring.
    """
    for base in inspect.getmro(cls):
        node = _class_node(base)
        if node is not None and ast.get_docstring(node):
            return ast.get_docstring(node) or ""
    return ""


def _field_docstring(cls: type, field: str) -> str:
    """Returns the string below a field, in the class or in the base that defines it."""
    for base in inspect.getmro(cls):
        node = _class_node(base)
        text = "" if node is None else _docstring_below(node, field)
        if text:
            return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    return ""


def _docstring_below(node: ast.Module | ast.ClassDef, variable: str) -> str:
    """Returns the string below the assignment of a variable; empty if there is none."""
    for assignment, below in itertools.pairwise(node.body):
        targets = {ast.AnnAssign: "target", ast.Assign: "targets"}.get(type(assignment))
        if targets is None or not isinstance(below, ast.Expr):
            continue
        target = getattr(assignment, targets)
        name = ast.unparse(target[0] if isinstance(target, list) else target)
        if name == variable and isinstance(below.value, ast.Constant):
            return str(below.value.value)
    return ""


def _class_node(cls: type) -> ast.ClassDef | None:
    body = _source(cls).body
    return body[0] if body and isinstance(body[0], ast.ClassDef) else None


def _source(thing: ModuleType | type) -> ast.Module:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError):  # an empty file, a class from a prompt, or one of Python's own
        return ast.Module([], [])
