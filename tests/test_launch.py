"""Workers of a search as jobs of submitit, whose local executor stands for a cluster."""

import json
import os
import pickle
from pathlib import Path

import probes
import pytest
import submitit
from probes import Silent

from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.searches import folder as search_folder
from metarl_jax.searches import launch as launching
from metarl_jax.searches.folder import Search
from metarl_jax.searches.launch import Worker, launch, parse_job_options
from metarl_jax.searches.study import WORKER, Study

SPACE = {"outer.step_size": "1e-3..1:log"}


def joined(path: Path) -> Path:
    return search_folder.join(path, Search(probes.CHEAP, SPACE, 4, batch_size=1)).path


def test_parameters_of_jobs_are_parsed():
    options = ["timeout_min=60", "slurm_partition=gpu", "slurm_constraint=a=b"]
    found = parse_job_options(options)
    assert found == {"timeout_min": 60, "slurm_partition": "gpu", "slurm_constraint": "a=b"}
    for text in ("timeout_min", "=3", "a-b=3"):
        with pytest.raises(UserError, match=f"job='{text}' must be NAME=VALUE"):
            parse_job_options([text])


def test_what_cannot_work_is_told_in_a_line(tmp_path, monkeypatch):
    path = joined(tmp_path / "search")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"launcher='slurm'.*srun.*choose launcher='local'"):
        launch(path, "slurm", 1, {}, Silent())
    with pytest.raises(UserError, match=r"launcher='local'.*nonsense"):
        launch(path, "local", 1, {"nonsense": 1}, Silent())


def test_options_of_jobs_need_a_launcher(capsys):
    words = ["search", "rl2-bandit", "--space", "outer.learning-rate=0.1..0.2"]
    assert main([*words, "--workers", "2"]) == 2
    assert "workers=2 has no effect with launcher='none'" in capsys.readouterr().err


def test_a_worker_that_is_preempted_begins_again(tmp_path):
    """submitit pickles a job, and asks it what to put into the queue again."""
    worker = pickle.loads(pickle.dumps(Worker(str(tmp_path))))
    again = worker.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function.run_dir == str(tmp_path)


def test_a_worker_that_fails_is_reported(tmp_path, monkeypatch):
    path = joined(tmp_path / "search")
    monkeypatch.setattr(launching, "SECONDS_BETWEEN_LOOKS", 0.1)
    (path / "search.json").write_text("{")
    with pytest.raises(UserError, match=r"1 of 1 workers failed: see .*jobs/.*\.err"):
        launch(path, "local", 1, {}, Silent())


@pytest.mark.slow
def test_two_local_workers_share_a_search(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(probes.__file__).parent))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    path, console = joined(tmp_path / "search"), Silent()
    launch(path, "local", 2, {"timeout_min": 10}, console)
    assert "2 worker(s)" in console.out.getvalue()
    trials = Study(*search_folder.open_existing(path)).optuna.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert 1 <= len({trial.user_attrs[WORKER] for trial in trials}) <= 2
    batches = [json.loads((x / "results.json").read_text()) for x in (path / "batches").iterdir()]
    members = sorted(
        name for found in batches for row in found["points"] for name in row["members"]
    )
    assert members == [f"trial={n},seed=7" for n in range(4)]
    assert len(list((path / "jobs").glob("*.out"))) == 2
    assert os.listdir(path / "workers") == []
