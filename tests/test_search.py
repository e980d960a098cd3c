"""Searches: trials are never lost or counted twice, and each is the run that it would be alone."""

import dataclasses
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import probes
import pytest
from probes import Silent

from metarl_jax.cli.main import main
from metarl_jax.config import CheckpointConfig, EvaluationConfig
from metarl_jax.core.errors import UserError
from metarl_jax.runs.checkpoint import saved_steps
from metarl_jax.runs.json_files import write_json
from metarl_jax.runs.stopping import Interrupted
from metarl_jax.runs.train import train
from metarl_jax.searches import folder as search_folder
from metarl_jax.searches.folder import Search, SearchFolder
from metarl_jax.searches.search import _Follow, _members, resume_search, search
from metarl_jax.searches.space import dimensions, with_values
from metarl_jax.searches.status import results
from metarl_jax.searches.storage import check_storage
from metarl_jax.searches.study import BATCH, WORKER, Study

CONFIG = probes.CHEAP
STEP_SIZE = {"outer.step_size": "1e-3..1:log"}
STRUCTURE = STEP_SIZE | {"learner.any_number": "true,false"}
TESTS = Path(__file__).parent


def opened(path: Path, space=None, **options) -> Study:
    wanted = Search(CONFIG, space or STEP_SIZE, **options)
    return Study(search_folder.join(path, wanted), wanted)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished search whose trials are in SQLite, and the URL. To be read only."""
    path = tmp_path_factory.mktemp("search")
    url = f"sqlite:///{path}/trials.db"
    options = {"num_trials": 3, "batch_size": 3, "storage": url}
    return search(CONFIG, STEP_SIZE, path / "found", console=Silent(), **options), url


def test_the_best_trial_is_the_run_that_its_values_make_alone(finished, tmp_path):
    found, _ = finished
    best = found["best"]
    assert [row["state"] for row in found["trials"]] == ["done"] * 3
    assert best["score"] == max(row["score"] for row in found["trials"])
    alone = train(with_values(CONFIG, best["values"]), tmp_path / "alone", console=Silent())
    lines = (tmp_path / "alone" / "metrics.jsonl").read_text().splitlines()
    lines = [line for line in map(json.loads, lines) if "held_out_return" in line]
    assert best["score"] == pytest.approx(max(x["held_out_return"] for x in lines), abs=2e-4)
    again = json.loads((Path(best["run_dir"]) / "eval.json").read_text())
    assert again["return_mean"] == pytest.approx(alone["return_mean"], abs=2e-4)
    assert again["step"] == alone["step"]


def test_status_shows_the_trials_and_the_best(finished, capsys):
    found, url = finished
    assert main(["search", url, "--status"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 trials" in out
    assert f"metarl train --from {found['best']['run_dir']}" in out.replace("\n", "")
    assert main(["search", found["folder"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_a_finished_search_trains_nothing_more(finished):
    found, _ = finished
    assert resume_search(found["folder"], console=Silent()) == found


def test_another_search_in_the_folder_is_refused(finished):
    found, url = finished
    for space, config, message in [
        ({"outer.step_size": "0.1..1"}, CONFIG, "space="),
        (STEP_SIZE, dataclasses.replace(CONFIG, num_meta_steps=9), r"num_meta_steps=9 \(before 8"),
    ]:
        with pytest.raises(UserError, match=message):
            search(config, space, found["folder"], storage=url, num_trials=3)
    elsewhere = Path(found["folder"]).with_name("x") / "found"
    with pytest.raises(UserError, match="has a study 'found' with the folder"):
        search(CONFIG, STEP_SIZE, elsewhere, storage=url)


def start_worker(path: Path, log: Path) -> subprocess.Popen:
    flags = "--xla_backend_optimization_level=0"
    env = os.environ | {"PYTHONPATH": str(TESTS), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    words = [sys.executable, "-m", "metarl_jax", "search", str(path)]
    with log.open("w") as out:
        return subprocess.Popen(words, env=env, stdout=out, stderr=subprocess.STDOUT)


def wait_for(condition, processes, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def check_that_a_kill_loses_nothing(tmp_path: Path, storage: str = "") -> None:
    """Two processes on one search; one dies in the middle of its batch, and the other restores it."""
    config = dataclasses.replace(
        CONFIG,
        num_meta_steps=3000,
        log_every=100,
        evaluation=EvaluationConfig(every=1000, num_tasks=10),
        checkpoint=CheckpointConfig(every=100, keep=1),
    )
    path = tmp_path / "search"
    search_folder.join(path, Search(config, STEP_SIZE, 4, batch_size=2, storage=storage))
    logs = [tmp_path / "victim.log", tmp_path / "heir.log"]
    victim, heir = (start_worker(path, log) for log in logs)
    try:

        def batch() -> Path | None:
            lines = [x for x in logs[0].read_text().splitlines() if x.startswith(f"{path}/batches")]
            return Path(lines[-1]) if lines else None

        def has_saved() -> bool:
            mine = batch()
            return mine is not None and bool(saved_steps(mine / "checkpoints"))

        wait_for(has_saved, [victim, heir])
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        torn = batch()
        assert not (torn / "results.json").exists()
        assert heir.wait(timeout=300) == 0, logs[1].read_text()
    finally:
        for process in (victim, heir):
            process.kill()
            process.wait()
    text = logs[1].read_text()
    assert f"{torn}\nresuming from step" in text
    study = Study(*search_folder.open_existing(path))
    trials = study.optuna.get_trials()
    assert [t.state.name for t in trials] == ["COMPLETE"] * 4
    assert len({t.user_attrs[WORKER] for t in trials if t.user_attrs[BATCH] == torn.name}) == 1
    batches = [json.loads((p / "results.json").read_text()) for p in (path / "batches").iterdir()]
    members = sorted(x for found in batches for row in found["points"] for x in row["members"])
    assert members == [f"trial={n},seed=7" for n in range(4)]
    assert {found["step"] for found in batches} == {3000}


def test_a_killed_worker_loses_nothing(tmp_path):
    check_that_a_kill_loses_nothing(tmp_path)


@pytest.fixture
def postgres_url():
    """A server of its own, that listens on a socket in a temporary folder."""
    pytest.importorskip("psycopg", reason="needs psycopg, the driver of PostgreSQL")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("no PostgreSQL server is installed")
    user = None
    if os.getuid() == 0:  # the server refuses to be root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("PostgreSQL cannot run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path must be short
    if user is not None:
        shutil.chown(folder, user)

    def call(program, *words):
        command = [programs[-1] / program, "-D", folder / "data", *words]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    call("initdb", "-U", "postgres", "-A", "trust")
    options = f"-k {folder} -c listen_addresses="
    call("pg_ctl", "-w", "-l", folder / "log", "-o", options, "start")
    yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    call("pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_in_postgresql(tmp_path, postgres_url):
    check_that_a_kill_loses_nothing(tmp_path, check_storage(postgres_url))


def test_batches_are_taken_over_from_the_dead_alone(tmp_path):
    study = opened(tmp_path / "s", num_trials=5, batch_size=3)
    with study.folder.worker() as mine, study.folder.worker() as other:
        first = study.next_batch(mine)
        assert study.next_batch(mine) == first
        second = study.next_batch(other)
        assert [t.number for t in study.running(first)] == [0, 1, 2]
        assert [t.number for t in study.running(second)] == [3, 4]
        study.tell(1, 0.5)
        with study.folder.worker() as third:
            assert study.next_batch(third) is None
    with study.folder.worker() as heir:
        assert study.next_batch(heir) == first
        assert [t.number for t in study.running(first)] == [0, 2]
        for trial in study.running(first):
            study.tell(trial.number, 0.1)
        assert study.next_batch(heir) == second
        assert not study.is_done()
        study.tell(3, 0.3)
        study.tell(4, None)
        assert study.is_done()
        assert study.next_batch(heir) is None
    rows = results(study)["trials"]
    assert [row["number"] for row in rows[:3]] == [1, 3, 0]
    assert {row["number"]: row["state"] for row in rows}[4] == "diverged"


def test_a_trial_that_nobody_began_is_dropped_and_replaced(tmp_path):
    study = opened(tmp_path / "s", num_trials=2)
    study.optuna.ask()  # as by a worker that was killed right after it
    with study.folder.worker() as me:
        batch = study.next_batch(me)
    assert [t.number for t in study.running(batch)] == [1, 2]
    assert len(study.trials()) == 2


def test_other_fields_make_groups_of_their_own(tmp_path):
    study = opened(tmp_path / "s", STRUCTURE, num_trials=12, batch_size=12)
    with study.folder.worker() as me:
        study.next_batch(me)
    groups: dict[str, set] = {}
    for trial in study.trials():
        structure = study.structure(trial.params)["learner.any_number"]
        groups.setdefault(trial.user_attrs[BATCH], set()).add(structure)
        assert set(study.floats(trial.params)) == {"outer.step_size"}
    assert sorted(map(sorted, groups.values())) == [[False], [True]]


def test_two_workers_begin_with_different_values(tmp_path):
    study = opened(tmp_path / "s", num_trials=4, batch_size=2)
    with study.folder.worker() as mine, study.folder.worker() as other:
        study.next_batch(mine)
        study.next_batch(other)
    assert len({t.params["outer.step_size"] for t in study.trials()}) == 4


def test_values_that_do_not_go_together_are_no_trial_to_train(tmp_path):
    space = {"outer.step_size": "0.1..1", "num_rounds": "2", "advantage.baseline": "none,linear"}
    study = opened(tmp_path / "s", space, num_trials=12, batch_size=12)
    with study.folder.worker() as me:
        batch = study.next_batch(me)
    states = {t.params["advantage.baseline"]: t.state.name for t in study.trials()}
    assert states == {"none": "RUNNING", "linear": "FAIL"}
    assert batch is not None
    assert len(study.trials()) == 12


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_the_poorest_trial_is_ended_by_each_pruner(pruner, tmp_path):
    study = opened(tmp_path / "s", num_trials=12, batch_size=12, pruner=pruner)
    with study.folder.worker() as me:
        batch = study.next_batch(me)
    for trial in study.running(batch)[:-1]:
        for step in (2, 4, 6):
            study.report(trial.number, step, 0.9)
        study.tell(trial.number, 0.9)
    assert any(study.report(11, step, 0.1) for step in (2, 4, 6))
    assert study.trials()[11].state.name == "PRUNED"


def test_poor_trials_are_ended_early_and_a_batch_with_them(tmp_path):
    study = opened(tmp_path / "s", num_trials=6, batch_size=3, pruner="asha")
    assert isinstance(study.optuna.pruner, optuna.pruners.SuccessiveHalvingPruner)
    with study.folder.worker() as me:
        good, bad = study.next_batch(me), None
        stops = []
        for score in (0.9, 0.1):
            batch = good if bad is None else bad
            members = {t.number: _members(study, batch, t.number) for t in study.running(batch)}
            follow = _Follow(study, members)
            for (member,) in members.values():
                member.path.mkdir(parents=True)
                write_json(member.metrics, {})
                member.metrics.write_text(json.dumps({"step": 2, "held_out_return": score}) + "\n")
            stops.append(follow.on_evaluation({"step": 2}))
            for trial in study.running(batch):
                study.tell(trial.number, score)
            bad = study.next_batch(me)
    assert stops == [False, True]
    states = [t.state.name for t in study.trials()]
    assert states == ["COMPLETE"] * 3 + ["PRUNED"] * 3


def test_an_interrupted_worker_says_how_to_go_on(tmp_path, monkeypatch):
    def stopped(*args, **options):
        raise Interrupted("stopped by SIGTERM", "to continue: metarl resume s/batches/00000")

    monkeypatch.setattr("metarl_jax.searches.search.train_sweep", stopped)
    path = tmp_path / "s"
    with pytest.raises(
        Interrupted, match=f"SIGTERM; to go on with the search: metarl search {path}"
    ):
        search(CONFIG, STEP_SIZE, path, console=Silent(), num_trials=2)
    states = {row["state"] for row in results(Study(*search_folder.open_existing(path)))["trials"]}
    assert states == {"stopped"}


def test_a_field_known_at_compilation_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match=r"learner\.scale must be known at compilation"):
        search(CONFIG, {"learner.scale": "0.5..2"}, tmp_path / "s", console=Silent())
    assert not (tmp_path / "s").exists()


def test_dimensions():
    space = {"outer.step_size": "0.1,1", "num_rounds": "2..8:log", "learner.any_number": "true"}
    floats, ints, truth = dimensions(CONFIG, space)
    assert (floats.choices, floats.is_float) == ((0.1, 1.0), True)
    assert (ints.ends(), ints.interval.is_log, ints.is_float) == ((2, 8), True, False)
    assert truth.choices == (True,)


def test_without_optuna_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'metarl_jax\[search\]'"):
        search(CONFIG, STEP_SIZE, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_urls_are_kept_without_secrets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_storage("sqlite:///x.db") == f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(UserError, match="has a password") as error:
        check_storage("postgresql://me:secret@host/name")
    assert "secret" not in str(error.value)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is no search"):
        search_folder.join(tmp_path, Search(CONFIG, STEP_SIZE))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert not SearchFolder(tmp_path).search.exists()
