"""Initialises a run from the meta-parameters of another run: `Config.init_from`."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.types import Array, Key, PyTree, TrainState
from metarl_jax.envs.told_task import as_observed
from metarl_jax.program.build import Program
from metarl_jax.runs.checkpoint_structure import first_difference, structure
from metarl_jax.runs.executables import Executables
from metarl_jax.runs.pretrained import located
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.restore import Saved, open_run, reopen


def with_absolute_init_from(config: Config) -> Config:
    """Returns the configuration with an absolute `init_from`, which is valid from any working folder."""
    if config.init_from is None:
        return config
    return dataclasses.replace(
        config, init_from=str(located(config.init_from, "init_from").resolve())
    )


def check(
    program: Program, reporter: Reporter, swept: Mapping[str, Sequence[float]] | None = None
) -> None:
    """Checks that the run `init_from` can initialise this run, and describes it.

    Args:
      program: of the run, or of the first member of a sweep.
      swept: the values of each field that is swept, by dotted name.

    Raises:
      UserError: if there is no such run, if its parameters have other shapes, or if a swept field would only initialise
        parameters that are taken from it.
    """
    config = program.config
    if config.init_from is None:
        return
    theirs, source = _open(config, lambda _: None)
    _check_structure(config, theirs, source, jax.eval_shape(program.init, make_key(0)))
    best = f"its best checkpoint, step {source.step} (last: {source.last_step})"
    reporter.say(f"initialised from {config.init_from}: {best}")
    filled = config.learner.filled_parameters()
    for name, values in (swept or {}).items():
        field = name.removeprefix("learner.")
        if field == name or field in filled or len(values) < 2:
            continue
        if _initializes(config, field, values[-1], values[0]):
            raise UserError(
                f"swept field {name!r} initialises parameters that init_from={config.init_from!r} replaces, so that "
                "all members would be equal: sweep it without init_from"
            )
    for field, (before, now) in _changed_fields(theirs, config).items():
        if not _initializes(config, field, before, now):
            continue
        if field in filled:
            asked = (swept or {}).get(f"learner.{field}", now)
            reporter.say(f"except learner.{field}: starts at {asked!r} instead of {before!r}")
        else:
            reporter.warn(
                f"learner.{field}={now!r} has no effect: it initialises parameters that "
                f"init_from={config.init_from!r} replaces (trained with {before!r})"
            )


def first_state(
    config: Config, executables: Executables, warn: Callable[[str], None]
) -> TrainState:
    """Returns the state before the first meta-step, of a run, or `[M, ...]` of the members of a sweep. If `init_from`
    names a run, its meta-parameters and observation statistics are copied. Exceptions are
    `LearnerConfig.filled_parameters`, such as learned step sizes: they start at the value in this configuration if it
    differs from that run. The memory and the state of the outer method start empty.
    """
    state = executables.init()
    if config.init_from is None:
        return state
    theirs, source = _open(config, warn)
    _check_structure(config, theirs, source, executables.by_member(state)[0])
    # Every member of a sweep begins with the same.
    values = jax.tree.map(
        lambda x, mine: jax.device_put(np.broadcast_to(x, mine.shape), mine.sharding),
        _learned(source.state),
        _learned(state),
    )
    values["params"] = _filled_anew(config, theirs, state.meta.params, values["params"])
    return state.replace(meta=state.meta.replace(**values))


def _filled_anew(config: Config, theirs: Config, own: PyTree, learned: PyTree) -> PyTree:
    """Returns the learned parameters, with own `filled_parameters` where the source began with others."""
    patterns = config.learner.filled_parameters()
    before = {f: getattr(theirs.learner, f) for f in patterns if hasattr(theirs.learner, f)}
    expression = "|".join(patterns[field] for field in before)
    paths = [path for path in _by_path(learned) if before and re.search(expression, path)]
    if not paths:
        return learned

    def first(key: Key) -> list[Array]:
        parameters = _by_path(_first_parameters(config, key, **before))
        return [parameters[path] for path in paths]

    began = dict(zip(paths, jax.jit(first)(make_key(0)), strict=True))

    def leaf(path: Any, mine: Array, now: Array) -> Array:
        name = _name(path)
        if name not in began:
            return now
        differs = ~jnp.isclose(mine, began[name], rtol=1e-5)
        axes = tuple(range(mine.ndim - began[name].ndim, mine.ndim))
        chosen = jnp.where(differs.any(axis=axes, keepdims=True), mine, now)
        return jax.device_put(chosen, mine.sharding)

    return jax.tree_util.tree_map_with_path(leaf, own, learned)


def _by_path(parameters: PyTree) -> dict[str, Array]:
    """Arrays by their paths, as in `policy/params/log_std`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(parameters)
    return {_name(path): leaf for path, leaf in leaves}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _changed_fields(theirs: Config, config: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields that both learners have with different values; by name, theirs and ours."""
    names = [field.name for field in dataclasses.fields(config.learner)]
    pairs = {
        name: (getattr(theirs.learner, name), getattr(config.learner, name))
        for name in names
        if hasattr(theirs.learner, name)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _initializes(config: Config, field: str, before: Any, now: Any) -> bool:
    """Whether this field of the learner changes the initial values of parameters."""
    x, y = (
        jax.jit(partial(_first_parameters, config, **{field: value}))(make_key(config.seed))
        for value in (before, now)
    )
    if structure(x) != structure(y):
        return False
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return not all(np.allclose(a, b, rtol=1e-5) for a, b in pairs)


def _first_parameters(config: Config, key: Key, **fields: Any) -> PyTree:
    """Returns the initial meta-parameters of the learner with these values of its fields."""
    return dataclasses.replace(config.learner, **fields).make(as_observed(config.env)).init(key)


def _open(config: Config, warn: Callable[[str], None]) -> tuple[Config, Saved]:
    """Opens the run that `init_from` names: returns its configuration, and the run at its best checkpoint.

    Raises:
      UserError: if there is no such run, or no checkpoint.
    """
    # One device of each process.
    runtime = RuntimeConfig(platform=config.runtime.platform, num_devices=jax.process_count())
    try:
        folder, theirs = reopen(Path(str(config.init_from)), warn, runtime)
        return theirs, open_run(folder, theirs, warn)
    except UserError as error:
        raise UserError(f"init_from={config.init_from!r} cannot be used: {error}") from error


def _check_structure(config: Config, theirs: Config, source: Saved, like: TrainState) -> None:
    """Raises `UserError` if the learned parameters have other shapes than `like`."""
    differs = first_difference(structure(_learned(source.state)), structure(_learned(like)))
    if differs is None:
        return
    remedy = "give this run the learner of that one, and observations and actions of the same sizes"
    if theirs.normalize_observations != config.normalize_observations:
        remedy = f"set normalize_observations={theirs.normalize_observations}, as there"
    raise UserError(
        f"init_from={config.init_from!r} does not fit this run: {differs.name} is {differs.found} in it, and "
        f"{differs.wanted} here: {remedy}"
    )


def _learned(state: TrainState) -> dict[str, PyTree]:
    return {"params": state.meta.params, "normalizer": state.meta.normalizer}
