"""The host loop, with a probe in the place of a learner: what counts here is the loop.

As a script, `python tests/test_train.py train|resume RUN_DIR CONFIG`, this is the process that the
tests stop and kill.
"""

import dataclasses
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Probe, RandomWalk, Silent, metrics_lines

from metarl_jax import envs
from metarl_jax.config import CheckpointConfig, Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.writing import WriteError
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.ppo import PPO
from metarl_jax.program.build import build
from metarl_jax.program.step import environment_faults
from metarl_jax.runs import executables as executables_module
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs import stopping
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.checkpoint import load_best, load_latest, saved_steps
from metarl_jax.runs.evaluate import evaluate_run
from metarl_jax.runs.executables import REPORTS, Executables, run_functions
from metarl_jax.runs.locks import locked
from metarl_jax.runs.loop import chunk_end, is_due
from metarl_jax.runs.pace import Pace
from metarl_jax.runs.progress import Progress, held_out_score, note_evaluation
from metarl_jax.runs.restore import load
from metarl_jax.runs.stopping import Diverged, Interrupted, interruptible
from metarl_jax.runs.train import resume, train

PROBE = Config(
    env=Bandit(),
    learner=Probe(),
    outer=RandomWalk(),
    advantage=AdvantageConfig(baseline="none", credit="trial", normalization="none"),
    num_meta_steps=11,
    num_tasks=4,
    num_rounds=3,
    num_episodes=1,
    log_every=2,
    evaluation=EvaluationConfig(every=4, num_tasks=4),
    checkpoint=CheckpointConfig(every=4, keep=2),
    runtime=RuntimeConfig(num_devices=2),
)
MANY_SAVES = dataclasses.replace(
    PROBE, num_meta_steps=60, log_every=1, checkpoint=CheckpointConfig(every=1, keep=1)
)
TINY_MAML = dataclasses.replace(
    MANY_SAVES,
    env=PointRobot(horizon=10),
    learner=MAML(hidden_sizes=(8,)),
    outer=PPO(num_epochs=2),
    advantage=AdvantageConfig(),
    num_rounds=2,
    num_episodes=4,
    normalize_observations=True,
)
CONFIGS = {"probe": MANY_SAVES, "maml": TINY_MAML}


def main(command: str, run_dir: str, name: str) -> None:
    """The process that tests stop: exits with 3 when it was interrupted."""
    sys.modules["metarl_jax.analysis.plots"] = FAKE_PLOTS  # pyright: ignore[reportArgumentType]
    try:
        if command == "train":
            train(CONFIGS[name], Path(run_dir))
        else:
            resume(Path(run_dir))
    except Interrupted as stop:
        print(stop)
        sys.exit(3)


FAKE_PLOTS = SimpleNamespace(adaptation_curve=lambda evaluation, path: path.write_bytes(b"a curve"))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "metarl_jax.analysis.plots", FAKE_PLOTS)


@pytest.fixture
def single_steps(monkeypatch):
    """Every call takes one meta-step."""
    monkeypatch.setattr(Pace, "num_steps", lambda self, left: 1)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """`reference(config)`: the folder of a run of it that was never stopped. To be read only."""
    folders = {}

    def make(config):
        if config not in folders:
            folders[config] = tmp_path_factory.mktemp("reference") / "run"
            train(config, folders[config], console=Silent())
        return folders[config]

    return make


def final_bits(run_dir: Path, config: Config) -> list[bytes]:
    """Every byte of the state after the last meta-step."""
    abstract_state = Executables(run_functions(build(config))).abstract_state
    found = load_latest(run_dir / "checkpoints", abstract_state, on_damage=pytest.fail)
    assert found is not None
    assert found.step == config.num_meta_steps
    state = found.state.replace(key=jax.random.key_data(found.state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def assert_same_run(run_dir: Path, expected: Path, config: Config):
    assert final_bits(run_dir, config) == final_bits(expected, config)
    assert metrics_lines(run_dir) == metrics_lines(expected)
    assert json.loads((run_dir / "eval.json").read_text()) == json.loads(
        (expected / "eval.json").read_text()
    )


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_a_run_folder_holds_everything(tmp_path):
    console = Silent()
    evaluation = train(PROBE, tmp_path / "new" / "run", console=console)
    folder = tmp_path / "new" / "run"
    assert json.loads((folder / "eval.json").read_text()) == evaluation
    assert set(evaluation) >= {
        "split",
        "num_tasks",
        "return_mean",
        "return_iqm",
        "ci95",
        "return_percentiles",
        "controls",
    }
    assert len(evaluation["return_mean"]) == len(evaluation["ci95"]) == 3
    assert len(evaluation["controls"]["random"]["return_mean"]) == 3
    assert (folder / "adaptation_curve.png").read_bytes() == b"a curve"
    assert list(folder.glob("events.out.tfevents*"))
    lines = metrics_lines(folder)
    assert [x["step"] for x in lines if "episode_return" in x] == [2, 4, 6, 8, 10, 11]
    assert [x["step"] for x in lines if "eval_return" in x] == [4, 8, 11]
    assert lines[-1]["env_steps"] == 11 * 4 * 3 * PROBE.env.episode_length
    printed = console.out.getvalue().splitlines()
    assert (printed[0], printed[-1]) == (str(folder), str(folder / "adaptation_curve.png"))
    assert "held-out return" in console.out.getvalue()
    assert "compiled in" in console.out.getvalue()


def test_the_best_and_the_latest_checkpoints_stay(reference):
    run_dir = reference(PROBE)
    scores = {x["step"]: x["held_out_return"] for x in metrics_lines(run_dir) if "eval_return" in x}
    best = max(scores, key=lambda step: (scores[step], step))
    saved = saved_steps(run_dir / "checkpoints")
    assert best in saved
    assert saved[-1] == 11
    assert len(saved) <= 3


def test_the_division_of_chunks_into_calls_does_not_show(tmp_path, reference, single_steps):
    train(PROBE, tmp_path / "run", console=Silent())
    assert_same_run(tmp_path / "run", reference(PROBE), PROBE)


def test_a_run_is_saved_within_a_chunk(tmp_path, reference, single_steps):
    run_dir = tmp_path / "run"
    for continue_training, stop_at in ((partial(train, PROBE), 3), (resume, 7)):
        with pytest.raises(Interrupted, match=f"after step {stop_at} of 11; to continue from step"):
            continue_training(run_dir, console=Silent({stop_at: interrupt}))
        assert saved_steps(run_dir / "checkpoints")[-1] == stop_at
    resume(run_dir, console=Silent())
    assert_same_run(run_dir, reference(PROBE), PROBE)


def test_a_run_saved_within_a_chunk_goes_on_with_shorter_chunks(tmp_path, reference, single_steps):
    run_dir, longer = tmp_path / "run", dataclasses.replace(PROBE, log_every=4)
    with pytest.raises(Interrupted, match="after step 3 of 11"):
        train(longer, run_dir, console=Silent({3: interrupt}))
    found = evaluate_run(run_dir, console=Silent())
    assert (found["checkpoint"], found["step"]) == ("last", 3)  # None was evaluated: none is best.
    (run_dir / "config.json").write_bytes((reference(PROBE) / "config.json").read_bytes())
    resume(run_dir, console=Silent())
    assert final_bits(run_dir, PROBE) == final_bits(reference(PROBE), PROBE)
    steps = [line["step"] for line in metrics_lines(run_dir) if "episode_return" in line]
    assert steps == [3, 4, 6, 8, 10, 11]


@pytest.mark.parametrize(
    ("slow", "step", "saved", "words"),
    [
        ("chunk", 3, 2, "during step 3 of 11"),
        ("evaluate", 4, 4, "while evaluating step 4"),
        ("evaluate", 11, 11, "while evaluating step 11"),
    ],
)
def test_a_call_that_takes_too_long_is_left(
    tmp_path, reference, monkeypatch, single_steps, slow, step, saved, words
):
    """The state from before it is saved; resuming does all that was left out."""
    method, ended = getattr(Executables, slow), threading.Event()

    def take_long(self, state, *args):
        if int(state.step) == saved:
            interrupt()
            interruptible(ended.wait)
        return method(self, state, *args)

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "PATIENCE_SECONDS", 0.0)
        patch.setattr(Pace, "is_long", lambda self, num_steps: True)
        patch.setattr(Executables, slow, take_long)
        with pytest.raises(Interrupted, match=f"{words}; to continue from step {saved}: metarl"):
            train(PROBE, tmp_path / "run", console=Silent())
    assert stopping.is_working()
    ended.set()
    assert saved_steps(tmp_path / "run" / "checkpoints")[-1] == saved
    resume(tmp_path / "run", console=Silent())
    assert_same_run(tmp_path / "run", reference(PROBE), PROBE)
    assert best_of(tmp_path / "run", PROBE) == best_of(reference(PROBE), PROBE)


def best_of(run_dir: Path, config: Config) -> tuple[int, float | None]:
    """The best step, as its checkpoint says, and its held-out return."""
    abstract_state = Executables(run_functions(build(config))).abstract_state
    found = load_best(run_dir / "checkpoints", abstract_state, on_damage=pytest.fail)
    return found.step, found.progress[0].held_out_return


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("compile_evaluate", "while compiling; to continue from seed 0"),
        ("evaluate_control", "while evaluating; to continue from step 11"),
    ],
)
def test_a_signal_ends_at_once_what_need_not_be_saved(
    tmp_path, reference, monkeypatch, method, words
):
    with monkeypatch.context() as patch:
        patch.setattr(Executables, method, lambda self, *args: interrupt())
        with pytest.raises(Interrupted, match=words):
            train(PROBE, tmp_path / "run", console=Silent())
    resume(tmp_path / "run", console=Silent())
    assert_same_run(tmp_path / "run", reference(PROBE), PROBE)


def test_calls_see_that_jit_is_disabled():
    """JAX's context managers hold on one thread."""
    with jax.disable_jit():
        assert executables_module._run(lambda: jax.config.values["jax_disable_jit"])
    assert not executables_module._run(lambda: jax.config.values["jax_disable_jit"])


def test_memory_that_does_not_suffice_is_told_in_one_line():
    def fail():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 36 bytes.")

    with pytest.raises(ValueError, match=r"allocating 36 bytes.*num_tasks"):
        executables_module._run(fail)


@pytest.mark.parametrize("stop_at", [2, 8, 11])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, reference, stop_at):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match=rf"step {stop_at}: metarl resume {tmp_path}"):
        train(PROBE, tmp_path / "run", console=Silent({stop_at: interrupt}))
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert saved_steps(tmp_path / "run" / "checkpoints")[-1] == stop_at
    resume(tmp_path / "run", console=Silent())
    assert_same_run(tmp_path / "run", reference(PROBE), PROBE)
    starts = run_folder.RunFolder(tmp_path / "run").starts()
    assert [start["step"] for start in starts] == sorted({0, stop_at} - {PROBE.num_meta_steps})
    assert all(start["processor"] and start["platform"] == "cpu" for start in starts)


def test_a_run_without_a_checkpoint_starts_again(tmp_path, reference):
    folder = run_folder.create(tmp_path / "run", PROBE)
    folder.note_start(0, {"processor": "another"})
    with folder.machines.open("a") as file:
        file.write('{"step": 0, "proc')
    (tmp_path / "run" / "metrics.jsonl").write_text(
        '{"step": 2, "episode_return": [0]}\n{"step": 4'
    )
    console = Silent()
    resume(tmp_path / "run", console=console)
    assert "no checkpoint yet" in console.out.getvalue()
    assert_same_run(tmp_path / "run", reference(PROBE), PROBE)
    (start,) = folder.starts()
    assert start["step"] == 0
    assert start["processor"] != "another"


def test_a_disk_that_fills_up_is_an_error_and_the_run_goes_on_later(tmp_path, reference):
    run_dir, limit = tmp_path / "run", resource.RLIMIT_FSIZE
    before = resource.getrlimit(limit)

    def fill():
        resource.setrlimit(limit, (0, before[1]))

    try:
        with pytest.raises(WriteError, match=f"metarl resume {run_dir}`"):
            train(PROBE, run_dir, console=Silent({6: fill}))
    finally:
        resource.setrlimit(limit, before)
    assert saved_steps(run_dir / "checkpoints")[-1] == 4
    resume(run_dir, console=Silent())
    assert_same_run(run_dir, reference(PROBE), PROBE)


def test_a_damaged_checkpoint_is_reported_kept_and_passed_over(tmp_path, reference):
    run_dir = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(PROBE, run_dir, console=Silent({10: interrupt}))
    before, latest = saved_steps(run_dir / "checkpoints")[-2:]
    damaged = run_dir / "checkpoints" / str(latest)
    largest = max(damaged.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    metrics = run_dir / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-20])
    content = {path.name: path.stat().st_size for path in damaged.rglob("*")}
    console = Silent()
    resume(run_dir, console=console)
    assert f"{damaged} is damaged" in console.err.getvalue().replace("\n", "")
    assert "metrics.jsonl ends in the middle of a line" in console.err.getvalue()
    assert f"resuming from step {before}" in console.out.getvalue()
    kept = damaged.with_name(f"{latest}.damaged")
    assert {path.name: path.stat().st_size for path in kept.rglob("*")} == content
    assert_same_run(run_dir, reference(PROBE), PROBE)


def test_a_finished_run_is_only_evaluated(tmp_path, reference):
    run_dir = tmp_path / "run"
    shutil.copytree(reference(PROBE), run_dir)
    (run_dir / "eval.json").unlink()
    console = Silent()
    resume(run_dir, console=console)
    assert "has ended" in console.out.getvalue()
    assert_same_run(run_dir, reference(PROBE), PROBE)


def test_evaluation_does_not_touch_training(tmp_path, reference):
    config = dataclasses.replace(PROBE, evaluation=EvaluationConfig(every=1, num_tasks=4))
    train(config, tmp_path / "run", console=Silent())
    assert final_bits(tmp_path / "run", config) == final_bits(reference(PROBE), PROBE)


def test_all_evaluations_while_training_are_in_the_same_tasks(tmp_path):
    """Once the learner stays as it is, so does its held-out return."""
    config, console = dataclasses.replace(PROBE, outer=RandomWalk(break_after=4)), Silent()
    train(config, tmp_path / "run", console=console)
    found = [x["eval_return"] for x in metrics_lines(tmp_path / "run") if "eval_return" in x]
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert console.out.getvalue().count("(best so far)") == 1


def test_chunks_after_the_first_compile_nothing(compilations):
    executables = Executables(run_functions(build(PROBE)))
    executables.compile_chunk(2)
    executables.compile_evaluate("test", 4)
    state, key = executables.init(), executables.evaluation_key(1)
    assert compilations
    compilations.clear()
    for _ in range(3):
        state, _, _ = executables.chunk(state, 2)
        executables.evaluate(state, key, "test", 4)
    assert int(state.step) == 6
    assert not compilations


def test_a_longer_run_compiles_nothing_more(tmp_path, reference, compilations):
    reference(PROBE)  # Compiles what only the first run in a process does.
    counts = {}
    for num_meta_steps in (8, 16):
        config = dataclasses.replace(PROBE, num_meta_steps=num_meta_steps)
        compilations.clear()
        train(config, tmp_path / str(num_meta_steps), console=Silent())
        counts[num_meta_steps] = len(compilations)
    assert counts[16] == counts[8] > 0


def test_a_callback_sees_what_is_written_and_stops_training(tmp_path, reference):
    """A run that was stopped is evaluated as at its end, and goes on to the same bits."""

    class StopAt(Callback):
        def __init__(self):
            self.lines, self.num_closed = [], 0

        def on_chunk(self, line):
            self.lines.append(line)

        def on_evaluation(self, line):
            self.lines.append({name: x for name, x in line.items() if name != "is_best"})
            return line["step"] == 8

        def close(self):
            self.num_closed += 1

    stop_at, run_dir = StopAt(), tmp_path / "run"
    evaluation = train(PROBE, run_dir, callbacks=[stop_at], console=Silent())
    assert (evaluation["last_step"], stop_at.num_closed) == (8, 1)
    assert [line["step"] for line in stop_at.lines] == [2, 4, 4, 6, 8, 8]
    written = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line.keys() for line in written] == [line.keys() for line in stop_at.lines]
    resume(run_dir, console=Silent())
    assert_same_run(run_dir, reference(PROBE), PROBE)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    config = dataclasses.replace(
        PROBE,
        outer=RandomWalk(break_after=5),
        max_skipped=3,
        checkpoint=CheckpointConfig(every=1, keep=1),
        evaluation=EvaluationConfig(every=0, num_tasks=4),
    )
    with pytest.raises(Diverged, match=r"step 8 .*last good checkpoint, of step 4.*step sizes"):
        train(config, tmp_path / "run", console=Silent())
    assert saved_steps(tmp_path / "run" / "checkpoints") == [4]
    lines = metrics_lines(tmp_path / "run")
    assert [line["skipped"] for line in lines] == [0, 0, 1, 2]
    assert lines[2]["gradient_norm"] > 0
    assert lines[3]["gradient_norm"] is None
    assert not (tmp_path / "run" / "eval.json").exists()
    assert evaluate_run(tmp_path / "run")["step"] == 4


def test_a_run_may_end_with_a_skipped_update(tmp_path):
    config = dataclasses.replace(PROBE, outer=RandomWalk(break_after=5))
    train(config, tmp_path / "run", console=Silent())
    assert saved_steps(tmp_path / "run" / "checkpoints")[-1] == 11


def test_evaluate_run_takes_the_best_and_writes_nothing(reference):
    run_dir = reference(PROBE)
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    scores = {x["step"]: x["held_out_return"] for x in metrics_lines(run_dir) if "eval_return" in x}
    assert evaluate_run(run_dir, console=Silent()) == json.loads(
        (run_dir / "eval.json").read_text()
    )
    result = evaluate_run(run_dir, split="train", num_tasks=7, console=Silent())
    assert result["split"] == "train"
    assert result["num_tasks"] == 7
    assert result["step"] == max(scores, key=lambda step: (scores[step], step))
    assert before == {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    assert result == evaluate_run(run_dir, split="train", num_tasks=7, console=Silent())


def test_any_checkpoint_can_be_evaluated(reference):
    run_dir = reference(PROBE)
    program, state, *_ = load(run_dir, "last")
    assert (int(state.step), program.config) == (11, PROBE)
    result = evaluate_run(run_dir, checkpoint="last", console=Silent())
    assert (result["checkpoint"], result["step"], result["last_step"]) == ("last", 11, 11)
    first = saved_steps(run_dir / "checkpoints")[0]
    assert int(load(run_dir, first)[1].step) == first < 11
    for unknown in (7, "latest"):
        with pytest.raises(ValueError, match=f"checkpoint={unknown!r}.*{first}"):
            load(run_dir, unknown)  # pyright: ignore[reportArgumentType]


def test_a_run_made_longer_is_the_longer_run(tmp_path, reference):
    run_dir = tmp_path / "run"
    train(dataclasses.replace(PROBE, num_meta_steps=8), run_dir, console=Silent())
    with pytest.raises(ValueError, match=r"num_meta_steps=3.*checkpoint of 8"):
        resume(run_dir, num_meta_steps=3, console=Silent())
    resume(run_dir, num_meta_steps=11, console=Silent())
    assert_same_run(run_dir, reference(PROBE), PROBE)
    assert run_folder.open_existing(run_dir)[1] == PROBE
    starts = run_folder.RunFolder(run_dir).starts()
    found = [(start["step"], start["config"]["num_meta_steps"]) for start in starts]
    assert found == [(0, 8), (8, 11)]


def copied(run_dir: Path, to: Path, without: str = "", **fields) -> Path:
    """A copy of a run with other entries in its config.json, and without one."""
    shutil.copytree(run_dir, to)
    values = json.loads((to / "config.json").read_text()) | fields
    values.pop(without, None)
    (to / "config.json").write_text(json.dumps(values))
    return to


def test_a_run_opens_where_its_devices_are_not(tmp_path, reference):
    runtime = dataclasses.asdict(PROBE.runtime) | {"platform": "tpu", "num_devices": 4096}
    run_dir = copied(reference(PROBE), tmp_path / "run", runtime=runtime)
    console, expected = Silent(), json.loads((reference(PROBE) / "eval.json").read_text())
    assert evaluate_run(run_dir, console=console)["step"] == expected["step"]
    assert "runtime.platform='tpu'" in console.err.getvalue()
    assert "runtime.num_devices=4096" in console.err.getvalue()
    program, *_ = load(run_dir, runtime=RuntimeConfig(num_devices=1))
    assert program.axis.num_devices == 1
    with pytest.raises(ValueError, match=r"runtime\.num_devices=512"):
        load(run_dir, runtime=RuntimeConfig(num_devices=512))
    resume(run_dir, runtime=RuntimeConfig(num_devices=1), console=Silent())
    assert run_folder.open_existing(run_dir)[1].runtime == RuntimeConfig(num_devices=1)
    resumed = json.loads((run_dir / "eval.json").read_text())
    np.testing.assert_allclose(resumed["return_mean"], expected["return_mean"], atol=1e-5)


def test_what_was_edited_in_a_configuration_is_refused_or_told(tmp_path, reference):
    run_dir = copied(reference(PROBE), tmp_path / "run", "max_skipped", seed=5, log_every=3)
    with pytest.raises(ValueError, match=r"seed=5 \(trained with 0\): restore"):
        resume(run_dir, console=Silent())
    console = Silent()
    evaluate_run(run_dir, console=console)
    told = " ".join(console.err.getvalue().split())
    assert "seed=5 (trained with 0)" in told
    assert "lacks max_skipped=20:" in told
    assert "log_every" not in told


@dataclasses.dataclass(frozen=True)
class Unpaid(Bandit):
    """A bandit whose rewards are no numbers."""

    name: ClassVar[str] = "unpaid"

    def step(self, task, state, action):
        return super().step(task, state, action).replace(reward=jnp.float32(jnp.nan))


def test_an_environment_without_finite_numbers_is_named_and_ends_the_run(tmp_path, monkeypatch):
    """Fewer updates than `max_skipped`, and all of them were skipped: nothing was learned."""
    monkeypatch.setitem(envs.registry._loaded, "unpaid", Unpaid)
    monkeypatch.setattr("metarl_jax.runs.train.check_foreign", lambda config: None)
    config, console = dataclasses.replace(PROBE, env=Unpaid()), Silent()
    with pytest.raises(Diverged, match=r"step 11 .*no good checkpoint.*env 'unpaid'.*rewards"):
        train(config, tmp_path / "run", console=console)
    assert console.err.getvalue().count("env 'unpaid'") == 1
    assert "24 episodes of the meta-steps up to 2" in console.err.getvalue()
    assert not (tmp_path / "run" / "eval.json").exists()


def test_an_evaluation_without_a_finite_return_is_an_error(reference, monkeypatch):
    monkeypatch.setitem(envs.registry._loaded, "unpaid", Unpaid)
    with pytest.raises(Diverged, match=r"8 of 8 held-out tasks.*'unpaid'"):
        evaluate_run(reference(PROBE), env=Unpaid(), num_tasks=8, console=Silent())


def test_the_first_number_that_is_not_finite_tells_whose_fault_it_is():
    """Three steps of six episodes: which the environment broke, the learner, nobody, or one that had ended before."""
    valid = np.ones((1, 1, 3, 6), bool)
    observation, reward = np.zeros((1, 1, 3, 6, 2)), np.zeros((1, 1, 3, 6))
    action = np.zeros((1, 1, 3, 6, 1))
    observation[0, 0, 0:, 0, 1] = np.nan
    action[0, 0, 1:, 0] = np.nan  # The policy has read it.
    observation[0, 0, 2, 1] = np.inf
    reward[0, 0, 1, 2] = np.nan
    action[0, 0, 1, 3] = np.nan
    observation[0, 0, 2, 3] = np.nan  # After such an action.
    valid[0, 0, 2, 4], observation[0, 0, 2, 4] = False, np.nan
    trials: Any = SimpleNamespace(
        rollout=SimpleNamespace(
            timestep=SimpleNamespace(valid=valid, observation=observation),
            action=action,
            reward=reward,
        )
    )
    found = {name: int(count) for name, count in environment_faults(trials).items()}
    assert found == {"nonfinite_reset": 1, "nonfinite_observation": 1, "nonfinite_reward": 1}


def test_evaluate_run_in_other_tasks(tmp_path):
    """A learner whose parameters do not depend on the number of arms, on more of them and for longer."""
    config = dataclasses.replace(PROBE, learner=Probe(any_number=True), num_meta_steps=1)
    run_dir = tmp_path / "run"
    train(config, run_dir, console=Silent())
    console = Silent()
    result = evaluate_run(run_dir, env=Bandit(num_arms=7), num_rounds=6, console=console)
    assert "env.num_arms=7 (trained with 5)" in console.out.getvalue()
    program, state, *_ = load(run_dir)
    assert program.config == config
    evaluation = dataclasses.replace(config.evaluation, num_rounds=6)
    other = build(dataclasses.replace(config, env=Bandit(num_arms=7), evaluation=evaluation))
    key = Executables(run_functions(other)).evaluation_key(REPORTS)
    returns = np.asarray(jax.jit(other.evaluate)(state, key))
    np.testing.assert_allclose(result["return_mean"], returns.mean(0), atol=1e-6)
    assert len(result["return_mean"]) == 6
    assert result["changed"] == {"env.num_arms": 7}


def test_user_mistakes_are_found_before_compilation(tmp_path, reference, compilations):
    file = tmp_path / "file"
    file.write_text("mine")
    finished = reference(PROBE)
    before = sorted(finished.rglob("*"))
    unknown = tmp_path / "unknown"
    unknown.mkdir()
    (unknown / "config.json").write_text('{"env": {"name": "point_robt"}}')
    compilations.clear()
    for call, message in [
        (lambda: train(PROBE, finished), "already exists"),
        (lambda: train(PROBE, file), "is a file"),
        (lambda: train(PROBE, file / "run"), "cannot be written"),
        (lambda: train(PROBE, Path("/proc/run")), "cannot be written"),
        (lambda: train(dataclasses.replace(PROBE, num_tasks=3), tmp_path / "x"), "num_tasks=3"),
        (lambda: train(dataclasses.replace(PROBE, num_tasks=10**13), tmp_path / "x"), "GiB"),
        (lambda: resume(tmp_path), "has no config.json"),
        (lambda: resume(tmp_path / "nothing"), "is not a folder"),
        (lambda: resume(unknown), "did you mean 'point_robot'"),
        (lambda: evaluate_run(finished, split="ood"), "split='ood'"),
        (lambda: evaluate_run(finished, num_tasks=1), "num_tasks=1"),
        (lambda: evaluate_run(finished, env=Bandit(num_arms=7)), "env.num_arms=7"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    assert not compilations
    assert file.read_text() == "mine"
    assert sorted(finished.rglob("*")) == before
    assert not (tmp_path / "x").exists()


def test_a_configuration_that_cannot_be_resumed_is_refused(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Unregistered(Bandit):
        name: ClassVar[str] = "unregistered"

    config = dataclasses.replace(PROBE, env=Unregistered())
    with pytest.raises(ValueError, match="register"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    folder = run_folder.create(tmp_path / "run", PROBE)
    with locked(folder.path), pytest.raises(ValueError, match="in use"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("end", [1, 7, 10, 23])
def test_what_is_due_follows_from_the_number_of_the_step(end):
    config = dataclasses.replace(PROBE, num_meta_steps=end, log_every=5)
    ends = [0]
    while ends[-1] < end:
        ends.append(chunk_end(config, ends[-1]))
    assert ends == [*range(0, end, 5), end]
    due = [after for before, after in itertools.pairwise(ends) if is_due(7, before, after)]
    assert len(due) == end // 7
    assert not any(is_due(0, before, after) for before, after in itertools.pairwise(ends))


def test_of_equals_the_last_is_the_best():
    program = build(PROBE)
    progress = Progress()
    for step, score in ((4, 0.5), (8, 0.7), (10, 0.7), (11, 0.6)):
        measured = {"return": np.full((2, 3), score)}
        progress, _ = note_evaluation(progress, program, step, measured, saved=True)
    assert progress.best_step == 10
    assert progress.best_return == pytest.approx(0.7)


def test_held_out_score_of_sequences_and_of_adaptation():
    returns = np.array([[0.0, 2.0], [2.0, 8.0]])
    program = build(PROBE)
    assert held_out_score(program, {"return": returns}) == 3.0
    adapting = program._replace(config=dataclasses.replace(PROBE, learner=MAML()))
    assert held_out_score(adapting, {"return": returns}) == 5.0
    broken = np.append(returns, [[np.inf, 9.0]], axis=0)
    assert held_out_score(adapting, {"return": broken}) == 5.0
    progress, line = note_evaluation(Progress(), program, 4, {"return": broken}, saved=True)
    assert (progress.best_return, line["num_nonfinite_tasks"]) == (3.0, 1)


def start(command: str, run_dir: Path, name: str, cache: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, __file__, command, str(run_dir), name],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, process: subprocess.Popen, seconds: float = 120):
    """Returns when the condition holds; fails if the process ends first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the process ended too early: {process.communicate()[0]}")
        time.sleep(0.005)


def has_saved_after(run_dir: Path, steps: list[int]) -> bool:
    return saved_steps(run_dir / "checkpoints")[-1:] > steps[-1:]


def test_kill_9_resumes_to_the_same_bits(tmp_path, reference, compilation_cache):
    run_dir = tmp_path / "run"
    process = start("train", run_dir, "probe", compilation_cache)
    wait_for(partial(has_saved_after, run_dir, [7]), process)
    process.kill()
    process.wait()
    resume(run_dir, console=Silent())
    assert_same_run(run_dir, reference(MANY_SAVES), MANY_SAVES)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_say_how_to_go_on(tmp_path, number, compilation_cache):
    run_dir = tmp_path / "run"
    process = start("train", run_dir, "probe", compilation_cache)
    wait_for(partial(has_saved_after, run_dir, [3]), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    assert f"stopped by {number.name}" in output
    assert f"metarl resume {run_dir}" in output
    assert saved_steps(run_dir / "checkpoints")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["probe", "maml"])
def test_kill_9_at_any_moment_resumes_to_the_same_bits(tmp_path, name, compilation_cache):
    generator = np.random.default_rng(0)
    assert start("train", tmp_path / "reference", name, compilation_cache).wait() == 0
    run_dir, command, moments = tmp_path / "run", "train", []
    for kill in range(9):
        process = start(command, run_dir, name, compilation_cache)
        wait_for((run_dir / "config.json").exists, process)
        steps = saved_steps(run_dir / "checkpoints")
        if kill:  # The first one falls before there is a checkpoint.
            wait_for(partial(has_saved_after, run_dir, steps), process)
        time.sleep(generator.uniform(0.0, 0.25))
        process.kill()
        process.communicate()
        command = "resume"
        moments.append(saved_steps(run_dir / "checkpoints")[-1:])
    assert len({*map(tuple, moments)}) > 3
    process = start("resume", run_dir, name, compilation_cache)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert_same_run(run_dir, tmp_path / "reference", CONFIGS[name])


if __name__ == "__main__":
    # Where the tests run under `nohup`, it would be ignored here too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    main(*sys.argv[1:])
