"""Runs that begin with what another run has learned: `Config.init_from`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from metarl_jax.checkpoint import first_difference, structure
from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.executables import Executables
from metarl_jax.jax_settings import make_key
from metarl_jax.paths import located as located_path
from metarl_jax.program import Program
from metarl_jax.run_folder import open_existing
from metarl_jax.saved import open_run
from metarl_jax.types import PyTree, TrainState


def located(config: Config) -> Config:
    """The configuration with an absolute `init_from`, which holds wherever the run is resumed."""
    if config.init_from is None:
        return config
    return dataclasses.replace(
        config, init_from=str(located_path(config.init_from, "init_from").resolve())
    )


def check(program: Program) -> None:
    """Checks that the run can begin with what the run named by `init_from` has learned.

    Raises:
      ValueError: if there is no such run, or if its parameters are of other shapes.
    """
    if program.config.init_from is not None:
        _read(program.config, jax.eval_shape(program.init, make_key(0)), lambda _: None)


def first_state(
    config: Config, executables: Executables, warn: Callable[[str], None]
) -> TrainState:
    """The state before the first meta-step, of a run, or `[M, ...]` of the members of a sweep.

    Where `init_from` names a run, its meta-parameters and the statistics of its observations are taken over. What is
    kept beyond a trial and the state of the outer method begin anew.
    """
    state = executables.init()
    if config.init_from is None:
        return state
    # Every member of a sweep begins with the same.
    values = jax.tree.map(
        lambda x, mine: jax.device_put(jnp.broadcast_to(x, mine.shape), mine.sharding),
        _read(config, executables.by_member(state)[0], warn),
        _learned(state),
    )
    return state.replace(**values)


def _read(config: Config, like: TrainState, warn: Callable[[str], None]) -> dict[str, PyTree]:
    """Fields of the best state of the run that `init_from` names, with the shapes that they have in `like`.

    Raises:
      ValueError: as in `check`.
    """
    runtime = RuntimeConfig(platform=config.runtime.platform, num_devices=1)
    try:
        folder, theirs = open_existing(Path(str(config.init_from)))
        source = open_run(folder, dataclasses.replace(theirs, runtime=runtime), warn)
    except ValueError as error:
        raise ValueError(f"init_from={config.init_from!r} cannot be begun from: {error}") from error
    differs = first_difference(structure(_learned(source.state)), structure(_learned(like)))
    if differs is not None:
        remedy = (
            "give this run the learner of that one, and observations and actions of the same sizes"
        )
        if theirs.normalize_observations != config.normalize_observations:
            remedy = f"set normalize_observations={theirs.normalize_observations}, as there"
        raise ValueError(
            f"init_from={config.init_from!r} has learned something else: {differs.name} is {differs.found} in it, and "
            f"{differs.wanted} here: {remedy}"
        )
    return _learned(source.state)


def _learned(state: TrainState) -> dict[str, PyTree]:
    return {"meta_params": state.meta_params, "normalizer": state.normalizer}
