"""The model card of a run: `README.md` in its folder, with what was trained, how, and what it reaches."""

import hashlib
import platform
import shlex
from collections.abc import Callable
from typing import Any

from metarl_jax.config import REGISTRIES, Config, flat, to_dict
from metarl_jax.console.evaluation_tables import (
    curve_table,
    gained,
    metrics_table,
    moved,
    shown_rounds,
)
from metarl_jax.console.markup import as_markdown
from metarl_jax.core import machine
from metarl_jax.core.errors import UserError
from metarl_jax.core.version import __version__
from metarl_jax.core.writing import write_text
from metarl_jax.defaults import default_config
from metarl_jax.runs.folder import RunFolder

MARK = "<!-- Written by metarl_jax; a card without this line, or changed above it, is not replaced. sha256: "


def write_card(
    folder: RunFolder, config: Config, evaluation: dict[str, Any], warn: Callable[[str], None]
) -> None:
    """Writes `README.md`. If a user has edited it, the card goes into `README.new.md`, which is reported.

    Args:
      folder: of the run.
      config: its configuration.
      evaluation: the content of `eval.json`.
      warn: receives the report.
    """
    path = folder.path / "README.md"
    if path.exists() and not _is_ours(path.read_text(errors="replace")):
        path = folder.path / "README.new.md"
        warn(f"README.md was edited and is kept; the new card is {path}")
    text = card(folder, config, evaluation)
    write_text(path, f"{text}\n{MARK}{_digest(text)} -->\n")


def card(folder: RunFolder, config: Config, evaluation: dict[str, Any]) -> str:
    """Returns the card as Markdown."""
    means = evaluation["return_mean"]
    shown = [k for k in shown_rounds(len(means)) if means[k] is not None] or [0]
    tables = [curve_table(evaluation, shown), metrics_table(evaluation, shown)]
    results = "\n\n".join(
        f"{table.title}\n\n{as_markdown(table)}" for table in tables if table is not None
    )
    summary = " ".join(filter(None, (gained(evaluation), moved(evaluation["parameters"]))))
    parts = [REGISTRIES[field].reference(type(getattr(config, field))) for field in REGISTRIES]
    env, learner, outer = (f"`{name}`" for name in parts)
    env_steps = (folder.last_metrics() or {}).get("env_steps")
    amount = f"{evaluation['last_step']} meta-steps"
    amount += "" if env_steps is None else f", {env_steps:,} env-steps"
    starts = folder.starts()
    trained_on = machine.describe(starts[-1]) if starts else "an unknown machine"
    jax_version = starts[-1]["jax"] if starts else "unknown"
    return f"""# {config.name}

Learner {learner} in {env}, meta-trained with {outer} for {amount}; seed {config.seed}.
{summary}

{results}

The same training again, and uses of this folder, `RUN_DIR`:

```
{command(config)}
metarl eval RUN_DIR
metarl export RUN_DIR --out policy.zip
```

In Python: `metarl_jax.load(RUN_DIR).policy`.

| | |
|---|---|
| metarl_jax | {__version__} |
| jax | {jax_version} |
| Python | {platform.python_version()} |
| machine | {trained_on} |
"""


def command(config: Config) -> str:
    """Returns the call of `metarl train` that trains this configuration, but for its name. Where flags cannot say
    everything, as for a class whose fields have no defaults, the call names the run folder.
    """
    try:
        return _with_flags(config)
    except (TypeError, UserError):
        return "metarl train --from RUN_DIR"


def _with_flags(config: Config) -> str:
    fields = [REGISTRIES[name].reference(type(getattr(config, name))) for name in REGISTRIES]
    env, learner, outer = map(shlex.quote, fields)
    defaults = default_config(type(config.learner), config.env, type(config.outer))
    known = flat(to_dict(defaults))
    # The defaults depend on the fields of the environment, which are compared with those of its class.
    known |= {f"env.{name}": value for name, value in to_dict(type(config.env)()).items()}
    words = ["metarl train", learner, "--env", env]
    words += [] if outer == "ppo" else ["--outer", outer]
    for name, value in flat(to_dict(config)).items():
        if name != "name" and (name not in known or value != known[name]):
            words += _flag(name.replace("_", "-"), value)
    return " ".join(words)


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        section, _, field = name.rpartition(".")
        return [f"--{name}" if value else f"--{section}{'.' if section else ''}no-{field}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{name}", *(shlex.quote(str(x)) for x in values)]


def _is_ours(text: str) -> bool:
    """Whether a card is as it was written."""
    above, _, rest = text.rpartition(f"\n{MARK}")
    return rest.strip().removesuffix(" -->") == _digest(above)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
