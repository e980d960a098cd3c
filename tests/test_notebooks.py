"""The notebooks, from top to bottom, at the sizes of tests."""

import os
import runpy
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import probes
import pytest
from jupyter_client.manager import start_new_kernel
from rich.console import Console

from metarl_jax.console import notebook_bar
from metarl_jax.runs.checkpoint import saved_steps
from metarl_jax.runs.reporter import Reporter

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name, tmp_path, monkeypatch):
    """Each notebook checks its own results, such as that both MAMLs agree."""
    monkeypatch.setenv("METARL_NOTEBOOK_SIZES", "test")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context({"backend": "agg"}):
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        plt.close("all")


def test_each_is_in_the_guide():
    guide = (ROOT / "docs" / "guide" / "notebooks.md").read_text()
    assert len(NOTEBOOKS) == 6
    assert all(f"../notebooks/{name}" in guide for name in NOTEBOOKS)


class Shown:
    """Stands for `IPython.display.display`: keeps what is shown, and what it becomes."""

    def __init__(self):
        self.html = []

    def __call__(self, thing, display_id=None):
        assert display_id
        self.update(thing)
        return self

    def update(self, thing):
        self.html.append(thing.data)


def test_a_notebook_has_a_bar(monkeypatch):
    shown = Shown()
    monkeypatch.setattr("IPython.display.display", shown)
    monkeypatch.setattr(notebook_bar, "SECONDS_BETWEEN_UPDATES", 0.0)
    reporter = Reporter(Console(force_jupyter=True))
    line = {"step": 4, "env_steps_per_second": 10.0, "episode_return": [1.0, 2.0], "skipped": 0}
    with reporter.training(2, 8):
        reporter.between(3)
        reporter.on_chunk(line)
        reporter.between(5)
    positions = [text.partition(">")[0].split("value=")[1] for text in shown.html]
    assert positions == [f'"{n}" max="8"' for n in (2, 3, 4, 5)]
    assert "step 5/8" in shown.html[-1]
    assert "return 1.00 -&gt; 2.00" in shown.html[-1]


BEGIN = """
import dataclasses, probes, metarl_jax as mrl
config = dataclasses.replace(probes.CHEAP, num_meta_steps=1_000_000)
sweep = mrl.Sweep(config, [{"outer.step_size": 0.1}, {"outer.step_size": 1.0}])
mrl.sweep(sweep, "sweep")
"""
GO_ON = """
import dataclasses
from metarl_jax.runs.checkpoint import saved_steps
from pathlib import Path
(before,) = [saved_steps(Path("sweep/checkpoints"))[-1]]
mrl.resume("sweep", num_meta_steps=before + 2)
print("resumed after", before, "to", saved_steps(Path("sweep/checkpoints"))[-1])
"""


def test_an_interrupted_cell_leaves_a_whole_checkpoint(tmp_path):
    """In a kernel, as a notebook does it; the same kernel goes on from there."""
    path = os.pathsep.join([str(Path(probes.__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    manager, client = start_new_kernel(cwd=str(tmp_path), env=env)
    outputs = []

    def on_output(message):
        outputs.append(message)
        has_bar = "<progress" in message["content"].get("data", {}).get("text/html", "")
        if has_bar and not interrupted and saved_steps(tmp_path / "sweep/checkpoints"):
            interrupted.append(True)
            manager.interrupt_kernel()

    interrupted = []
    try:
        reply = client.execute_interactive(BEGIN, output_hook=on_output, timeout=240)
        assert reply["content"]["status"] == "error"
        assert reply["content"]["ename"] == "Interrupted"
        assert "metarl resume" in reply["content"]["evalue"]
        assert interrupted
        outputs.clear()
        reply = client.execute_interactive(GO_ON, output_hook=on_output, timeout=240)
        assert reply["content"]["status"] == "ok", reply["content"]
        text = "".join(x["content"].get("text", "") for x in outputs)
        assert "resumed after" in text
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
