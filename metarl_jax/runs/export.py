"""Writes a trained learner to one file that needs no metarl_jax: `metarl export`."""

import importlib.util
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import KEY_IMPL, fixed_settings
from metarl_jax.core.paths import local_path
from metarl_jax.core.spaces import Discrete, is_space
from metarl_jax.core.target import ANY
from metarl_jax.core.types import TrainState
from metarl_jax.core.version import __version__
from metarl_jax.core.writing import replacing
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.optional import has_action_mask
from metarl_jax.program.build import Program, build
from metarl_jax.program.policy import Policy
from metarl_jax.runs.restore import LoadedRun

FORMAT = 1
"""Value of `format` in `policy.json`."""

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms for which every function is compiled when the file is loaded there."""

Dimension = Any
"""A size: an integer, or a symbolic dimension of `jax.export`."""


class Sizes(NamedTuple):
    """Sizes of the axes of the exported functions.

    Attributes:
      batch: B, tasks side by side, each with its own carry.
      num_steps: T, steps of an episode, in `adapt`.
      num_episodes: E, episodes of a round, in `adapt`.
    """

    batch: Dimension
    num_steps: Dimension
    num_episodes: Dimension


class Exported(NamedTuple):
    """The content of the file.

    Attributes:
      functions: serialised functions by name: `init`, `act` and, for a learner that adapts between rounds, `adapt`.
      description: the content of `policy.json`.
      fixed_because: why sizes are fixed; None if the functions take any.
    """

    functions: dict[str, bytes]
    description: dict[str, Any]
    fixed_because: str | None


def check_installed() -> None:
    """Raises `UserError` if the package is missing with which `jax.export` writes and reads its files."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError(
            "exporting needs the package flatbuffers, which is not installed: pip install flatbuffers, or "
            "pip install 'metarl_jax[export]'"
        )


def check_new(path: Path, *, overwrite: bool) -> None:
    """Raises `UserError` if a file is in the way."""
    if path.exists() and not overwrite:
        raise UserError(
            f"out={str(path)!r} already exists: choose another name, or replace it with --overwrite"
        )


def write_policy(exported: Exported, path: Path) -> None:
    """Writes the file: a zip of `policy.json` and a `NAME.jaxexport` for each function.

    Raises:
      WriteError: if it cannot be written; `path` then holds what it held before.
    """
    with (
        replacing(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.writestr("policy.json", json.dumps(exported.description, indent=2) + "\n")
        for name, content in exported.functions.items():
            archive.writestr(f"{name}.jaxexport", content)


def export_run(
    run: LoadedRun, path: Path | str, *, batch: int | None = None, overwrite: bool = False
) -> Path:
    """Writes a trained run to one file, as `metarl export` does; returns its path.

    Args:
      run: from `metarl_jax.load`.
      path: of the file, which ends in `.zip` by custom.
      batch: a fixed number of tasks side by side; any when not given.
      overwrite: replace the file if it exists.

    Raises:
      UserError: if flatbuffers is not installed, or the file exists.
      WriteError: if it cannot be written.
    """
    path = local_path(path, "path")
    check_new(path, overwrite=overwrite)
    write_policy(export_policy(run.program, run.state, batch), path)
    return path


def export_policy(program: Program, state: TrainState, batch: int | None = None) -> Exported:
    """Exports the functions of `Policy`, each for a batch of independent tasks.

    The weights are constants of the functions. Sizes are symbolic, so that callers may use any, as far as JAX can
    lower the learner so; otherwise they are those of `config`, and `fixed_because` is the reason.

    Args:
      program: of the run.
      state: at one of its checkpoints.
      batch: a fixed number of tasks; any when not given.

    Raises:
      UserError: if flatbuffers is not installed.
    """
    check_installed()
    policy = build(program.config, ANY).policy(state.replace(meta=jax.device_get(state.meta)))
    *tried, last = _sizes(program.config, batch)
    reason = None
    with fixed_settings():
        for sizes in tried:
            try:
                return Exported(*_export(program, policy, sizes), reason)
            except Exception as error:  # Whatever an operation makes of a symbolic size.
                reason = (str(error) or type(error).__name__).splitlines()[0]
        return Exported(*_export(program, policy, last), reason)


def _sizes(config: Config, batch: int | None) -> list[Sizes]:
    """Returns the sizes to try, the most general first: all symbolic, the batch alone, and none."""
    symbolic = Sizes(*jax.export.symbolic_shape("B, T, E"))
    fixed = Sizes(batch or 1, config.env.episode_length, config.num_episodes)
    if batch is not None:
        return [symbolic._replace(batch=batch), fixed]
    return [symbolic, fixed._replace(batch=symbolic.batch), fixed]


def _export(
    program: Program, policy: Policy, sizes: Sizes
) -> tuple[dict[str, bytes], dict[str, Any]]:
    return _functions(program, policy, sizes), _describe(program, policy, sizes)


def _functions(program: Program, policy: Policy, sizes: Sizes) -> dict[str, bytes]:
    """Returns the serialised functions for these sizes."""
    env = program.env
    carry = _with_leading(jax.eval_shape(policy.init), sizes.batch)
    calls: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {
        "init": (policy.init, ()),
        "act": (jax.vmap(_act(env, policy)), (carry, _act_inputs(program, sizes))),
    }
    if policy.adapt is not None:
        calls["adapt"] = (jax.vmap(_adapt(env, policy)), (carry, _adapt_inputs(env, sizes)))
    return {
        name: bytes(jax.export.export(jax.jit(call), platforms=PLATFORMS)(*inputs).serialize())
        for name, (call, inputs) in calls.items()
    }


def _act(env: TaskDistribution, policy: Policy) -> Callable[..., Any]:
    """Returns `act` of a policy as a function of the carry and a dictionary."""

    def act(carry: tuple, inputs: dict[str, Any]) -> Any:
        seen = (_from_names(env, inputs["observation"]), inputs["reward"], inputs["is_first"])
        others: dict[str, Any] = {"action_mask": inputs.get("action_mask")}
        if "outcome" in inputs:
            others["outcome"] = _from_names(env, inputs["outcome"])
        key = jax.random.wrap_key_data(inputs["key"], impl=KEY_IMPL)
        mode = policy.act(carry, *seen, **others)
        sample = policy.act(carry, *seen, key, **others)
        return jax.tree.map(lambda x, y: jnp.where(inputs["deterministic"], x, y), mode, sample)

    return act


def _adapt(env: TaskDistribution, policy: Policy) -> Callable[..., Any]:
    """Returns `adapt` of a policy as a function of the carry and a dictionary."""

    def adapt(carry: tuple, inputs: dict[str, Any]) -> Any:
        assert policy.adapt is not None  # or it is not exported
        observations = _from_names(env, inputs["observation"])
        rest = (inputs[name] for name in ("action", "reward", "valid"))
        return policy.adapt(carry, observations, *rest)

    return adapt


def _act_inputs(program: Program, sizes: Sizes) -> dict[str, Any]:
    """Returns the shapes and types of the inputs of `act`, by name, each with the leading axis `[B]`."""
    env, batch = program.env, sizes.batch
    inputs = {
        "observation": _observations(env, batch),
        "reward": _shape((batch,), "float32"),
        "is_first": _shape((batch,), "bool"),
        "key": _shape((batch, 2), "uint32"),
        "deterministic": _shape((batch,), "bool"),
    }
    if has_action_mask(env) and isinstance(env.action_space, Discrete):
        inputs["action_mask"] = _shape((batch, env.action_space.num_actions), "bool")
    if program.learner.reads_outcome:
        inputs["outcome"] = _observations(env, batch)
    return inputs


def _adapt_inputs(env: TaskDistribution, sizes: Sizes) -> dict[str, Any]:
    """Returns the shapes and types of the inputs of `adapt`, by name, each with the leading axes `[B, T, E]`."""
    space = env.action_space
    is_discrete = isinstance(space, Discrete)
    return {
        "observation": _observations(env, *sizes),
        "action": _shape(sizes, "int32")
        if is_discrete
        else _shape((*sizes, space.size), "float32"),
        "reward": _shape(sizes, "float32"),
        "valid": _shape(sizes, "bool"),
    }


def names_of(env: TaskDistribution) -> list[str]:
    """Returns the names of the arrays of an observation; none if it is one array."""
    paths, _ = jax.tree_util.tree_flatten_with_path(env.observation_space, is_leaf=is_space)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths if path]


def to_names(env: TaskDistribution, observation: Any) -> Any:
    """Converts an observation, with any leading axes, to what exported functions take: one array, or a dictionary of
    arrays by name."""
    names, leaves = names_of(env), jax.tree.leaves(observation)
    return dict(zip(names, leaves, strict=True)) if names else leaves[0]


def _from_names(env: TaskDistribution, named: Any) -> Any:
    """Restores an observation; the inverse of `to_names`."""
    names = names_of(env)
    structure = jax.tree.structure(env.observation_space, is_leaf=is_space)
    return jax.tree.unflatten(structure, [named[name] for name in names] if names else [named])


def _observations(env: TaskDistribution, *leading: Dimension) -> Any:
    shapes = jax.tree.map(
        lambda leaf: _shape((*leading, *leaf.shape), leaf.dtype),
        env.observation_space,
        is_leaf=is_space,
    )
    return to_names(env, shapes)


def _with_leading(shapes: Any, batch: Dimension) -> Any:
    return jax.tree.map(lambda x: _shape((batch, *x.shape), x.dtype), shapes)


def _shape(shape: Sequence[Dimension], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def _describe(program: Program, policy: Policy, sizes: Sizes) -> dict[str, Any]:
    """Returns the content of `policy.json`: names, shapes, types, spaces and versions."""
    config, env = program.config, program.env
    space = env.action_space
    carry = policy.read(jax.eval_shape(policy.init))
    inputs = {"act": _act_inputs(program, sizes)}
    if policy.adapt is not None:
        inputs["adapt"] = _adapt_inputs(env, sizes)
    return {
        "format": FORMAT,
        "name": config.name,
        "env": env.name,
        "learner": config.learner.name,
        "action_space": {"kind": type(space).__name__} | vars(space),
        "episode_length": env.episode_length,
        "num_rounds": config.num_rounds,
        "num_episodes": config.num_episodes,
        "batch": str(sizes.batch),
        "carry": [{"name": name} | _plain(x) for name, x in carry.items()],
        "inputs": jax.tree.map(_plain, inputs),
        "metarl_jax": __version__,
        "jax": jax.__version__,
    }


def _plain(x: Any) -> dict[str, Any]:
    sizes = [size if isinstance(size, int) else str(size) for size in x.shape]
    return {"shape": sizes, "dtype": x.dtype.name}
