"""The guides' code and commands, as a reader would copy them, on tiny sizes."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import metarl_jax
from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.envs import make as make_env
from metarl_jax.runs.checkpoint import saved_steps
from metarl_jax.testing import check_env, check_learner, check_outer

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
PENDULUM = str(GUIDE / "examples" / "pendulum.py")
TINY = (
    "--num-tasks 2 --num-meta-steps 1000000 --log-every 1 --env.horizon 4 --num-rounds 2 "
    "--checkpoint.every 1 --evaluation.num-tasks 2 --evaluation.every 0 --runtime.platform cpu --runtime.num-devices 1"
)
SIZES = {
    "maml": "--num-episodes 2 --outer.num-epochs 1",
    "rl2": "--outer.num-epochs 1 --outer.num-minibatches 1 --learner.hidden-size 8",
}


def code_blocks(document):
    return re.findall(r"```python\n(.*?)```", (GUIDE / document).read_text(), re.DOTALL)


def names_of(block):
    names = {"__name__": "guide"}
    exec(block, names)
    return names


def train_and_kill(learner, env, folder):
    """Trains as a shell does, and kills the process once there is a checkpoint."""
    run = folder / learner
    words = f"train {learner} --env pendulum.py:{env} --run-dir {run} {TINY} {SIZES[learner]}"
    with (folder / f"{learner}.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "metarl_jax", *words.split()],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 240
        while not saved_steps(run / "checkpoints"):
            assert process.poll() is None, (folder / f"{learner}.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of `maml` and `rl2` on copies of the example, killed while they trained, and resumed."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copy(PENDULUM, folder / "pendulum.py")
    for learner, env in (("maml", "Pendulum"), ("rl2", "Balance")):
        train_and_kill(learner, env, folder)
        done = saved_steps(folder / learner / "checkpoints")[-1]
        longer = ["--num-meta-steps", str(done + 2)]
        assert main(["resume", str(folder / learner), *longer]) == 0
        assert saved_steps(folder / learner / "checkpoints")[-1] == done + 2
    return folder


@pytest.mark.parametrize("learner", ["maml", "rl2"])
def test_runs_on_the_example_are_evaluated_and_loaded(folder, learner, capsys):
    assert main(["eval", str(folder / learner), "--num-tasks", "2"]) == 0
    if learner == "maml":
        assert "upright" in capsys.readouterr().out
    run = metarl_jax.load(str(folder / learner), "last")
    assert int(run.state.step) == saved_steps(folder / learner / "checkpoints")[-1]


def test_the_loop_of_the_guide_acts_with_a_run(folder, capsys):
    (block,) = (b for b in code_blocks("environments.md") if "RUN_DIR" in b)
    exec(block, {"RUN_DIR": str(folder / "rl2")})
    assert capsys.readouterr().out.startswith("episode 0:")


@pytest.mark.slow
def test_the_recipes_of_the_notebooks_guide_run(folder):
    names = {"MAML_RUN": str(folder / "maml"), "RL2_RUN": str(folder / "rl2")}
    for block in code_blocks("notebooks.md"):
        exec(block, names)


def test_environments_of_the_guide_pass_the_checks():
    thermostat = names_of(code_blocks("environments.md")[0])["Thermostat"]
    check_env(thermostat())
    check_env(make_env(f"{PENDULUM}:Pendulum"))
    balance = make_env(f"{PENDULUM}:Balance")
    check_env(balance)
    state = balance.reset(balance.sample(jax.random.key(0)), jax.random.key(1))
    for _ in range(60):  # pushed to one side
        state = balance.step({"mass": 1.0, "length": 1.0}, state, 2)
        if state.done:
            break
    assert state.done
    assert state.reward == 0.0


def test_the_drawing_of_the_guide_draws():
    thermostat, drawn = (
        block
        for block in code_blocks("environments.md")
        if "class" in block and "Thermostat" in block
    )
    names = names_of(thermostat)
    exec(drawn, names)
    env = names["DrawnThermostat"](horizon=3)
    state = env.reset(2.0, jax.random.key(0))
    states = [state, env.step(2.0, state, np.array([0.5]))]
    stacked = jax.tree.map(lambda *x: np.stack(x), *states)
    scene = env.render(np.float32(2.0), stacked)
    assert len(scene.frames) == 2
    assert scene.frames[1][1].y == 0.5


def test_options_of_the_example_are_checked():
    env = type(make_env(f"{PENDULUM}:Pendulum"))(spread=1.0)
    with pytest.raises(UserError, match=r"env\.spread"):
        env.validate()


def test_learners_and_outer_methods_of_the_guide_pass_the_checks():
    check_learner(names_of(code_blocks("learners.md")[0])["ActionScores"]())
    sign_descent = names_of(code_blocks("outer_methods.md")[0])["SignDescent"]
    check_outer(sign_descent(rounds="all", value_coefficient=0.5), "rl2")
