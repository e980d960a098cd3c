"""The guides' code and commands, as a reader would copy them, on tiny sizes."""

import re
import shutil
from pathlib import Path

import jax
import pytest

from metarl_jax.cli.main import main
from metarl_jax.core.errors import UserError
from metarl_jax.envs import make as make_env
from metarl_jax.testing import check_env, check_learner, check_outer

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
PENDULUM = str(GUIDE / "examples" / "pendulum.py")
TINY = (
    "--num-tasks 2 --num-meta-steps 2 --log-every 1 --env.horizon 4 --num-rounds 2 "
    "--evaluation.num-tasks 2 --evaluation.every 2 --runtime.platform cpu --runtime.num-devices 1"
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of `maml` and `rl2` on copies of the example."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copy(PENDULUM, folder / "pendulum.py")
    for learner, env in (("maml", "Pendulum"), ("rl2", "Balance")):
        reference = f"{folder}/pendulum.py:{env}"
        run = ["--env", reference, "--run-dir", str(folder / learner)]
        run += f"{TINY} {SIZES[learner]}".split()
        assert main(["train", learner, *run]) == 0
    return folder


def test_runs_on_the_example_are_resumed_and_evaluated(folder, capsys):
    assert main(["resume", str(folder / "rl2"), "--num-meta-steps", "4"]) == 0
    assert main(["eval", str(folder / "maml"), "--num-tasks", "2"]) == 0
    assert "upright" in capsys.readouterr().out


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


def test_options_of_the_example_are_checked():
    env = type(make_env(f"{PENDULUM}:Pendulum"))(spread=1.0)
    with pytest.raises(UserError, match=r"env\.spread"):
        env.validate()


def test_learners_and_outer_methods_of_the_guide_pass_the_checks():
    check_learner(names_of(code_blocks("learners.md")[0])["ActionScores"]())
    sign_descent = names_of(code_blocks("outer_methods.md")[0])["SignDescent"]
    check_outer(sign_descent(rounds="all", value_coefficient=0.5), "rl2")
