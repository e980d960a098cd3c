"""The command line: what it accepts, what it refuses and how, and its exit codes."""

import dataclasses
import io
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from metarl_jax import config as configs
from metarl_jax import envs, experiments
from metarl_jax.cli import doctor
from metarl_jax.cli.list import as_json
from metarl_jax.cli.main import COMMANDS, main
from metarl_jax.cli.options import last_value
from metarl_jax.cli.run_options import RunOptions, find_subject, parse_run
from metarl_jax.config import RuntimeConfig, from_dict
from metarl_jax.console.text import reflow
from metarl_jax.core.jax_settings import fixed_settings
from metarl_jax.core.registry import Entry, Registry, suggestion
from metarl_jax.core.writing import WriteError
from metarl_jax.defaults import default_config
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.outer.trpo import TRPO
from metarl_jax.runs import evaluate, folder, restore, stopping
from metarl_jax.runs import train as loop
from metarl_jax.runs.budget import Budget
from metarl_jax.runs.new_folder import TakenError
from metarl_jax.sweeps import folder as sweep_folder
from metarl_jax.sweeps import train as sweep_train

PRESET = "maml-point-robot"
TINY = (
    "--num-meta-steps 2 --num-tasks 4 --num-rounds 2 --num-episodes 2 --log-every 2 "
    "--evaluation.num-tasks 4 --learner.hidden-size 4 --outer.num-minibatches 1"
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The command line leaves the devices of the tests as they are.
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")


def options(*args, preset=PRESET):
    subject = find_subject("train", preset, args)
    return parse_run(RunOptions, subject, args, prog="metarl train", description="")


def test_flags_change_the_preset():
    config = options("--learner.inner-lr", "0.05", "--env.horizon=50", "--num_tasks", "8").config()
    assert config.learner.inner_lr == 0.05
    assert config.env.horizon == 50
    assert config.num_tasks == 8
    assert config.outer == experiments.get(PRESET).outer
    assert config.name == PRESET


@pytest.mark.parametrize("preset", experiments.names())
def test_no_flags_give_the_preset_itself(preset):
    assert options(preset=preset).config() == experiments.get(preset)


@pytest.mark.parametrize("flags", [("--env", "grid_navi"), ("--env=grid_navi",)])
def test_a_part_is_switched_by_name(flags):
    config = options(*flags).config()
    assert type(config.env).name == "grid_navi"
    assert options("--learner", "rl2", "--learner.hidden-size", "7").learner.hidden_size == 7


def test_naming_the_part_that_is_there_keeps_its_options():
    assert options("--env", "point_robot").env == experiments.get(PRESET).env


def test_a_learner_has_defaults_that_follow_the_options_of_its_environment():
    config = options("--env", "grid_navi", preset="rl2").config()
    assert config == default_config("rl2", "grid_navi")
    assert (config.name, config.advantage.credit) == ("rl2-grid_navi", "trial")
    longer = options("--env", "point_robot", "--env.horizon", "10", preset="rl2").config()
    assert longer == default_config("rl2", PointRobot(horizon=10))
    changed = options("--env=bandit", "--num-rounds=3", "--outer", "trpo", preset="maml").config()
    assert changed.num_rounds == 3
    assert changed.outer == TRPO()


def test_a_run_gives_its_configuration_to_another():
    config = dataclasses.replace(experiments.get("rl2-bandit"), num_tasks=64, name="mine")
    run = folder.create(Path("run"), config).path
    args = ["--from", str(run), "--learner.hidden-size", "32"]
    again = parse_run(RunOptions, find_subject("train", None, args), args, prog="", description="")
    expected = dataclasses.replace(
        config, learner=dataclasses.replace(config.learner, hidden_size=32)
    )
    assert again.config() == expected


MINE = """
import dataclasses
from metarl_jax.defaults import default_config
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.learners.rl2 import RL2
from metarl_jax.outer.ppo import PPO

@dataclasses.dataclass(frozen=True)
class Robot(PointRobot):
    "A robot of my own."
    speed: float = 1.0

@dataclasses.dataclass(frozen=True)
class Learner(RL2):
    "A learner of my own."

@dataclasses.dataclass(frozen=True)
class Method(PPO):
    "A method of my own."

CONFIG = default_config("rl2", "bandit")
"""


def test_classes_of_a_file_are_flags_and_remembered_by_the_run(tmp_path, monkeypatch, capsys):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    seen = []
    monkeypatch.setattr(loop, "train", lambda config, run_dir, **_: seen.append((config, run_dir)))
    words = "train mine.py:Learner --env mine.py:Robot --outer mine.py:Method --env.speed 2"
    assert main(words.split()) == 0
    config, run_dir = seen[0]
    assert (config.env.speed, run_dir) == (2.0, Path("runs/Learner-Robot-seed0"))
    assert main(["train", "mine.py:CONFIG", "--seed", "3"]) == 0
    assert seen[1][1] == Path("runs/rl2-bandit-seed3")
    run = folder.create(Path("run"), config)
    values = json.loads(run.config.read_text())
    assert values["env"]["name"] == f"{file}:Robot"
    assert values["outer"]["name"] == f"{file}:Method"
    assert (run.path / "code" / "learner.py").read_text() == MINE
    assert main(["train", PRESET, "--env", "mine.py:Robot", "--help"]) == 0
    assert "--env.speed" in capsys.readouterr().out


@pytest.mark.parametrize("is_module", [False, True], ids=["file", "module"])
def test_a_run_of_a_file_that_changed_or_is_gone_is_opened_elsewhere(
    is_module, tmp_path, monkeypatch
):
    file = tmp_path / "mine_of_mine.py"
    file.write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    cls = envs.get("mine_of_mine:Robot" if is_module else f"{file}:Robot")
    run = folder.create(Path("run"), default_config("rl2", cls)).path.absolute()
    monkeypatch.chdir("/")
    told = []
    restore.reopen(run, told.append)
    assert told == []
    file.write_text(MINE + "# changed")
    restore.reopen(run, told.append)
    assert "has changed since the run began" in told.pop()
    file.unlink()
    monkeypatch.delitem(sys.modules, cls.__module__)  # As in another process.
    _, config = restore.reopen(run, told.append)
    assert "is gone: the copy in" in told.pop()
    assert config.env.speed == 1.0
    assert type(config.env) is not cls
    again = folder.create(tmp_path / "again", config).path
    assert (again / "code" / "env.py").read_text() == MINE
    written = json.loads((run / "config.json").read_text())
    assert configs.to_dict(config)["env"] == written["env"]


def test_last_value():
    assert last_value(["--a", "1", "--a=2"], "--a") == "2"
    assert last_value(["--b", "1"], "--a") is None
    assert last_value([], "--a") is None


BAD = {
    "trian": "did you mean 'train'",
    "train": "needs PRESET | LEARNER --env ENV",
    "train MAML-Point-Robot": "did you mean 'maml-point-robot'",
    "train mmal-point-robot": "did you mean 'maml-point-robot'",
    f"train {PRESET} --env point_robt": "did you mean 'point_robot'",
    f"train {PRESET} --learner malm": "did you mean 'maml'",
    f"train {PRESET} --outer=pp0": "did you mean 'ppo'",
    f"train {PRESET} --learner.inner-lrr 0.1": "did you mean '--learner.inner-lr'",
    f"train {PRESET} --inner-lr 0.1": "did you mean '--learner.inner-lr'",
    f"train {PRESET} --learner.inner-lr nan": "learner.inner_lr=nan must be finite",
    f"train {PRESET} --learner.inner-lr x": "--learner.inner-lr",
    f"train {PRESET} --learner.inner-lr": "--learner.inner-lr needs a value",
    f"train {PRESET} --num-tasks -4": "num_tasks=-4 must be at least 1",
    f"train {PRESET} --num-meta-steps 0": "num_meta_steps=0 must be at least 1",
    f"train {PRESET} --learner.hidden-sizes 8 -8": "learner.hidden_sizes=-8 must be at least 1",
    f"train {PRESET} --num-tasks 5 --outer.num-minibatches 2": "outer.num_minibatches=2",
    f"train {PRESET} --num-tasks 5 --runtime.num-devices 2": "runtime.num_devices=2",
    f"train {PRESET} --runtime.num-devices 4096 --num-tasks 4096": "runtime.num_devices=4096",
    f"train {PRESET} --runtime.platform tpu": "runtime.platform='tpu'",
    f"train {PRESET} --runtime.platform abacus": "abacus",
    f"train {PRESET} --evaluation.split validation": "validation",
    f"train {PRESET} extra": "unexpected argument 'extra'",
    "train rl2-bandit --evaluation.split ood": "evaluation.split='ood' is unknown",
    f"train {PRESET} --learner rl2": "`rl2 --env point_robot` in the place of",
    "train rl2": "metarl train rl2 needs --env: choose one of ant_dir, ant_goal",
    "train rll2 --env bandit": "did you mean 'rl2'",
    "train rl2 --env bandti": "did you mean 'bandit'",
    "train rl2 --env bandit --learner maml": "got both 'rl2' and --learner maml",
    "train rl2 --env bandit --from runs/there": "got both 'rl2' and --from runs/there",
    "train --from runs/there": "runs/there",
    "train rl2 --env mine.py:Mine": "there is no file",
    "train metarl_jax.envs.bandit:Bandit": "is neither a Config nor a LearnerConfig",
    "train symmetric_rl2 --env point_robot": "choose learner 'rl2', or an env with discrete actions",
    "sweep rl2 --env bandit --grid learner.inner-lr=1": "learner.inner_lr",
    f"train {PRESET} --env.name bandit": "unknown option --env.name",
    "resume": "needs RUN_DIR",
    "resume nowhere": "nowhere",
    "eval": "needs RUN_DIR",
    "structure": "needs RUN_DIR",
    "eval nowhere": "nowhere",
    "bench rl2-bandit --repeats 0": "repeats=0",
    "bench nothing": "unknown preset or learner 'nothing'; `metarl list`",
    f"train {PRESET} --json": "json=True is of a dry run: add --dry-run, or leave it out",
    "version": "unknown command 'version': see metarl --help",
    "list --jsn": "did you mean '--json'",
    "list point_robt": "did you mean 'point_robot'",
    "list maml rl2": "unexpected argument 'rl2'",
    f"train {PRESET} --seeds 0": "seeds=0 must be at least 1",
    "sweep": "metarl sweep needs PRESET | LEARNER",
    f"sweep {PRESET} --grid learner.inner-lrr=0.1": "did you mean 'learner.inner_lr'",
    f"sweep {PRESET} --grid inner-lr=0.1": "did you mean 'learner.inner_lr'",
    f"sweep {PRESET} --grid num-tasks=4,8": "'num_tasks' is of type int",
    f"sweep {PRESET} --grid learner.inner-lr": "must be FIELD=VALUE,VALUE",
    f"sweep {PRESET} --grid learner.inner-lr=a": "is no range: write LOW..HIGH",
    f"sweep {PRESET} --grid learner.inner-lr=0.1..1": "a grid needs values with commas between",
    f"sweep {PRESET} --grid=learner.inner_lr=0.1,-1": "learner.inner_lr=-1.0 must be at least 0",
    f"search {PRESET}": "space is empty: give one or more of FIELD=LOW..HIGH",
    f"search {PRESET} --space learner.inner-lrr=0.1..1": "did you mean 'learner.inner_lr'",
    f"search {PRESET} --space learner.inner-lr=1..0.1": "write 0.1..1",
    f"search {PRESET} --space learner.inner-lr=0..1:log": "must begin above 0",
    f"search {PRESET} --space learner.inner-lr=-1..1": "learner.inner_lr=-1.0 must be at least 0",
    f"search {PRESET} --space num-rounds=0..2": "num_rounds=0 must be at least 1",
    f"search {PRESET} --space num-rounds=1.5..2": "must have whole numbers",
    f"search {PRESET} --space learner.inner-lr": "must be FIELD=LOW..HIGH",
    f"search {PRESET} --space seed=1,2": "does not say how to learn",
    f"search {PRESET} --space num-rounds=1,2 --pruner asha --evaluation.every 0": "must be above 0 and below",
    f"search {PRESET} --space num-rounds=1,2 --study a --run-dir b": "run_dir='b' goes with a study that is a URL",
    f"search {PRESET} --space learner.hidden-sizes=64,32": "a search takes numbers, words",
    f"search {PRESET} --space num-rounds=1..2 --space num-rounds=3": "give each field once",
    f"search {PRESET} --space num-rounds=1,2 --trials 0": "trials=0 must be at least 1",
    f"search {PRESET} --space num-rounds=1,2 --study no://where": "storage='no://where' cannot be opened",
    f"search {PRESET} --space num-rounds=1,2 --study sqlite://": "is in memory",
    "search sqlite:///none.db --status": "study='sqlite:///none.db' does not exist",
    "search runs/none --status": "is not the folder of a search",
    f"sweep {PRESET} --group-size 0": "group_size=0 must be at least 1",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(words, capsys):
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("metarl: error: ")
    assert BAD[words] in err
    assert err.count("\n") == 1
    assert out == ""
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num-tasks 1", "num_tasks=1 must be at least 2"),
        ("--num-rounds 0", "num_rounds=0 must be at least 1"),
        ("--tasks 4", "did you mean '--num-tasks'"),
        ("--env.arms 4", "did you mean '--env.num-arms'"),
        ("--env.num-arms 1", "env.num_arms=1 must be at least 2"),
        (
            "--env.num-arms 7",
            "env.num_arms=7 (trained with 5): the learner does not fit these tasks",
        ),
        ("--split ood", "split='ood'"),
        ("--num-episodes 0", "num_episodes=0 must be at least 1"),
        ("--inner-lr-factors 1 0.5", "evaluation.inner_lr_factors=(1.0, 0.5) does not fit"),
        ("--checkpoint first", "first"),
        ("--checkpoint 3", "checkpoint=3 does not exist"),
        ("--runtime.num-devices 4096", "runtime.num_devices=4096"),
    ],
)
def test_bad_input_to_eval(words, message, capsys):
    folder.create(Path("run"), experiments.get("rl2-bandit"))
    assert main(["eval", "run", *words.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("metarl: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_help_of_eval_shows_the_environment_of_the_run(capsys):
    assert main(["eval", "--help"]) == 0
    assert "RUN_DIR" in capsys.readouterr().out
    folder.create(Path("run"), experiments.get("rl2-bandit"))
    assert main(["eval", "--help", "run"]) == 0
    assert "--env.num-arms" in capsys.readouterr().out


def test_an_unwritable_run_dir(capsys):
    Path("file").write_text("")
    assert main(["train", PRESET, "--run-dir", "file/run"]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (stopping.Interrupted("saved"), 130),
        (KeyboardInterrupt(), 130),
        (stopping.Diverged("not finite"), 3),
        (PermissionError(13, "denied"), 2),
        (WriteError(Path("run/metrics.jsonl"), "full"), 2),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    def train(config, run_dir, **_):
        raise error

    monkeypatch.setattr(loop, "train", train)
    assert main(["train", PRESET]) == code
    assert capsys.readouterr().err.startswith("metarl: ")


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(loop, "train", lambda config, run_dir, **_: json.loads("{"))
    with pytest.raises(ValueError, match="Expecting"):
        main(["train", PRESET])


@pytest.mark.parametrize("words", [(), ("--run-dir", f"runs/{PRESET}-seed3")])
def test_a_default_run_dir_may_be_numbered_and_a_given_one_may_not(monkeypatch, words):
    asked = []

    def train(config, run_dir, *, numbered, **_):
        asked.append((run_dir, numbered))

    monkeypatch.setattr(loop, "train", train)
    assert main(["train", "--seed", "3", PRESET, *words]) == 0
    assert asked == [(Path("runs") / f"{PRESET}-seed3", not words)]


def test_folders_made_at_once_are_numbered(tmp_path):
    """Eight at once, of which each finds the names free that the others are about to take."""
    config, barrier = experiments.get("rl2-bandit"), threading.Barrier(8)

    def create(_) -> str:
        barrier.wait()
        return folder.create(tmp_path / "run", config, numbered=True).path.name

    with ThreadPoolExecutor(8) as threads:
        names = sorted(threads.map(create, range(8)))
    assert names == ["run", *(f"run-{number}" for number in range(2, 9))]
    assert all(os.listdir(tmp_path / name) == ["config.json"] for name in names)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_no_number_helps_against_what_is_above_a_folder(tmp_path, make):
    make(tmp_path / "runs")
    with pytest.raises(TakenError, match="above it"):
        folder.create(tmp_path / "runs/run", experiments.get(PRESET), numbered=True)


def test_an_empty_folder_is_taken_by_one_of_two(tmp_path):
    config, barrier = experiments.get("rl2-bandit"), threading.Barrier(2)

    def create(_) -> bool:
        barrier.wait()
        try:
            folder.create(tmp_path, config)
        except TakenError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(create, range(2))) == [False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("mine"), "is a file"),
        (lambda path: path.symlink_to("nowhere"), "is a link to 'nowhere'"),
        (lambda path: (path / "mine").mkdir(parents=True), "is not empty"),
        (lambda path: folder.create(path, experiments.get(PRESET)), "metarl resume there"),
    ],
)
def test_what_is_in_the_way_of_a_run_is_named_and_left(capsys, make, message):
    make(Path("there"))
    before = sorted(Path().rglob("*"))
    assert main(["train", PRESET, "--run-dir", "there"]) == 2
    assert message in capsys.readouterr().err
    assert sorted(Path().rglob("*")) == before


PATHS = {
    "train rl2-bandit --run-dir PATH": "run_dir",
    "train rl2-bandit --init-from PATH": "init_from",
    "sweep rl2-bandit --seeds 2 --run-dir PATH": "run_dir",
    "resume PATH": "run_dir",
    "eval PATH": "run_dir",
    "compare PATH": "run_dirs",
    "structure PATH": "run_dir",
    "structure RUN --out PATH": "out",
    "bias --plot PATH": "plot",
}
"""A path of every command, and the name of its field."""


@pytest.mark.parametrize(("words", "field"), PATHS.items())
def test_a_remote_path_is_refused_and_leaves_nothing(words, field, capsys, tmp_path):
    folder.create(tmp_path / "run", experiments.get("rl2-bandit"))
    before = sorted(tmp_path.rglob("*"))
    words = words.replace("RUN", str(tmp_path / "run")).replace("PATH", "gs://bucket/run")
    assert main(words.split()) == 2
    assert f"{field}='gs:/" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_home_folder_is_found_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(loop, "train", lambda config, run_dir, **_: asked.append(run_dir))
    monkeypatch.setattr(loop, "resume", lambda run_dir, **_: asked.append(run_dir))
    monkeypatch.setattr(evaluate, "evaluate_run", lambda run_dir, **_: asked.append(run_dir) or {})
    folder.create(tmp_path / "run", experiments.get("rl2-bandit"))
    for words in ("train rl2-bandit --run-dir=~/run", "resume ~/run", "eval ~/run --json"):
        assert main(words.split()) == 0
    assert asked == [tmp_path / "run"] * 3
    assert folder.create(Path("~/other"), experiments.get(PRESET)).path == tmp_path / "other"


@pytest.mark.parametrize("name", ["a*", "what?", "run[1]"])
def test_a_pattern_is_no_run_dir(name, capsys):
    """Not even where it is the working folder that has the brackets."""
    assert main(["train", PRESET, "--run-dir", name]) == 2
    assert "cannot be written to a path with" in capsys.readouterr().err
    assert not list(Path().iterdir())
    Path(name).mkdir()
    os.chdir(name)
    assert main(["train", PRESET, "--run-dir", "fine"]) == 2


def test_a_name_that_is_too_long_is_found_before_anything_is_made(capsys):
    assert main(["train", PRESET, "--run-dir", "new/" + 300 * "x"]) == 2
    assert "File name too long" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"metarl {command}" in capsys.readouterr().out


def test_help_of_a_preset_shows_its_values_top_level_first(capsys):
    assert main(["train", PRESET, "--num-tasks", "6", "--help"]) == 0
    text = capsys.readouterr().out
    order = ["--seed", "--num-tasks", "--run-dir", "--env.horizon", "--learner.inner-lr"]
    places = [re.search(rf"^\W* {flag} ", text, re.MULTILINE).start() for flag in order]
    assert places == sorted(places)
    assert "Step size of inner gradient steps" in text
    assert not re.search(r"^\W* --name", text, re.MULTILINE)


def test_list(capsys):
    assert main(["list", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert list(listing["presets"]) == experiments.names()
    assert main(["list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for entries in listing.values():
        for name, entry in entries.items():
            (line,) = (line for line in lines if line[:1] == [name])
            assert " ".join(line).startswith(f"{name} {entry['summary']}")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_listing_on_a_terminal_is_whole(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["list"]) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= max(width, 60)  # a name is never broken
    words = text.split()
    for entries in as_json().values():
        for name, entry in entries.items():
            assert name in words
            assert set(entry["summary"].split()) <= set(words)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("grid_navi", ["(environment)", "actions: 5 discrete", "rl2-grid-navi", "symmetric_rl2"]),
        ("point_robot", ["--env.horizon (default 100)", "Steps per episode.", "2 continuous"]),
        ("maml", ["(learner)", "--learner.inner-lr (default 0.1)", "maml-point-robot", "Finn"]),
        ("symmetric_rl2", ["environments: bandit, craftax, dark_key_to_door"]),
        ("trpo", ["(outer method)", "--outer.max-kl (default 0.01)"]),
        ("rl2-bandit", ["(preset)", "6.65", "--outer.learning-rate 0.002  (default 0.001)"]),
        ("metarl_jax.envs.bandit:Bandit", ["(environment)", "--env.num-arms"]),
        ("metarl_jax.experiments.rl2_bandit:CONFIG", ["(preset)", "what differs"]),
    ],
)
def test_one_thing_in_full(name, shown, capsys):
    assert main(["list", name]) == 0
    out = capsys.readouterr().out
    for words in shown:
        assert words in out
    assert main(["list", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def test_help_and_list_do_not_wait_for_jax():
    script = (
        "import sys, metarl_jax; from metarl_jax.cli.main import main; "
        "metarl_jax.envs.names(), metarl_jax.presets.names(); "
        "print([main(words) for words in (['--help'], ['list'], ['list', '--json'])][-1]); "
        "sys.exit('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_suggestions_are_near():
    known = ["train", "list", "--seed", "--learner.inner-lr"]
    assert suggestion("LIST", known) == "; did you mean 'list'?"
    assert suggestion("--learner.inner_lr", known) == "; did you mean '--learner.inner-lr'?"
    for far in ("version", "--json", "nonsense"):
        assert suggestion(far, known) == ""


def test_an_error_about_many_names_does_not_tell_them_all():
    few = Registry("fruit", "x:y", {"fig": Entry("x:y")})
    many = Registry("preset", "x:y", {f"name-{index}": Entry("x:y") for index in range(50)})
    with pytest.raises(ValueError, match="fig"):
        few.get("apple")
    with pytest.raises(ValueError, match="unknown preset 'apple'") as raised:
        many.get("apple")
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", ["list", f"train {PRESET} --help"])
def test_output_in_few_characters(words, encoding, monkeypatch):
    buffer = io.BytesIO()
    stdout = io.TextIOWrapper(buffer, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(words.split()) == 0
    stdout.flush()
    assert b"?" in buffer.getvalue()


def test_help_is_filled_anew_in_any_width(monkeypatch, capsys):
    """No line of a paragraph ends where its docstring has a newline."""
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["sweep", PRESET, "--help"]) == 0
    lines = [line.strip("│ \n") for line in capsys.readouterr().out.splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("--group-size"))
    text = list(itertools.takewhile(lambda line: not line.startswith("--run-dir"), lines[start:]))
    for line, following in itertools.pairwise(text[1:]):
        assert len(line) + 1 + len(following.split()[0]) > 38
    assert reflow("one two\nthree\n\n  an example\n", 8) == "one two\nthree\n\n  an example"
    assert reflow("a b\nc", 80) == "a b c"


def test_doctor(capsys):
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bad"] == []
    assert report["devices"]
    assert main(["doctor"]) == 0


@pytest.mark.parametrize(
    ("package", "version", "words"),
    [
        ("jax", "0.9.2", "pip install 'jax"),
        ("jax", "0.13.0", "pip install 'jax"),
        ("tensorboardX", "2.5", "pip install 'tensorboardX"),
        ("mujoco", "4.0.0", "wrong accelerations"),
        ("jaxlib", "0.11.0", "does not go with jaxlib 0.11.0"),
        ("brax", None, "brax is missing"),
    ],
)
def test_doctor_knows_bad_versions(package, version, words):
    good = doctor.installed_versions()
    assert doctor.check_versions(good, "3.12.0") == []
    findings = doctor.check_versions({**good, "jax": "0.10.2", package: version}, "3.12.0")
    assert any(words in finding.message for finding in findings)
    assert all(finding.bad for finding in findings)
    assert doctor.check_versions(good, "3.10.4")[0].bad


def test_doctor_names_modules_that_cannot_be_imported(tmp_path, monkeypatch):
    """As those of a platform are elsewhere."""
    package = tmp_path / "some_package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "good.py", "inner/__init__.py"):
        (package / name).touch()
    (package / "inner/bad.py").write_text("import a_module_of_another_platform")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = doctor.check_imports("some_package")
    assert finding.bad
    assert "some_package.inner.bad" in finding.message
    assert "a_module_of_another_platform" in finding.message


def test_doctor_names_settings_that_are_not_followed():
    assert doctor.check_settings() == []
    jax.config.update("jax_enable_x64", True)
    try:
        with fixed_settings():  # as `metarl` runs
            (finding,) = doctor.check_settings()
    finally:
        jax.config.update("jax_enable_x64", False)
    assert not finding.bad
    assert "JAX_ENABLE_X64" in finding.message


def _metarl(*args, module="metarl_jax.cli.main", **environment):
    env = {name: x for name, x in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    return subprocess.run(
        [sys.executable, *(("-m", module) if module else ()), *args],
        capture_output=True,
        text=True,
        timeout=300,
        env=env | environment,
    )


def test_no_accelerator_where_the_environment_asks_for_one():
    result = _metarl("train", PRESET, module="metarl_jax", JAX_PLATFORMS="abacus")
    assert result.returncode == 2
    assert "JAX_PLATFORMS='abacus'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()


def test_train_and_eval(monkeypatch, capsys):
    """As the file of an experiment does it; then the evaluation is printed."""
    script = "from metarl_jax.cli.main import run_preset; run_preset('rl2-bandit')"
    result = _metarl("-c", script, *TINY.split(), "--seed", "1", module=None)
    assert result.returncode == 0, result.stderr
    run_dir = Path("runs") / "rl2-bandit-seed1"
    config = from_dict(json.loads((run_dir / "config.json").read_text()))
    assert config.learner.hidden_size == 4
    assert config.num_tasks == 4
    evaluation = json.loads((run_dir / "eval.json").read_text())
    assert len(evaluation["return_mean"]) == 2
    assert evaluation["num_episodes"] == config.num_episodes
    assert list(run_dir.glob("*.png"))

    protocol = {"num_episodes": 40, "inner_lr_factors": (1.0, 0.5)}

    def evaluate_run(path, *, env, split, num_tasks, console, checkpoint, runtime, **others):
        assert {name: value for name, value in others.items() if value} == protocol
        console.warn("a warning")
        assert (path, env, split, num_tasks) == (run_dir, config.env, "train", 6)
        assert (checkpoint, runtime) == ("best", config.runtime)
        return evaluation

    monkeypatch.setattr(evaluate, "evaluate_run", evaluate_run)
    steps = ["--num-episodes", "40", "--inner-lr-factors", "1", "0.5"]
    assert (
        main(["eval", str(run_dir), "--split", "train", "--num-tasks", "6", "--json", *steps]) == 0
    )
    assert json.loads(capsys.readouterr().out) == evaluation
    protocol = {}
    assert main(["eval", str(run_dir), "--split=train", "--num-tasks=6"]) == 0
    assert "interval" in capsys.readouterr().out


def test_resume_gets_the_folder_and_what_is_to_change(monkeypatch):
    asked = []
    monkeypatch.setattr(loop, "resume", lambda path, **options: asked.append((path, options)))
    config = experiments.get("rl2-bandit")
    folder.create(Path("runs/mine"), config)
    assert main(["resume", "runs/mine"]) == 0
    assert main(["resume", "--num-meta-steps", "999", "runs/mine", "--runtime.num-devices=1"]) == 0
    assert main(["resume", "--max-hours", "2", "--num-env-steps", "9", "runs/mine"]) == 0
    same = {
        "num_meta_steps": config.num_meta_steps,
        "budget": Budget(),
        "runtime": config.runtime,
        "callbacks": [],
        "debug_nans": False,
    }
    other = same | {"num_meta_steps": 999, "runtime": RuntimeConfig(num_devices=1)}
    longer = same | {"budget": Budget(2.0, 9)}
    assert asked == [(Path("runs/mine"), options) for options in (same, other, longer)]


def test_a_sweep_is_trained_and_resumed_as_one(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(sweep_train, "train_sweep", lambda sweep, path, **_: asked.append(sweep))
    monkeypatch.setattr(sweep_train, "resume_sweep", lambda path, **_: asked.append(path))
    words = ["--grid", "learner.inner-lr=0.1", "--grid=outer.learning_rate=1e-3,1e-2"]
    assert main(["sweep", PRESET, *words, "--seeds", "2"]) == 0
    sweep, run_dir = asked.pop(), Path("runs") / f"{PRESET}-sweep"
    assert [list(point.values()) for point in sweep.points] == [[0.1, 1e-3], [0.1, 1e-2]]
    assert len(sweep.members()) == 4
    sweep_folder.create(run_dir, sweep)
    assert main(["resume", str(run_dir)]) == 0
    assert asked == [run_dir]
    assert main(["eval", str(run_dir)]) == 2
    assert "is the folder of a sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_sweep_and_resume(capsys):
    words = "--grid learner.inner-lr=0.1 --grid=outer.learning_rate=1e-3,1e-2 --seeds 2"
    tiny = TINY.replace("--learner.hidden-size 4", "--learner.hidden-sizes 4 --env.horizon 5")
    assert main(["sweep", PRESET, *tiny.split(), *words.split()]) == 0
    out = capsys.readouterr().out
    assert f"4 × {PRESET}" in out
    assert "ranked by round 2" in out.replace("\n", " ")
    run_dir = Path("runs") / f"{PRESET}-sweep"
    assert len(list((run_dir / "members").iterdir())) == 4
    results = json.loads((run_dir / "results.json").read_text())
    assert main(["resume", str(run_dir)]) == 0
    assert json.loads((run_dir / "results.json").read_text()) == results


def test_seeds_are_a_sweep_without_a_grid(monkeypatch):
    asked = []
    monkeypatch.setattr(
        sweep_train, "train_sweep", lambda sweep, path, **_: asked.append((sweep, path))
    )
    assert main(["train", PRESET, "--seed", "3", "--seeds", "5"]) == 0
    sweep, path = asked[0]
    assert (sweep.points, sweep.num_seeds, sweep.config.seed) == (({},), 5, 3)
    assert path == Path("runs") / f"{PRESET}-seeds3-7"
