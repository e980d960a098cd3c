"""Several processes that train one run: the same numbers as one, one writes, and all end together.

As a script, `python tests/test_processes.py PROCESS_ID PORT FOLDER WORK …`, this is one of two processes. Each work is
`meta-steps`, or a run that is trained or, where it was begun, resumed.
"""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax._src.clusters import ClusterEnv, cloud_tpu_cluster, cluster
from probes import CHEAP, Silent, metrics_lines

from metarl_jax import learners
from metarl_jax.cli import distributed
from metarl_jax.cli.distributed import DistributedOptions
from metarl_jax.cli.main import INTERRUPTED, LOST, main
from metarl_jax.config import CheckpointConfig, Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.defaults import default_config
from metarl_jax.program.build import build
from metarl_jax.program.devices import select_devices
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.checkpoint import load_latest, saved_steps
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.train import resume, train

ON_FOUR = RuntimeConfig(platform="cpu", num_devices=4)


def tiny(learner: str, **small) -> Config:
    """A configuration of this learner whose programs are small."""
    config = default_config(learners.get(learner), "bandit", "policy_gradient")
    learner_config = dataclasses.replace(config.learner, **small)
    sizes = {"num_tasks": 8, "num_rounds": 2, "num_episodes": 2, "runtime": ON_FOUR}
    return dataclasses.replace(config, learner=learner_config, **sizes)


LEARNERS = {
    "gradient": tiny("maml", hidden_sizes=()),
    "memory": tiny("rl2", hidden_size=4, encoder_sizes=()),
    "structure": tiny(
        "hypernetwork", hidden_size=4, encoder_sizes=(), policy_sizes=(), code_size=2
    ),
}
SHORT = dataclasses.replace(CHEAP, num_tasks=8, runtime=ON_FOUR)
LONG = dataclasses.replace(
    SHORT,
    num_meta_steps=40,
    log_every=1,
    evaluation=EvaluationConfig(every=0, num_tasks=4),
    checkpoint=CheckpointConfig(every=1, keep=2),
)
ON_EIGHT = dataclasses.replace(SHORT, runtime=RuntimeConfig(platform="cpu", num_devices=8))


def meta_steps(config: Config) -> list[np.ndarray]:
    """The state after two meta-steps, and their metrics."""
    executables = Executables(run_functions(build(config)))
    state, metrics, _ = executables.chunk(executables.init(), 2)
    state = state.replace(key=jax.random.key_data(state.key))
    return [np.asarray(x) for x in jax.tree.leaves((state, metrics))]


def worker(process_id: str, port: str, folder: Path, works: list[str]) -> int:
    """Does this work as one of two processes; returns the exit code."""
    flags = ["--distributed.num-processes=2", f"--distributed.process-id={process_id}"]
    flags.append(f"--distributed.coordinator=localhost:{port}")
    for work in works:
        run, code = folder / work, 0
        if work == "meta-steps":
            for name, config in LEARNERS.items():
                np.savez(folder / f"{name}-{process_id}", *meta_steps(config))
        elif run.exists():
            code = main(["resume", str(run), *flags])
        else:
            code = main(["train", f"{__file__}:{work}", f"--run-dir={run}", *flags])
        if code:
            return code
    return main(["eval", str(folder / works[0]), "--json", *flags])


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
def stopped(tmp_path_factory):
    """A run that 8 devices trained half of. To be copied."""
    run = tmp_path_factory.mktemp("elastic") / "run"
    train(ON_EIGHT, run, callbacks=[StopAt(4)], console=Silent())
    assert saved_steps(run / "checkpoints") == [4]
    return run


class StopAt(Callback):
    """Stops at the evaluation after a meta-step."""

    def __init__(self, step: int):
        self._step = step

    def on_evaluation(self, line):
        return line["step"] == self._step


@pytest.fixture(scope="module")
def pair(tmp_path_factory, stopped):
    """The folder in which two processes of two devices trained the run `SHORT`, took meta-steps of `LEARNERS`, and
    resumed the run that 8 devices had begun."""
    folder = tmp_path_factory.mktemp("pair")
    shutil.copytree(stopped, folder / "elastic")
    assert ended(start(folder, "SHORT", "meta-steps", "elastic"), folder) == [0, 0]
    return folder


@pytest.mark.parametrize("name", LEARNERS)
def test_two_processes_compute_what_one_does(pair, name):
    """But for the order of float sums."""
    expected = meta_steps(LEARNERS[name])
    for process_id in range(2):
        with np.load(pair / f"{name}-{process_id}.npz") as saved:
            found = list(saved.values())
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run `SHORT` of one process with four devices."""
    run = tmp_path_factory.mktemp("alone") / "run"
    train(SHORT, run, console=Silent())
    return run


def assert_same_but_for_sums(run: Path, expected: Path) -> None:
    """The last state: keys and numbers of steps have the same bits, floats are equal but for the order of sums."""
    states = [jax.tree.leaves(final_state(path, SHORT)) for path in (run, expected)]
    for x, y in zip(*states, strict=True):
        if np.issubdtype(x.dtype, np.floating):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(x, y)


def test_a_run_of_two_processes_is_that_of_one(pair, alone):
    assert_same_but_for_sums(pair / "SHORT", alone)
    lines, expected = metrics_lines(pair / "SHORT"), metrics_lines(alone)
    assert [line.keys() for line in lines] == [line.keys() for line in expected]
    for mine, theirs in zip(lines, expected, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(np.float64(mine[name]), np.float64(value), rtol=1e-4)


def test_one_process_writes_and_speaks(pair):
    run = pair / "SHORT"
    assert len((run / "machines.jsonl").read_text().splitlines()) == 1
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert {path.name for path in run.iterdir()} >= {"eval.json", "README.md"}
    text = (pair / "out0").read_text()
    evaluation = json.loads(text[text.index("\n{") :])  # What Gloo prints is not there.
    assert evaluation["num_tasks"] == SHORT.evaluation.num_tasks
    assert "return" not in (pair / "out1").read_text()


def test_a_checkpoint_has_the_same_bits_on_any_devices(stopped):
    states = []
    for num_devices in (8, 4, 1):
        runtime = RuntimeConfig(platform="cpu", num_devices=num_devices)
        config = dataclasses.replace(ON_EIGHT, runtime=runtime, num_meta_steps=4)
        states.append(jax.tree.leaves(final_state(stopped, config)))
    for others in states[1:]:
        assert all(map(np.array_equal, states[0], others))


def test_a_run_goes_on_with_other_devices_and_processes(stopped, pair, alone, tmp_path):
    assert_same_but_for_sums(pair / "elastic", alone)
    for num_devices in (4, 1):
        run = shutil.copytree(stopped, tmp_path / str(num_devices))
        runtime = RuntimeConfig(platform="cpu", num_devices=num_devices)
        resume(run, runtime=runtime, console=Silent())
        assert_same_but_for_sums(run, alone)


def wait_for_checkpoints(pair: list[subprocess.Popen], folder: Path, number: int) -> None:
    """Waits until the run `LONG` is saved after a meta-step above `number`."""
    deadline = time.monotonic() + 200
    while max(saved_steps(folder / "LONG" / "checkpoints"), default=0) <= number:
        if time.monotonic() > deadline or any(process.poll() is not None for process in pair):
            ended(pair, folder, 0)
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_a_dead_one_ends_the_other(tmp_path):
    """SIGTERM at one, `kill -9` of the second, then of the first: each time both end, and the run goes on to the bits
    of one that was never stopped."""
    for folder in (tmp_path / "whole", tmp_path / "broken"):
        folder.mkdir()
    assert ended(start(tmp_path / "whole", "LONG"), tmp_path / "whole") == [0, 0]
    folder, done = tmp_path / "broken", 2
    for number, victim in ((signal.SIGTERM, 1), (signal.SIGKILL, 1), (signal.SIGKILL, 0)):
        both = start(folder, "LONG")
        wait_for_checkpoints(both, folder, done)
        both[victim].send_signal(number)
        codes = ended(both, folder, 60)
        message = (folder / f"err{1 - victim}").read_text()
        if number == signal.SIGTERM:
            assert codes == [INTERRUPTED, INTERRUPTED]
            assert "metarl resume" in message
        else:
            # Where the first is gone, JAX may notice it before.
            assert codes[1 - victim] in ((LOST,) if victim else (LOST, -signal.SIGABRT)), message
            assert "another one has ended" in message or "another task died" in message
        done = saved_steps(folder / "LONG" / "checkpoints")[-1]
    assert ended(start(folder, "LONG"), folder) == [0, 0]
    states = [
        jax.tree.leaves(final_state(tmp_path / name / "LONG", LONG)) for name in ("whole", "broken")
    ]
    assert all(map(np.array_equal, *states))
    assert metrics_lines(folder / "LONG") == metrics_lines(tmp_path / "whole" / "LONG")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"coordinator": "localhost:8476"}, "num-processes is missing"),
        ({"num_processes": 2, "process_id": 0}, "coordinator is missing"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator": "host:0", "num_processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator": "host:1", "num_processes": 2, "process_id": 2}, "must be below"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, words):
    with pytest.raises(UserError, match=words):
        distributed.join(DistributedOptions(**flags))


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "gpu[03-04],gpu09",
    "SLURM_NTASKS": "12",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
}
TPU = {
    "TPU_WORKER_HOSTNAMES": "localhost,other",
    "TPU_WORKER_ID": "1",
    "MEGASCALE_COORDINATOR_ADDRESS": "localhost",
    "MEGASCALE_NUM_SLICES": "1",
    "MEGASCALE_SLICE_ID": "0",
}


@pytest.mark.parametrize(
    ("variables", "address", "expected"),
    [(SLURM, "gpu03:62055", (12, 6, [2])), (TPU, "localhost:8482", (2, 1, None))],
)
def test_a_cluster_is_detected(monkeypatch, variables, address, expected):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **_: calls.append(args))
    distributed.join(DistributedOptions())
    assert not calls
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    is_tpu = variables is TPU
    for module in (cluster, cloud_tpu_cluster):
        monkeypatch.setattr(module, "running_in_cloud_tpu_vm", is_tpu)
    distributed.join(DistributedOptions(num_processes=1))
    assert not calls
    distributed.join(DistributedOptions())
    assert calls == [(None, None, None)]
    found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 1)
    assert found == (address, *expected)


def test_a_sweep_in_several_processes_is_refused(monkeypatch, capsys):
    assert main(["train", "rl2-bandit", "--seeds", "2", "--distributed.num-processes", "2"]) == 2
    assert "a sweep trains in one process" in capsys.readouterr().err


def test_devices_are_taken_from_every_process_alike(monkeypatch):
    devices = [SimpleNamespace(id=i, process_index=i % 2, platform="cpu") for i in range(8)]
    monkeypatch.setattr(jax, "devices", lambda platform=None: devices)
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def chosen(num_tasks, num_devices=None):
        runtime = RuntimeConfig(num_devices=num_devices)
        config = dataclasses.replace(SHORT, num_tasks=num_tasks, runtime=runtime)
        return [device.id for device in select_devices(config)]

    assert chosen(6) == [0, 2, 4, 1, 3, 5]
    assert chosen(8, 4) == [0, 2, 1, 3]
    with pytest.raises(UserError, match="num_tasks=7 cannot be shared by 2 processes"):
        chosen(7)
    with pytest.raises(UserError, match="num_devices=3 cannot be shared"):
        chosen(9, 3)


if __name__ == "__main__":
    # Where the tests run under `nohup`, these would be ignored here too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = worker(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    if result == LOST:
        os._exit(result)
    sys.exit(result)
