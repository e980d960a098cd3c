"""Figures are drawn from what a run writes, without any global state of matplotlib."""

import json
import os
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from metarl_jax.analysis import plots, structure_plots, table_plots
from metarl_jax.analysis.figures import floats


def _statistics(mean):
    return {"return_mean": mean, "return_iqm": mean, "ci95": [[x - 1.0, x + 1.0] for x in mean]}


def _evaluation(controls, **more):
    controls = {name: _statistics([level] * 3) for name, level in controls.items()}
    curve = _statistics([-30.0, -8.0, -3.0])
    return {"split": "test", "num_tasks": 10, **curve, "controls": controls, **more}


@pytest.mark.parametrize("more", [{}, {"preset": "p", "env": "e", "round_label": "round"}])
@pytest.mark.parametrize("controls", [{}, {"random": -60.0, "oracle": -0.5}, {"random": -1e6}])
def test_adaptation_curve(tmp_path, monkeypatch, controls, more):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    path = tmp_path / "curve.png"
    plots.adaptation_curve(_evaluation(controls, **more), path)
    image = matplotlib.image.imread(path)
    assert image.std() > 0
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(("backend", "used"), [("no_such_backend", "agg"), ("svg", "svg")])
def test_no_choice_of_a_backend_is_in_the_way(tmp_path, backend, used):
    """Nor is a choice that is good lost to others in the process."""
    script = (
        "import json, os, sys; from pathlib import Path; from metarl_jax.analysis import plots; "
        "plots.adaptation_curve(json.loads(sys.argv[1]), Path(sys.argv[2])); "
        "import matplotlib; print(os.environ['MPLBACKEND'], matplotlib.get_backend())"
    )
    path = tmp_path / "curve.png"
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(_evaluation({})), str(path)],
        env=os.environ | {"MPLBACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert matplotlib.image.imread(path).std() > 0
    assert done.stdout.split() == [backend, used]


def test_a_control_far_off_does_not_flatten_the_curve():
    low, high = plots._bounds(floats([-31.0, -4.0]), floats([-29.0, -2.0]))
    assert low < -61.0
    assert low > -1e3
    assert high > 0.0


def test_grid_belief(tmp_path):
    generator = np.random.default_rng(0)
    structure_plots.grid_belief(
        generator.normal(size=(10, 5, 5)), np.zeros((10, 2)), (4, 1), tmp_path / "belief.png"
    )
    assert matplotlib.image.imread(tmp_path / "belief.png").std() > 0


@pytest.mark.parametrize("num_tasks", [3, 200])
def test_returns_against(tmp_path, num_tasks):
    generator = np.random.default_rng(0)
    mass = generator.normal(size=num_tasks)
    returns = {"one": mass**2, "other": generator.normal(size=num_tasks)}
    table_plots.returns_against(mass, "mass, kg", returns, tmp_path / "returns.png")
    assert matplotlib.image.imread(tmp_path / "returns.png").std() > 0
