"""Figures are drawn from what a run writes, without any global state of matplotlib."""

import json
import sys

import matplotlib.image
import pytest

from metarl_jax import plots


def _statistics(mean):
    return {"return_mean": mean, "return_iqm": mean, "ci95": [[x - 1.0, x + 1.0] for x in mean]}


def _evaluation(controls, **more):
    controls = {name: _statistics([level] * 3) for name, level in controls.items()}
    curve = _statistics([-30.0, -8.0, -3.0])
    return {"split": "test", "num_tasks": 10, **curve, "controls": controls, **more}


@pytest.mark.parametrize("more", [{}, {"preset": "p", "env": "e", "adapts_by_gradient": True}])
@pytest.mark.parametrize("controls", [{}, {"random": -60.0, "oracle": -0.5}, {"random": -1e6}])
def test_adaptation_curve(tmp_path, controls, more):
    path = tmp_path / "curve.png"
    plots.adaptation_curve(_evaluation(controls, **more), path)
    image = matplotlib.image.imread(path)
    assert image.std() > 0
    assert "matplotlib.pyplot" not in sys.modules


def test_a_control_far_off_does_not_flatten_the_curve():
    low, high = plots._bounds(plots._floats([-31.0, -4.0]), plots._floats([-29.0, -2.0]))
    assert low < -61.0
    assert low > -1e3
    assert high > 0.0


def test_training_curve(tmp_path):
    lines = [
        {"step": 1, "env_steps": 100, "episode_return": [-3.0, -2.0]},
        {"step": 1, "env_steps": 100, "eval_return": [-3.0, -2.0]},
        {"step": 2, "env_steps": 200, "episode_return": [-2.0, None]},
    ]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plots.training_curve(metrics, tmp_path / "training.png")
    assert matplotlib.image.imread(tmp_path / "training.png").std() > 0
    metrics.write_text("")
    with pytest.raises(ValueError, match="episode_return"):
        plots.training_curve(metrics, tmp_path / "none.png")
