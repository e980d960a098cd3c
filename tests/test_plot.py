"""`metarl plot`: what it reads from run folders, one curve a configuration, and the figure."""

import json

import numpy as np
import pytest
from scipy import stats

from metarl_jax.analysis.curves import Curve
from metarl_jax.analysis.plots import learning_curves
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


def test_members_of_a_sweep_are_named_by_it(run, tmp_path):
    (tmp_path / "sweep" / "members").mkdir(parents=True)
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    for tasks in (3, 4):
        for seed in (0, 1):
            name = f"sweep/members/tasks={tasks},seed={seed}"
            run(name, seed, {10: [1, 1, 1, 1]}, [1.0, 2.0, 3.0, 4.0], num_tasks=tasks)
    curves = read_curves([tmp_path / "sweep"], pytest.fail)
    assert [curve.num_seeds for curve in curves] == [2, 2]
    names = [curve.name.split() for curve in curves]
    assert names == [["sweep", f"(num_tasks={tasks})"] for tasks in (3, 4)]


@pytest.mark.parametrize(("letters", "columns"), [(10, 3), (50, 2), (100, 1), (400, 1)])
def test_the_legend_fits_the_figure(letters, columns, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(
        "metarl_jax.analysis.plots.save", lambda figure, path: figures.append(figure)
    )
    values = np.arange(2.0)
    band = np.stack([values, values])
    curves = [
        Curve("name " * (letters // 5), 1, values, values, values, band, values, band, "round")
        for _ in range(3)
    ]
    learning_curves(curves, tmp_path / "unused.png")
    [figure] = figures
    figure.draw_without_rendering()
    [legend] = figure.legends
    assert legend._ncols == columns
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


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
