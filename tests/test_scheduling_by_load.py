"""Slowdowns by load: policies are compared in the same tasks, paired, and the table has every policy."""

import numpy as np
import pytest

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.experiments import rl2_grid_navi, rl2_job_scheduling
from metarl_jax.experiments.tables.scheduling_by_load import (
    HEURISTICS,
    difference,
    slowdowns,
    table,
)
from metarl_jax.program.build import build


def test_differences_are_paired_by_task():
    values = np.random.default_rng(0).normal(size=100)
    assert difference(values - 2.0, values) == "-2.00 (-2.00 to -2.00)"


def test_the_table_has_all_policies_episodes_and_loads():
    values = {"trained": np.float64([[3, 2], [5, 2]]), "oracle": np.float64([[2, 1], [2, 3]])}
    assert table({0.3: values, 1.5: values}).splitlines() == [
        "| slowdown at load | 0.3 | 1.5 |",
        "| --- | --- | --- |",
        "| trained, first episode | 4.00 | 4.00 |",
        "| trained, last episode | 2.00 | 2.00 |",
        "| oracle, first episode | 2.00 | 2.00 |",
        "| oracle, last episode | 2.00 | 2.00 |",
        "| trained − oracle | 0.00 (-12.71 to 12.71) | 0.00 (-12.71 to 12.71) |",
    ]
    single = {name: x[:, :1] for name, x in values.items()}
    assert "| trained | 4.00 |" in table({1.1: single})
    assert "episode" not in table({1.1: single})


def test_other_runs_and_loads_are_refused():
    with pytest.raises(UserError, match="grid_navi"):
        slowdowns(rl2_grid_navi.CONFIG, None, [1.1], 2)
    with pytest.raises(UserError, match=r"loads=0.0"):
        slowdowns(rl2_job_scheduling.LOAD, None, [1.1, 0.0], 2)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["load", "classes"])
def test_slowdowns_grow_with_the_load_and_the_oracle_is_better_than_chance(variant):
    config = {"load": rl2_job_scheduling.LOAD, "classes": rl2_job_scheduling.CLASSES}[variant]
    state = build(config).init(make_key(0))
    found = slowdowns(config, state, (0.3, 1.5), 30)
    for values in found.values():
        assert set(values) == {"trained", *HEURISTICS[variant]}
        assert {x.shape for x in values.values()} == {(30, config.num_rounds)}
        assert all((x >= 1.0).all() for x in values.values())
        assert values["oracle"].mean() < values["random"].mean()
    assert all(found[0.3][name].mean() < found[1.5][name].mean() for name in found[0.3])
