"""Checks of the contract of a task distribution: its properties, and the states that `reset` and `step` return."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.describe import describe
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Box, Discrete, Integers, flat_size, is_space, space_leaves
from metarl_jax.envs.base import SPLITS, EnvState, TaskDistribution


def check_properties(env: TaskDistribution) -> None:
    """Checks sizes, action space and splits of a task distribution. Nothing is computed.

    Raises:
      UserError: naming the class, the property, its value and the remedy.
    """
    name = type(env).__name__
    length = _read(env, "episode_length")
    if not _is_integer(length) or length < 1:
        raise UserError(
            f"{name}.episode_length is {describe(length)}, expected an int of 1 or more, the steps of an episode"
        )
    _check_observations(env)
    space = _read(env, "action_space")
    if not isinstance(space, Discrete | Box):
        raise UserError(
            f"{name}.action_space is {describe(space)}, expected an instance of Discrete or Box: return "
            "Discrete(num_actions) for actions 0, 1, …, or Box(size, low, high) for float actions"
        )
    entries = space.num_actions if isinstance(space, Discrete) else space.size
    if not _is_integer(entries):
        raise UserError(
            f"{name}.action_space is {space}, whose size is {describe(entries)}, expected an int"
        )
    splits = env.splits
    wanted = "expected a tuple of 'train', 'test' and, where there is one, 'ood'"
    if not isinstance(splits, tuple) or not {"train", "test"} <= set(splits) <= set(SPLITS):
        raise UserError(f"{name}.splits is {splits!r}, {wanted}")
    if not _is_integer(env.num_skills) or env.num_skills < 0:
        raise UserError(
            f"{name}.num_skills is {describe(env.num_skills)}, expected an int, the kinds of behaviour that tasks ask "
            "for"
        )


def _check_observations(env: TaskDistribution) -> None:
    """Checks `observation_size` and `observation_space`, as far as the class defines them."""
    name = type(env).__name__
    size = None
    if _has_own(env, "observation_size"):
        size = _read(env, "observation_size")
        if not _is_integer(size) or size < 0:
            raise UserError(
                f"{name}.observation_size is {describe(size)}, expected an int, the entries of an observation"
            )
    if not _has_own(env, "observation_space"):
        return
    space = _read(env, "observation_space")
    leaves = jax.tree.leaves(space, is_leaf=is_space)
    wrong = [leaf for leaf in leaves if not is_space(leaf)]
    if wrong or not leaves:
        found = f"has {describe(wrong[0])} in it" if wrong else f"is {space}"
        raise UserError(
            f"{name}.observation_space {found}, expected a pytree of Array(shape) and Integers(shape, num_values)"
        )
    for leaf in leaves:
        if not (isinstance(leaf.shape, tuple) and all(map(_is_integer, leaf.shape))):
            raise UserError(
                f"{name}.observation_space has {leaf} in it, whose shape is {describe(leaf.shape)}, expected a tuple "
                "of ints, such as (3,), or () for one number"
            )
        if isinstance(leaf, Integers) and not _is_integer(leaf.num_values):
            raise UserError(
                f"{name}.observation_space has {leaf} in it, whose num_values is {describe(leaf.num_values)}, expected "
                "an int"
            )
    if size is not None and size != flat_size(space):
        raise UserError(
            f"{name}.observation_size is {size}, but observations of {name}.observation_space have "
            f"{flat_size(space)} entries (integers count one-hot): leave observation_size out"
        )


def _has_own(env: TaskDistribution, name: str) -> bool:
    """Whether the class overrides a property that has a default."""
    return getattr(type(env), name) is not getattr(TaskDistribution, name)


def _read(env: TaskDistribution, name: str) -> Any:
    """Reads a property."""
    cls = type(env)
    if getattr(cls, name) is getattr(TaskDistribution, name):
        raise UserError(f"{cls.__name__} must define {name}: add @property and def {name}(self)")
    try:
        value = getattr(env, name)
    except Exception as error:
        raise UserError(f"{cls.__name__}.{name} raised {type(error).__name__}: {error}") from error
    if callable(value) and not isinstance(value, type):
        raise UserError(
            f"{cls.__name__}.{name} is a method, expected a property: write @property above it"
        )
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def canonical(env: TaskDistribution, state: Any, method: str) -> EnvState:
    """Converts the state that `reset` or `step` returned to float32 numbers, a bool `done`, and strong types.

    Python numbers, NumPy values and weakly typed arrays, such as `jnp.where(fell, -1.0, 0.0)`, are converted. Arrays of
    an explicit other dtype are refused: a reward in int32 is more likely a mistake.

    Args:
      env: the environment, for one episode.
      state: the returned state.
      method: `reset` or `step`, for messages.

    Raises:
      UserError: naming the class, the method, what it returned and what was expected.
    """
    where = f"{type(env).__name__}.{method}"
    expected = "an EnvState(observation, reward, done, simulator)"
    if not isinstance(state, EnvState):
        raise UserError(f"{where} returned {describe(state)}, expected {expected}")
    return state.replace(
        observation=_observation(env, where, state.observation),
        metrics=jax.tree_util.tree_map_with_path(partial(_metric, where), state.metrics),
        reward=scalar(f"{where} returned a reward that", state.reward),
        done=_flag(where, state.done),
        simulator=arrays(f"{where} returned a simulator in which", state.simulator),
    )


def canonical_mask(env: TaskDistribution, mask: Any) -> jax.Array | None:
    """Checks and returns the result of `action_mask`: bool `[A]`, or None.

    Raises:
      UserError: naming the class, the method, what it returned and what was expected.
    """
    if mask is None:
        return None
    name, space = type(env).__name__, env.action_space
    where = f"{name}.action_mask"
    if not isinstance(space, Discrete):
        raise UserError(
            f"{where} returned {describe(mask)}, but {name}.action_space is {space}: masks need Discrete actions, so "
            "leave action_mask out"
        )
    array = _array(f"{where} returned a mask that", mask)
    if array.dtype != bool or array.shape != (space.num_actions,):
        raise UserError(
            f"{where} returned {describe(mask)}, expected a bool array of shape ({space.num_actions},), True where an "
            "action may be taken"
        )
    return array


def _observation(env: TaskDistribution, where: str, value: Any) -> Any:
    """Checks the observation leaf by leaf against the observation space."""
    try:
        space = env.observation_space
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    structure = jax.tree.structure(space, is_leaf=is_space)
    if jax.tree.structure(value) != structure:
        raise UserError(
            f"{where} returned an observation that is {_entries(value)}, expected {_entries(space)}, "
            f"{_reason(env, space)}"
        )
    read = []
    leaves = jax.tree_util.tree_leaves_with_path(value)
    for leaf_space, (path, leaf) in zip(space_leaves(space), leaves, strict=True):
        what = f"{where} returned an observation{jax.tree_util.keystr(path)}"
        if isinstance(leaf_space, Integers):
            array = _integers(f"{what} that", leaf, leaf_space)
        else:
            array = numbers(f"{what} that", leaf)
        if array.shape != leaf_space.shape:
            raise UserError(
                f"{what} of shape {array.shape}, expected {leaf_space.shape}, {_reason(env, space)}"
            )
        read.append(array)
    return jax.tree.unflatten(structure, read)


def _entries(tree: Any) -> str:
    """Returns the leaves of an observation or of a space, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_space)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if names == [""]:
        return "one array"
    return f"a {type(tree).__name__} of {', '.join(names) or 'nothing'}"


def _reason(env: TaskDistribution, space: Any) -> str:
    """Says, for a message, where the expected observation space comes from."""
    if _has_own(env, "observation_space"):
        return f"as observation_space is {space}"
    if _has_own(env, "observation_size"):
        return (
            f"as observation_size is {env.observation_size}: correct it, or leave it out, and observations are such "
            "as reset returns them"
        )
    return "as reset returned it"


def _integers(subject: str, value: Any, space: Integers) -> jax.Array:
    array = _array(subject, value)
    if not (jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_):
        raise UserError(
            f"{subject} is {describe(value)}, expected integers below {space.num_values}: observation_space says "
            f"{space}"
        )
    return _strong(array.astype(space.dtype))


def numbers(subject: str, value: Any) -> jax.Array:
    """Converts a value that is float32 or has no explicit dtype to a float32 array; otherwise raises an error whose
    message begins with `subject`."""
    array = _array(subject, value)
    is_number = jnp.issubdtype(array.dtype, jnp.number)
    if not (array.dtype == jnp.float32 or (is_number and _is_loose(value))):
        raise UserError(
            f"{subject} is {describe(value)}, expected float32: write x.astype(jnp.float32)"
        )
    return _strong(array.astype(jnp.float32))


def scalar(subject: str, value: Any) -> jax.Array:
    """Converts a value to a float32 number `[]`, as `numbers` does."""
    array = numbers(subject, value)
    _require_scalar(subject, value, array)
    return array


def _metric(where: str, path: Any, value: Any) -> jax.Array:
    """Converts a metric of the environment to float32 `[]`; booleans and integers are accepted."""
    subject = f"{where} returned metrics{jax.tree_util.keystr(path)} that"
    array = _array(subject, value)
    _require_scalar(subject, value, array)
    return _strong(array.astype(jnp.float32))


def _require_scalar(subject: str, value: Any, array: jax.Array) -> None:
    if array.shape:
        remedy = "take the sum or one of its entries"
        if array.size == 1:
            remedy = f"take its entry, x[{', '.join('0' * array.ndim)}]"
        raise UserError(f"{subject} is {describe(value)}, expected shape (): {remedy}")


def _flag(where: str, value: Any) -> jax.Array:
    """Checks and returns `done`, bool `[]`."""
    array = _array(f"{where} returned a done that", value)
    if array.dtype != bool or array.shape:
        remedy = "take one entry, or jnp.all" if array.dtype == bool else "write a comparison"
        raise UserError(
            f"{where} returned a done that is {describe(value)}, expected a bool of shape (): {remedy}"
        )
    return array


def arrays(subject: str, tree: Any) -> Any:
    """Converts the leaves of a pytree to arrays of strong types; if one cannot be, the message of the error begins with
    `subject`."""

    def convert(path, leaf):
        name = jax.tree_util.keystr(path)
        return _strong(_array(f"{subject} {name or 'the whole'}", leaf))

    return jax.tree_util.tree_map_with_path(convert, tree)


def _array(subject: str, value: Any) -> jax.Array:
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float)
    if not is_array or (
        isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "biuf"
    ):
        remedy = ""
        if not isinstance(value, str | type(None)):
            remedy = ": make it a tuple, a dict, or a flax.struct.PyTreeNode of arrays"
        raise UserError(f"{subject} is {describe(value)}, expected an array{remedy}")
    return jnp.asarray(value)


def _is_loose(value: Any) -> bool:
    """Whether the dtype of a number was not chosen explicitly: a Python number, NumPy's default dtype, or a weak
    type."""
    return not isinstance(value, jax.Array) or value.aval.weak_type  # pyright: ignore


def _strong(array: jax.Array) -> jax.Array:
    """Removes weak types; the carry of a scan must keep its types."""
    return jax.lax.convert_element_type(array, array.dtype)
