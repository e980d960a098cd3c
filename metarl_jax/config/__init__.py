"""Configurations: frozen, complete, and changed with `dataclasses.replace`."""

from metarl_jax.config.checks import check_declared, validate
from metarl_jax.config.fields import (
    NOT_LEARNED,
    NOT_LEARNED_ALONE,
    REGISTRIES,
    CheckpointConfig,
    Config,
    EvaluationConfig,
    RuntimeConfig,
    Which,
    evaluated_learner,
)
from metarl_jax.config.files import (
    FORMAT,
    WRITTEN_BY,
    FormatError,
    changes,
    differing,
    flat,
    from_dict,
    missing,
    stamped,
    to_dict,
)

__all__ = [
    "FORMAT",
    "NOT_LEARNED",
    "NOT_LEARNED_ALONE",
    "REGISTRIES",
    "WRITTEN_BY",
    "CheckpointConfig",
    "Config",
    "EvaluationConfig",
    "FormatError",
    "RuntimeConfig",
    "Which",
    "changes",
    "check_declared",
    "differing",
    "evaluated_learner",
    "flat",
    "from_dict",
    "missing",
    "stamped",
    "to_dict",
    "validate",
]
