"""Writers of metrics: those of the library, those of users, and what happens when one raises."""

import json
import sys
import types

import pytest
from probes import Probe, RandomWalk

from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.errors import UserError
from metarl_jax.envs.bandit import Bandit
from metarl_jax.runs import writers
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.train import train

LINE = {"step": 3, "episode_return": [1.0, 2.0], "env": "x", "eval_ci95": [[0.0, 1.0]]}
NUMBERS = {
    "episode_return/round_1": 1.0,
    "episode_return/round_2": 2.0,
    "eval_ci95/round_1/low": 0.0,
    "eval_ci95/round_1/high": 1.0,
}
OWN = """
from metarl_jax.runs.writers.base import Writer

class Lines(Writer):
    def on_chunk(self, line):
        if line["step"] == 2:
            raise OSError("no network")
        with (self.source.path / "own.txt").open("a") as file:
            print(line["step"], file=file)
"""


@pytest.fixture
def members(tmp_path):
    """The folders of a sweep of two."""
    (tmp_path / "ten").mkdir()
    (tmp_path / "ten" / "sweep.json").write_text("{}")
    folders = [RunFolder(tmp_path / "ten" / "members" / name) for name in ("seed=0", "seed=1")]
    for folder in folders:
        folder.path.mkdir(parents=True)
        folder.config.write_text('{"seed": 0, "env": {"name": "bandit"}}')
    return folders


@pytest.fixture
def wandb(monkeypatch):
    """A module in the place of wandb; the runs that were begun."""
    begun = []

    class Run:
        def __init__(self, options):
            self.options, self.logged, self.is_finished = options, [], False

        def log(self, numbers, step):
            self.logged.append((step, numbers))

        def finish(self):
            self.is_finished = True

    def init(**options):
        begun.append(Run(options))
        return begun[-1]

    module = types.SimpleNamespace(init=init, __spec__=object())
    monkeypatch.setitem(sys.modules, "wandb", module)
    return begun


def test_members_of_a_sweep_are_a_group_in_wandb_and_are_gone_on_with(members, wandb, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for step in (2, 5):
        for writer in writers.open_all(members, ("wandb",), step, pytest.fail):
            writer.on_chunk(LINE)
            writer.close()
    first, second, again, _ = wandb
    assert first.options["group"] == second.options["group"] == "ten"
    assert [run.options["name"] for run in (first, second)] == ["seed=0", "seed=1"]
    assert first.options["config"]["env"] == {"name": "bandit"}
    assert first.options["project"] == "metarl_jax"
    assert first.options["id"] == again.options["id"] != second.options["id"]
    assert first.logged == [(3, NUMBERS)]
    assert first.is_finished
    assert json.loads(members[1].metrics.read_text().splitlines()[-1]) == LINE


class MlflowServer:
    """In the place of MLflow: what was recorded, in all processes."""

    def __init__(self):
        self.runs = {}

    def client(self):
        return self

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return name

    def create_run(self, experiment, run_name, tags):
        found = f"run{len(self.runs)}"
        self.runs[found] = {"experiment": experiment, "name": run_name, "tags": tags}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=found))

    def log_batch(self, run, metrics=(), params=()):
        self.runs[run].setdefault("metrics", []).extend(metrics)
        self.runs[run].setdefault("params", []).extend(params)

    def update_run(self, run, status):
        self.runs[run]["status"] = status

    def set_terminated(self, run):
        self.runs[run]["status"] = "FINISHED"


def test_mlflow_gets_configuration_and_numbers(members, monkeypatch):
    server = MlflowServer()
    entities = types.SimpleNamespace(
        Param=lambda name, value: (name, value),
        Metric=lambda name, value, time, step: (name, value, step),
    )
    module = types.SimpleNamespace(MlflowClient=server.client, entities=entities)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    for step in (2, 5):
        (writer,) = writers.open_all(members[:1], ("mlflow",), step, pytest.fail)
        writer.on_chunk(LINE)
        writer.close()
    (run,) = server.runs.values()
    assert (run["experiment"], run["name"], run["tags"]) == (
        "metarl_jax",
        "seed=0",
        {"group": "ten"},
    )
    assert run["params"] == [("seed", "0"), ("env.name", "bandit")]
    assert run["metrics"] == 2 * [(name, x, 3) for name, x in NUMBERS.items()]
    assert run["status"] == "FINISHED"


def test_what_is_not_installed_is_told_with_the_remedy(small_config, monkeypatch):
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"log='wandb' needs .* pip install 'metarl_jax\[wandb\]'"):
        writers.checked(small_config(log=("wandb",)))
    with pytest.raises(UserError, match="did you mean 'wandb'"):
        writers.checked(small_config(log=("wandbb",)))


def test_training_goes_on_without_a_writer_of_a_user_that_raises(tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN)
    config = Config(
        env=Bandit(),
        learner=Probe(),
        outer=RandomWalk(),
        advantage=AdvantageConfig(baseline="none", credit="trial", normalization="none"),
        num_meta_steps=3,
        num_tasks=2,
        num_episodes=1,
        log_every=1,
        log=(f"{tmp_path / 'own.py'}:Lines",),
        evaluation=EvaluationConfig(every=0, num_tasks=2),
        runtime=RuntimeConfig(num_devices=1),
    )
    train(config, tmp_path / "run")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "has failed" in line]
    assert len(warnings) == 1
    assert "OSError: no network" in warnings[0]
    assert (tmp_path / "run" / "own.txt").read_text() == "1\n"
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in metrics} == {1, 2, 3}
