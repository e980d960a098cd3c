"""The table of learners by structure: its rows can be built, and those that are made as large as others are."""

import math

import jax
import pytest

from metarl_jax.config import validate
from metarl_jax.experiments.tables.structure_table import PROBLEMS

ROWS = [
    (protocol, entry)
    for protocols in PROBLEMS.values()
    for protocol in protocols.values()
    for entry in protocol.entries
]


def num_parameters(config):
    shapes = jax.eval_shape(config.learner.make(config.env).init, jax.random.key(0))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def test_rows_are_legal_configurations_of_their_protocol():
    for protocol, entry in ROWS:
        config = entry.config(protocol.num_meta_steps)
        validate(config)
        assert config.name == entry.name
        assert config.num_meta_steps == protocol.num_meta_steps


SIZED = [(protocol, entry) for protocol, entry in ROWS if entry.sized_as is not None]


@pytest.mark.parametrize(("protocol", "entry"), SIZED, ids=[entry.name for _, entry in SIZED])
def test_rows_are_as_large_as_those_that_they_are_compared_with(protocol, entry):
    """Within 3%, as the learner of that family in the same protocol."""
    (other,) = [
        row
        for row in protocol.entries
        if row.sized_as is None and row.preset.removeprefix("tuned-").startswith(entry.sized_as)
    ]
    sizes = [num_parameters(row.config(1)) for row in (entry, other)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.03)
