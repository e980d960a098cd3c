"""`metarl plot`: what it reads from run folders, one curve a configuration, and the figure."""

import json

import numpy as np
import pytest
from scipy import stats

from metarl_jax.cli.main import main
from metarl_jax.config import to_dict
from metarl_jax.core.errors import UserError
from metarl_jax.defaults import default_config
from metarl_jax.sweeps.curves import read_curves


@pytest.fixture
def run(tmp_path):
    """`run(name, seed, history, returns)`: the files of a run of `rl2` on the grid."""

    def make(name, seed, history, returns, **changes):
        path = tmp_path / name
        path.mkdir()
        config = to_dict(default_config("rl2", "grid_navi")) | {"seed": seed} | changes
        (path / "config.json").write_text(json.dumps(config))
        lines = []
        for step, value in history.items():
            lines += [{"step": step, "env_steps": 10 * step}, {"step": step, "eval_return": value}]
        (path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        evaluation = {
            "return_mean": returns,
            "ci95": [[x - 1, x + 1] for x in returns],
            "num_tasks": 20,
            "round_label": "episode",
            "step": max(history),
            "last_step": config["num_meta_steps"],
        }
        (path / "eval.json").write_text(json.dumps(evaluation))
        return path

    return make


def test_seeds_of_a_configuration_are_one_curve(run):
    paths = [
        run("a", 0, {10: [0, 2, 0, 2], 20: [4, 4, 4, 4]}, [1.0, 2.0, 3.0, 4.0]),
        run("b", 1, {10: [3, 3, 3, 3], 20: [6, 6, 6, 6], 30: [9, 9, 9, 9]}, [3.0, 4.0, 5.0, 6.0]),
        run("c", 0, {10: [1, 1, 1, 1]}, [7.0, 7.0, 7.0, 7.0], num_tasks=3),
    ]
    both, alone = read_curves(paths, pytest.fail)
    assert (both.num_seeds, alone.num_seeds) == (2, 1)
    np.testing.assert_array_equal(both.meta_steps, [10, 20])  # as far as all have come
    np.testing.assert_array_equal(both.env_steps, [100, 200])
    np.testing.assert_allclose(
        both.learning, [2.0, 5.0]
    )  # of all episodes, as checkpoints are ranked
    np.testing.assert_allclose(both.adaptation, [2.0, 3.0, 4.0, 5.0])
    margin = stats.t.ppf(0.975, 1) * 1.0  # deviation √2 of two values, over √2
    np.testing.assert_allclose(both.learning_ci95[1] - both.learning, margin)
    np.testing.assert_allclose(both.adaptation_ci95[0], both.adaptation - margin)
    assert np.isnan(alone.learning_ci95).all()
    np.testing.assert_allclose(alone.adaptation_ci95, [[6.0] * 4, [8.0] * 4])
    assert "num_tasks=3" in alone.name


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_figure_is_written(run, tmp_path, ending, capsys):
    path = run("a", 0, {10: [0, 2, 0, 2]}, [1.0, 2.0, 3.0, 4.0])
    out = tmp_path / f"curves.{ending}"
    assert main(["plot", str(path), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().err
    assert out.stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs folders"),
        (["nowhere"], "nowhere"),
        (["nowhere", "--out", "curves.jpeg"], r"must end with one of .png, .svg, .pdf"),
        (["nowhere", "--out", "no/such/curves.png"], "out="),
    ],
)
def test_bad_use_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        read_curves([tmp_path / "nowhere"], pytest.fail)
