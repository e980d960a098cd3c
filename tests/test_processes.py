"""Several processes that train one run: the same numbers as one, one writes, and all end together.

As a script, `python tests/test_processes.py PROCESS_ID PORT FOLDER NAME …`, this is one of two processes that train the
runs of `CONFIGS`, or resume them where they were begun.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from probes import CHEAP, Silent, metrics_lines

from metarl_jax import learners
from metarl_jax.cli.main import LOST, main
from metarl_jax.config import CheckpointConfig, EvaluationConfig, RuntimeConfig
from metarl_jax.defaults import default_config
from metarl_jax.program.build import build
from metarl_jax.runs.checkpoint import load_latest
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.train import train

SIZES = {
    "num_meta_steps": 3,
    "num_tasks": 8,
    "num_rounds": 2,
    "num_episodes": 2,
    "log_every": 2,
    "evaluation": EvaluationConfig(every=0, num_tasks=6),
    "checkpoint": CheckpointConfig(every=2),
    "runtime": RuntimeConfig(platform="cpu", num_devices=4),
}


def tiny(learner: str, **small):
    """A configuration of this learner whose programs are small."""
    config = default_config(learners.get(learner), "bandit", "policy_gradient")
    made = dataclasses.replace(config.learner, **small)
    return dataclasses.replace(config, learner=made, **SIZES)


MAML = tiny("maml", hidden_sizes=(4,))
RL2 = tiny("rl2", hidden_size=4)
HYPERNETWORK = tiny("hypernetwork", hidden_size=4)
LONG = dataclasses.replace(
    CHEAP,
    num_meta_steps=3000,
    num_tasks=8,
    log_every=1,
    evaluation=EvaluationConfig(every=0, num_tasks=4),
    checkpoint=CheckpointConfig(every=1, keep=2),
    runtime=SIZES["runtime"],
)
LEARNERS = {"MAML": MAML, "RL2": RL2, "HYPERNETWORK": HYPERNETWORK}
"""One by gradient, one by memory, one by structure."""


def worker(process_id: str, port: str, folder: Path, names: list[str]) -> int:
    """Trains these runs or, where they were begun, resumes them; returns the exit code."""
    flags = ["--distributed.num-processes=2", f"--distributed.process-id={process_id}"]
    flags.append(f"--distributed.coordinator=localhost:{port}")
    for name in names:
        run = folder / name
        begun = ["resume", str(run)] if run.exists() else ["train", f"{__file__}:{name}"]
        begun += [] if run.exists() else [f"--run-dir={run}"]
        code = main([*begun, *flags])
        if code:
            return code
    return main(["eval", str(folder / names[-1]), "--json", *flags])


def start(folder: Path, *names: str) -> list[subprocess.Popen]:
    """Starts two processes with two devices each."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    return [
        subprocess.Popen(
            [sys.executable, __file__, str(number), str(port), str(folder), *names],
            env=environment,
            stdout=(folder / f"out{number}").open("w"),
            stderr=(folder / f"err{number}").open("w"),
        )
        for number in range(2)
    ]


def ended(pair: list[subprocess.Popen], folder: Path, seconds: float = 300) -> list[int]:
    """Waits for both processes, and returns their exit codes; kills what does not end."""
    try:
        return [process.wait(seconds) for process in pair]
    except subprocess.TimeoutExpired:
        pytest.fail("\n".join(path.read_text() for path in sorted(folder.glob("err?"))))
    finally:
        for process in pair:
            process.kill()


def final_state(run: Path, config):
    """The state of the last checkpoint, as numpy arrays."""
    abstract_state = Executables(run_functions(build(config))).abstract_state
    found = load_latest(run / "checkpoints", abstract_state, on_damage=pytest.fail)
    assert found is not None
    assert found.step == config.num_meta_steps
    state = found.state.replace(key=jax.random.key_data(found.state.key))
    return jax.tree.map(np.asarray, state)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which two processes of two devices trained `LEARNERS`."""
    folder = tmp_path_factory.mktemp("pair")
    assert ended(start(folder, *LEARNERS), folder) == [0, 0]
    return folder


@pytest.mark.parametrize("name", LEARNERS)
def test_two_processes_compute_what_one_does(trained, tmp_path, name, trees_close):
    config = LEARNERS[name]
    train(config, tmp_path / "run", console=Silent())
    state, expected = final_state(trained / name, config), final_state(tmp_path / "run", config)
    trees_close(state, expected, rtol=1e-5, atol=1e-6)
    lines, alone = metrics_lines(trained / name), metrics_lines(tmp_path / "run")
    trees_close(lines, alone, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = worker(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    if result == LOST:
        os._exit(result)
    sys.exit(result)
