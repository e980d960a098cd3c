"""What is reported of the returns over tasks."""

import io

import numpy as np
from rich.console import Console

from metarl_jax.evaluate import summarize
from metarl_jax.metrics import MAX_ROWS, Reporter, shown_rounds

RETURNS = np.stack([np.arange(101.0), np.arange(101.0)[::-1]], axis=1)
"""Of 101 tasks and two rounds, whose sum is the same for all."""


def test_percentiles_over_tasks():
    summary = summarize(RETURNS)
    expected = {str(p): [p, p] for p in (10, 25, 50, 75, 90)}
    assert summary["return_percentiles"] == expected
    assert set(summary["total_percentiles"].values()) == {100.0}


def test_percentiles_are_printed():
    console = Console(file=io.StringIO(), width=100)
    evaluation = {"split": "test", "num_tasks": 101, "step": 7, "controls": {}}
    evaluation["parameters"] = {"all": 1200, "adapted": 8, "stay": 1192}
    Reporter(console).curve(evaluation | summarize(RETURNS))
    text = console.file.getvalue()
    assert "Percentiles over tasks" in text
    assert "10%" in text
    assert "90.00" in text
    assert "A new task moves 8 of the 1,200 parameters; 1,192 stay." in text


def test_a_long_trial_is_shown_in_few_rows():
    assert shown_rounds(1) == [0]
    assert shown_rounds(MAX_ROWS) == list(range(MAX_ROWS))
    for num_rounds in (MAX_ROWS + 1, 100, 10_000):
        shown = shown_rounds(num_rounds)
        assert shown == sorted(set(shown))
        assert (shown[0], shown[-1]) == (0, num_rounds - 1)
        assert len(shown) <= MAX_ROWS
    assert shown_rounds(100)[:5] == [0, 1, 2, 3, 4]
