"""Sweeps: every member is the run that it would have been alone, and none disturbs another."""

import dataclasses
import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import probes
import pytest
from probes import Silent, metrics_lines
from rich.console import Console

from metarl_jax.config import Config, RuntimeConfig
from metarl_jax.console.tables import show
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.ppo import PPO
from metarl_jax.program.build import build
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs.checkpoint import load_best, load_latest, saved_steps
from metarl_jax.runs.evaluate import evaluate_run
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.locks import locked
from metarl_jax.runs.pace import Pace
from metarl_jax.runs.restore import load
from metarl_jax.runs.stopping import Diverged, Interrupted
from metarl_jax.runs.train import resume, train
from metarl_jax.runs.writers import open_all
from metarl_jax.sweeps import folder as sweep_folder
from metarl_jax.sweeps.grid import grid_points, parse_axis, set_field
from metarl_jax.sweeps.ranking import _row, results_table
from metarl_jax.sweeps.sweep import Sweep, _labels, sweep_functions
from metarl_jax.sweeps.train import _opened, resume_sweep, train_sweep


def draw(evaluation, path):
    """A picture that is drawn once all results are there."""
    assert (path.parent / "eval.json").exists()
    assert not sweep_folder.is_sweep(path.parents[2]) or (path.parents[2] / "results.json").exists()
    path.write_bytes(b"a curve")


FAKE_PLOTS = SimpleNamespace(adaptation_curve=draw)


CHEAP = dataclasses.replace(probes.CHEAP, runtime=RuntimeConfig(num_devices=2))
TINY_MAML = dataclasses.replace(
    CHEAP,
    env=PointRobot(horizon=5),
    learner=MAML(hidden_sizes=(8,)),
    outer=PPO(num_epochs=2),
    advantage=AdvantageConfig(),
    num_episodes=4,
    normalize_observations=True,
)
SWEEP = Sweep(CHEAP, [{"outer.step_size": 0.1}, {"outer.step_size": 1.0}], num_seeds=2)


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "metarl_jax.analysis.plots", FAKE_PLOTS)
        yield


@pytest.fixture(scope="module")
def finished(no_pictures, tmp_path_factory):
    """The folder of `SWEEP`, trained to its end. To be read only."""
    run_dir = tmp_path_factory.mktemp("finished") / "sweep"
    train_sweep(SWEEP, run_dir, console=Silent())
    return run_dir


def load_member(run_dir: Path, config: Config, which=load_latest):
    """The checkpoint of a run, in the shapes of its configuration."""
    abstract_state = Executables(run_functions(build(config))).abstract_state
    return which(run_dir / "checkpoints", abstract_state, on_damage=pytest.fail)


def assert_close(actual, expected):
    """Two JSON values: the same names, and numbers that agree to float tolerance."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if isinstance(b, str):
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


def assert_same_run(run_dir: Path, expected: Path, config: Config, trees_close):
    for name in ("config.json", "eval.json"):
        assert_close(*(json.loads((path / name).read_text()) for path in (run_dir, expected)))
    for line, expected_line in zip(metrics_lines(run_dir), metrics_lines(expected), strict=True):
        assert_close(line, expected_line)
    found, wanted = load_member(run_dir, config), load_member(expected, config)
    assert found.step == wanted.step
    trees_close(found.state, wanted.state, rtol=1e-3, atol=1e-4)


def test_a_member_is_the_run_that_it_would_be_alone(tmp_path, finished, trees_close):
    member = SWEEP.members()[3]
    train(member.config, tmp_path / "alone", console=Silent())
    mine = finished / "members" / member.name
    assert_same_run(mine, tmp_path / "alone", member.config, trees_close)


def two_steps(functions) -> list:
    """State and metrics after two meta-steps, each by member."""
    executables = Executables(functions)
    state, metrics, _ = executables.chunk(executables.init(), 2)
    return [executables.by_member(tree) for tree in (state, metrics)]


def assert_like_alone(sweep: Sweep, index: int, trees_close):
    """This member in the sweep does as it does alone, on one device."""
    config = sweep.members()[index].config
    config = dataclasses.replace(config, runtime=RuntimeConfig(num_devices=1))
    alone = two_steps(run_functions(build(config)))
    for together, expected in zip(two_steps(sweep_functions(sweep)), alone, strict=True):
        assert len(together) == len(sweep.members())
        trees_close(together[index], expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("group_size", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_member_that_adapts_by_gradient_is_the_run_alone(trees_close, group_size):
    config = dataclasses.replace(TINY_MAML, runtime=RuntimeConfig(num_devices=1))
    grid = tuple((name, (0.03, 0.3)) for name in ("learner.inner_lr", "learner.log_std_init"))
    assert_like_alone(Sweep(config, grid_points(grid), group_size=group_size), 2, trees_close)


@pytest.mark.parametrize(
    ("num_devices", "group_size"), [pytest.param(1, 3, marks=pytest.mark.slow), (3, 1), (8, 8)]
)
def test_neither_devices_nor_groups_change_a_result(num_devices, group_size, trees_close):
    runtime = RuntimeConfig(num_devices=num_devices)
    config = dataclasses.replace(CHEAP, runtime=runtime, num_tasks=24)
    sweep = Sweep(config, SWEEP.points, num_seeds=2, group_size=group_size)
    assert_like_alone(sweep, 3, trees_close)


def test_members_are_named_by_what_differs():
    grid = (("advantage.discount", (0.5,)), ("outer.step_size", (3e-4, 1.0)))
    names = [member.name for member in Sweep(CHEAP, grid_points(grid), 2).members()]
    assert names[0] == "discount=0.5,step_size=0.0003,seed=7"
    assert names[3] == "discount=0.5,step_size=1,seed=8"
    assert [member.name for member in Sweep(CHEAP).members()] == ["seed=7"]


def test_members_whose_values_are_long_are_numbered(tmp_path, monkeypatch):
    """What they differ by is in their configuration."""
    fields = ("entropy", "final_entropy", "value", "kl", "first_round_entropy")
    names = [f"outer.{name}_coefficient_of_the_loss" for name in fields]
    labels = _labels([dict.fromkeys(names, i / 7) for i in range(600)])
    assert [labels[0], labels[599]] == [["point=001"], ["point=600"]]
    grid = (("advantage.discount", (0.1234567, 0.5)), ("outer.step_size", (0.1234567, 0.5)))
    monkeypatch.setattr("metarl_jax.sweeps.sweep.LONGEST_LABEL", 30)
    sweep = Sweep(CHEAP, grid_points(grid), 2)
    folders = sweep_folder.make_members(sweep_folder.create(tmp_path / "sweep", sweep), sweep)
    assert folders[3].path.name == "point=2,seed=8"
    config = json.loads(folders[3].config.read_text())
    assert (config["advantage"]["discount"], config["outer"]["step_size"]) == (0.1234567, 0.5)


def test_members_hold_no_file_open(tmp_path):
    """Nor can one of them be trained alone meanwhile, or the sweep while one of them is."""
    sweep = Sweep(CHEAP, num_seeds=30)
    folder, functions = sweep_folder.create(tmp_path / "sweep", sweep), sweep_functions(sweep)
    before = len(os.listdir("/dev/fd"))
    with _opened(folder, sweep, functions, Silent()) as run:
        writers = open_all(run.folders, (), 0, Silent().warn)
        writers[0].on_chunk({"step": 2, "x": 1.0})
        assert len(os.listdir("/dev/fd")) <= before + 2
        with pytest.raises(ValueError, match="in use by a process"):
            locked(run.folders[3].path).__enter__()
    with (
        locked(run.folders[3].path),
        pytest.raises(ValueError, match=r"seed=10.* in use by a process"),
    ):
        _opened(folder, sweep, functions, Silent()).__enter__()


def test_all_members_are_one_executable(compilations):
    executables = Executables(sweep_functions(SWEEP))
    state = executables.init()
    compilations.clear()
    executables.compile_chunk(2)
    assert len(compilations) == executables.num_compiled == 1
    for _ in range(3):
        state, metrics, _ = executables.chunk(state, 2)
    assert len(compilations) == 1
    assert metrics["env_steps"].shape == (4, 2)


def test_sweeps_over_other_values_are_the_same_program():
    """So that a search finds the program of its first batch again, for the later ones."""

    def lowered(sweep: Sweep) -> str:
        functions = sweep_functions(sweep)
        states = jax.eval_shape(functions.init, functions.values, functions.key)
        chunk = jax.jit(lambda values, states: functions.chunk(values, states, np.int32(1), 1))
        return chunk.lower(functions.values, states).as_text()

    others = [{"outer.step_size": 0.2}, {"outer.step_size": 0.7}]
    config = dataclasses.replace(CHEAP, seed=5)
    assert lowered(SWEEP) == lowered(Sweep(config, others, num_seeds=2))


def test_a_sweep_folder_holds_everything(finished):
    results = json.loads((finished / "results.json").read_text())
    rows = results["points"]
    assert [len(row["members"]) for row in rows] == [2, 2]
    assert rows[0]["score"] >= rows[1]["score"]
    for row in rows:
        assert row["score_ci95"][0] <= row["score"] <= row["score_ci95"][1]
        assert len(row["return_mean"]) == len(row["ci95"]) == CHEAP.num_rounds
        assert row["total_mean"] == pytest.approx(np.sum(row["return_mean"]))
        assert row["total_ci95"][0] <= row["total_mean"] <= row["total_ci95"][1]
        for name in row["members"]:
            folder = finished / "members" / name
            config = json.loads((folder / "config.json").read_text())
            assert config["outer"]["step_size"] == row["values"]["outer.step_size"]
            assert (folder / "adaptation_curve.png").exists()
            assert list(folder.glob("events.out.tfevents*"))
            assert [start["step"] for start in RunFolder(folder).starts()] == [0]
            evaluation = json.loads((folder / "eval.json").read_text())
            assert evaluation["controls"]["random"]
            index = row["members"].index(name)
            assert row["score_by_seed"][index] == pytest.approx(np.mean(evaluation["return_mean"]))


def test_the_best_and_the_last_state_of_a_member_can_be_evaluated(finished):
    for member in SWEEP.members():
        folder = finished / "members" / member.name
        scores = {
            x["step"]: x["held_out_return"] for x in metrics_lines(folder) if "eval_return" in x
        }
        best = max(scores, key=lambda step: (scores[step], step))
        assert saved_steps(folder / "checkpoints") == sorted({best, 8})
        assert load_member(folder, member.config, load_best).step == best
        reported = json.loads((folder / "eval.json").read_text())
        assert (reported["checkpoint"], reported["step"], reported["last_step"]) == (
            "best",
            best,
            8,
        )
        assert_close(evaluate_run(folder, console=Silent()), reported)
    with pytest.raises(ValueError, match="is the folder of a sweep"):
        evaluate_run(finished)


def test_a_damaged_checkpoint_of_a_sweep_is_bad_input_for_its_members(tmp_path, finished):
    shutil.copytree(finished, tmp_path / "sweep")
    member = tmp_path / "sweep/members" / SWEEP.members()[0].name
    shutil.rmtree(member / "checkpoints")
    (tmp_path / "sweep/checkpoints/8/state/manifest.ocdbt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is damaged.*choose another one of"):
        load(member, 8)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def assert_members_can_be_looked_at(run_dir: Path):
    """In the checkpoints of a sweep that has not ended; but none of them is trained alone."""
    together = Executables(sweep_functions(SWEEP)).abstract_state
    states = load_latest(run_dir / "checkpoints", together, on_damage=pytest.fail).state
    for index, member in enumerate(SWEEP.members()):
        folder = run_dir / "members" / member.name
        lines = metrics_lines(folder)
        scores = [(x["held_out_return"], x["step"]) for x in lines if "eval_return" in x]
        assert evaluate_run(folder, console=Silent())["step"] == max(scores)[1]
        _, state, *_ = load(folder, "last")
        logits = state.meta.params["logits"]
        np.testing.assert_array_equal(logits, states.meta.params["logits"][index])
        with pytest.raises(ValueError, match=f"metarl resume {run_dir}`"):
            resume(folder)


@pytest.mark.parametrize("stop_at", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_an_interrupted_sweep_resumes_to_the_same_bits(tmp_path, finished, monkeypatch, stop_at):
    """Within a chunk of two meta-steps, or after one."""
    run_dir = tmp_path / "run"
    monkeypatch.setattr(Pace, "num_steps", lambda self, left: 1)
    with pytest.raises(Interrupted, match=f"step {stop_at}: metarl resume {run_dir}"):
        train_sweep(SWEEP, run_dir, console=Silent({stop_at: interrupt}))
    assert_members_can_be_looked_at(run_dir)
    shutil.rmtree(run_dir / "members" / SWEEP.members()[0].name)  # Killed while it was made.
    (run_dir / "members" / SWEEP.members()[0].name).mkdir()
    results = resume_sweep(run_dir, console=Silent())
    assert results == json.loads((finished / "results.json").read_text())
    member = SWEEP.members()[1]
    paths = [path / "members" / member.name for path in (run_dir, finished)]
    states = [load_member(path, member.config).state for path in paths]
    bits = [
        [np.asarray(jax.random.key_data(x.key)), *jax.tree.leaves(x.meta.params)] for x in states
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*bits, strict=True))
    assert metrics_lines(paths[0]) == metrics_lines(paths[1])


def test_a_finished_sweep_is_only_evaluated(tmp_path, finished):
    run_dir = tmp_path / "run"
    shutil.copytree(finished, run_dir)
    (run_dir / "results.json").unlink()
    console = Silent()
    results = resume_sweep(run_dir, console=console)
    assert "has ended" in console.out.getvalue()
    assert results == json.loads((finished / "results.json").read_text())
    resume(run_dir / "members" / SWEEP.members()[2].name, console=console)


def test_a_longer_sweep_is_the_longer_sweep(tmp_path, finished):
    run_dir = tmp_path / "run"
    short = dataclasses.replace(CHEAP, num_meta_steps=4)
    train_sweep(dataclasses.replace(SWEEP, config=short), run_dir, console=Silent())
    written = (run_dir / "sweep.json").read_text()
    values = json.loads(written)
    values["config"]["outer"]["noise"] = 7.0
    (run_dir / "sweep.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"sweep\.json .*outer\.noise=7\.0 \(trained with 1\.0\)"):
        resume_sweep(run_dir, console=Silent())
    (run_dir / "sweep.json").write_text(written)
    results = resume_sweep(run_dir, num_meta_steps=CHEAP.num_meta_steps, console=Silent())
    assert results == json.loads((finished / "results.json").read_text())
    assert sweep_folder.open_existing(run_dir)[1] == SWEEP
    for member in SWEEP.members():
        assert run_folder.open_existing(run_dir / "members" / member.name)[1] == member.config


def test_a_diverged_member_is_marked_and_stops_no_other(tmp_path):
    config = dataclasses.replace(CHEAP, max_skipped=3)
    sweep = Sweep(config, [{"outer.break_after": 1.0}, {"outer.break_after": 1e6}])
    console = Silent()
    results = train_sweep(sweep, tmp_path / "run", console=console)
    diverged = {r["values"]["outer.break_after"]: r["num_diverged"] for r in results["points"]}
    assert diverged == {1.0: 1, 1e6: 0}
    assert "1 of 1 diverged" in console.out.getvalue()
    found = [load_member(tmp_path / "run" / "members" / m.name, m.config) for m in sweep.members()]
    assert [x.progress[0].diverged_step for x in found] == [4, None]
    assert [int(x.state.opt_state[0].count) for x in found] == [1, 8]


def test_a_sweep_of_which_every_member_diverges_stops(tmp_path):
    config = dataclasses.replace(CHEAP, max_skipped=3)
    with pytest.raises(Diverged, match="every member of the sweep diverged"):
        train_sweep(
            Sweep(config, [{"outer.break_after": 0.0}, {"outer.break_after": 1.0}]),
            tmp_path / "run",
            console=Silent(),
        )


def test_user_mistakes_are_found_before_compilation(tmp_path, finished, compilations):
    before = sorted(finished.rglob("*"))
    small = dataclasses.replace(CHEAP, seed=2**32 - 1)
    compilations.clear()
    for sweep, message in [
        (Sweep(CHEAP, [{"outer.step_siz": 0.1}]), "did you mean 'outer.step_size'"),
        (Sweep(CHEAP, [{"num_tasks": 4.0}]), "is of type int"),
        (
            Sweep(CHEAP, [{"advantage.discount": 0.5}, {"advantage.discount": 1.5}]),
            "advantage.discount=1.5",
        ),
        (Sweep(CHEAP, [{"advantage.discount": 0.5}, {"outer.noise": 0.5}]), "other fields"),
        (Sweep(CHEAP, []), "no point"),
        (
            Sweep(CHEAP, [{"advantage.discount": 0.5}, {"advantage.discount": 0.5 + 1e-9}]),
            "six digits",
        ),
        (
            Sweep(CHEAP, [{"outer.noise": 3.0}, {"outer.noise": 4.0}]),
            "must be known at compilation",
        ),
        (
            Sweep(CHEAP, [{"learner.scale": 1.0}, {"learner.scale": 2.0}]),
            "must be known at compilation",
        ),
        (Sweep(CHEAP, num_seeds=0), "num_seeds=0"),
        (Sweep(CHEAP, num_seeds=2, group_size=0), "group_size=0"),
        (Sweep(small, num_seeds=2), "seed=4294967296"),
    ]:
        with pytest.raises(ValueError, match=message):
            train_sweep(sweep, tmp_path / "new", console=Silent())
    with pytest.raises(ValueError, match="already exists"):
        train_sweep(SWEEP, finished, console=Silent())
    with pytest.raises(ValueError, match="is not the folder of a sweep"):
        resume_sweep(tmp_path)
    assert not (tmp_path / "new").exists()
    assert sorted(finished.rglob("*")) == before
    assert len(compilations) < 30  # Keys, but no program.


def test_a_sweep_is_written_and_read():
    assert sweep_folder._from_dict(json.loads(json.dumps(sweep_folder._to_dict(SWEEP)))) == SWEEP


def test_points_with_names():
    points = [{"outer.step_size": 0.1}, {"outer.step_size": 0.1}]
    named = Sweep(CHEAP, points, names=["trial=3", "trial=5"])
    named.validate()
    assert [member.name for member in named.members()] == ["trial=3,seed=7", "trial=5,seed=7"]
    assert sweep_folder._from_dict(json.loads(json.dumps(sweep_folder._to_dict(named)))) == named
    for names, message in [(["a"], "one for each of 2 points"), (["a", "a"], "a name twice")]:
        with pytest.raises(ValueError, match=message):
            Sweep(CHEAP, points, names=names).validate()


def test_axes_of_a_grid():
    points = grid_points([("a", (1.0, 2.0)), ("b", (3.0,))])
    assert points == [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 3.0}]
    for axes in ([("a", (1.0, 1.0))], [("a", (1.0,)), ("a", (2.0,))]):
        with pytest.raises(ValueError, match="given twice"):
            grid_points(axes)
    assert parse_axis(CHEAP, "outer.step-size=1e-3,2") == ("outer.step_size", (1e-3, 2.0))
    config = set_field(CHEAP, "advantage.discount", 0.5)
    assert config.advantage.discount == 0.5
    assert isinstance(config.env, TaskDistribution)


def test_tasks_without_a_finite_return_do_not_count_in_the_ranking():
    returns = np.random.default_rng(0).normal(size=(2, 4, 3))
    returns[1, 3] = returns[1, :3].mean(axis=0)
    broken = returns.copy()
    broken[1, 3, 0] = np.inf  # In a round that is not counted.
    expected = _row({}, returns, slice(2, 3))
    assert expected["score"] == pytest.approx(returns[..., 2].mean())
    found = _row({}, broken, slice(2, 3))
    for name in set(expected) - {"values"}:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_episodes_that_did_not_end_do_not_count_in_the_ranking(num_seeds):
    """Trials by steps: no episode of some tasks came to its end in the later rounds."""
    returns = np.random.default_rng(0).normal(size=(num_seeds, 5, 3))
    returns[:, :3, 1:] = np.nan
    row = _row({}, returns, slice(0, 3))
    np.testing.assert_allclose(row["return_mean"][1], returns[:, 3:, 1].mean())
    for name in ("score", "score_ci95", "ci95", "total_ci95"):
        assert np.isfinite(row[name]).all(), name
    nobody = _row({}, np.full((num_seeds, 5, 3), np.nan), slice(0, 3))
    assert np.isnan(nobody["score"])


def test_the_ranked_table_leaves_out_rounds_before_what_it_is_ranked_by():
    """Two fields of the grid and three rounds, in 80 columns."""
    ends = [-12345.0, -1234.5]
    row = {"score": -6789.0, "score_ci95": ends, "return_mean": [-1.0] * 3, "num_diverged": 2}
    row["values"] = {"learner.inner_lr": 0.000123, "outer.learning_rate": 0.000123}
    results = {"num_tasks": 9, "split": "test", "num_seeds": 4, "step": 7, "counted_rounds": [2]}
    results["round_label"] = "round"
    table = results_table(results | {"points": [row, row]})
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    show(table, console)
    text = console.file.getvalue()
    for word in ("-6789", "(2 of 4 diverged)", "-12345 to -1234", "inner_lr", "0.000123", "seeds"):
        assert word in text
    assert "round 1 " not in text
    assert max(map(len, text.splitlines())) <= 80
    log = Console(file=io.StringIO(), width=80)
    show(table, log)
    assert "round 1 " in log.file.getvalue()
