"""The structure of a saved state: type and shape of every array, and a checksum of their bytes."""

import hashlib
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import PyTree
from metarl_jax.runs.processes import whole


def structure(state: PyTree) -> dict[str, str]:
    """Returns type and shape of every array by its path: `{".step": "int32[]"}`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")
        for path, leaf in leaves
    }


class Difference(NamedTuple):
    """An array in which two structures differ, with its description in each; `missing` if it does not exist."""

    name: str
    found: str
    wanted: str


def first_difference(found: dict[str, str], wanted: dict[str, str]) -> Difference | None:
    """Returns the first array, by name, that differs between two structures; None if they are equal."""
    for name in sorted(found.keys() | wanted.keys()):
        pair = (found.get(name, "missing"), wanted.get(name, "missing"))
        if pair[0] != pair[1]:
            return Difference(name, *pair)
    return None


def checksum(state: PyTree, progress: dict[str, Any]) -> str:
    """Returns the SHA-256 of the bytes of every array and of the values saved with them."""
    digest = hashlib.sha256(json.dumps(progress, sort_keys=True).encode())
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.ascontiguousarray(whole(leaf)).tobytes())
    return digest.hexdigest()
