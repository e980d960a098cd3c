"""`metarl export`: the file acts and adapts as the run does, in a process without this library."""

import dataclasses
import json
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax.cli.main import main
from metarl_jax.config import RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Array, Integers
from metarl_jax.defaults import default_config
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.program.build import build
from metarl_jax.runs import export
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs.checkpoint_writer import CheckpointWriter
from metarl_jax.runs.executables import Executables, run_functions
from metarl_jax.runs.progress import Progress

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide"
CASES = {
    "maml": {"env": PointRobot(horizon=6), "num_episodes": 3},
    "rl2": {"env": GridNavi(horizon=6), "num_episodes": 1},
}
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("metarl_jax", "flax", "brax", "optax", "orbax", "chex", "mujoco"):
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
"""
REPLAY = """
given = np.load("given.npz")
carry = begin(given["reward"].shape[1])
if "action" in given:
    names = ("observation", "action", "reward", "valid")
    carry = adapt(carry, *(given[name][0] for name in names))
    steps = {"observation": given["observation"][1].swapaxes(0, 1)[:, :, 0]}
    steps["reward"] = np.zeros(steps["observation"].shape[:2])
    steps["is_first"] = np.arange(len(steps["reward"]))[:, None] == np.zeros(steps["reward"].shape)
else:
    steps = given
actions = []
for observation, reward, is_first in zip(steps["observation"], steps["reward"], steps["is_first"]):
    action, carry = act(carry, observation, reward, is_first)
    actions.append(action)
noise = {"deterministic": [False] * len(reward), "key": np.ones((len(reward), 2), np.uint32)}
sample, _ = act(carry, observation, reward, is_first, **noise)
assert sample.shape == action.shape
np.savez("answered.npz", *carry, actions=np.stack(actions))
"""


def block_of(document):
    """The Python lines of a page of the guide."""
    (block,) = re.findall(r"```python\n(.*?)```", (GUIDE / document).read_text(), re.DOTALL)
    return block


@pytest.fixture(scope="module", params=CASES)
def run_dir(request, tmp_path_factory):
    """The folder of a run with one checkpoint, whose normaliser has seen something."""
    options = CASES[request.param]
    config = dataclasses.replace(
        default_config(request.param, options["env"]),
        num_rounds=2,
        num_episodes=options["num_episodes"],
        normalize_observations=True,
        runtime=RuntimeConfig(platform="cpu", num_devices=1),
    )
    folder = run_folder.create(tmp_path_factory.mktemp("export") / request.param, config)
    state = Executables(run_functions(build(config))).init()
    empty = state.meta.normalizer
    seen = empty.replace(
        count_low=jnp.uint32(100), mean=empty.mean + 0.7, central_moment=4.0 + empty.mean
    )
    params = jax.tree.map(
        lambda x: x + 0.5 * jnp.sin(jnp.arange(x.size)).reshape(x.shape), state.meta.params
    )  # so that actions differ
    with CheckpointWriter(folder.checkpoints, keep=1) as writer:
        meta = state.meta.replace(normalizer=seen, params=params)
        writer.save(state.replace(meta=meta), [Progress()])
        writer.wait()
    return folder.path


@pytest.fixture(scope="module")
def file(run_dir):
    path = run_dir.parent / "policy.zip"
    assert main(["export", str(run_dir), "--out", str(path), "--runtime.platform", "cpu"]) == 0
    return path


def record(run, num_tasks=2):
    """Trials `[B, K, T, E, ...]` of the run, greedy, in held-out tasks."""
    tasks = [run.program.env.sample(jax.random.key(seed), "test") for seed in range(num_tasks)]
    trial = jax.jit(lambda task, key: run.program.trial(run.state, task, key))
    trials = [trial(task, jax.random.key(seed)).rollout for seed, task in enumerate(tasks)]
    return jax.tree.map(lambda *x: np.stack(x), *trials)


def along_episodes(run, rollout):
    """Steps `[S, B, ...]` of trials as one sequence, and what `run.policy` does in them."""

    def in_order(x):
        return np.concatenate(x[:, :, :, 0].swapaxes(0, 1).swapaxes(1, 2))

    steps = {
        "observation": in_order(rollout.timestep.observation),
        "reward": in_order(rollout.timestep.previous_reward),
        "is_first": in_order(rollout.timestep.is_first),
    }
    carry = jax.tree.map(lambda x: jnp.stack([x, x]), run.policy.init())
    return steps, carry, steps


def after_adapting(run, rollout):
    """The data of a first round `[B, T, E, ...]`, and the observations of the second one, after adapting to it."""
    given = {
        "observation": rollout.timestep.observation.swapaxes(0, 1),
        "action": rollout.action.swapaxes(0, 1),
        "reward": rollout.reward.swapaxes(0, 1),
        "valid": rollout.timestep.valid.swapaxes(0, 1),
    }
    carry = jax.tree.map(lambda x: jnp.stack([x, x]), run.policy.init())
    data = (given[name][0] for name in ("observation", "action", "reward", "valid"))
    carry = jax.jit(jax.vmap(run.policy.adapt))(carry, *data)
    observation = given["observation"][1].swapaxes(0, 1)[:, :, 0]
    steps = {
        "observation": observation,
        "reward": np.zeros(observation.shape[:2]),
        "is_first": np.arange(len(observation))[:, None] == np.zeros(observation.shape[:2]),
    }
    return given, carry, steps


def answered(python, code, folder):
    (folder / "reader.py").write_text(code)
    done = subprocess.run([python, "reader.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "answered.npz")


def check(run, given, carry, steps, python, code, folder):
    """Compares what a process without this library does with the file and what the run does."""
    np.savez(folder / "given.npz", **given)
    actions, act = [], jax.jit(jax.vmap(run.policy.act))
    for inputs in zip(steps["observation"], steps["reward"], steps["is_first"], strict=True):
        action, carry = act(carry, *inputs)
        actions.append(action)
    found = answered(python, code, folder)
    np.testing.assert_allclose(found["actions"], np.stack(actions), rtol=1e-4, atol=1e-5)
    for index, mine in enumerate(carry):
        np.testing.assert_allclose(found[f"arr_{index}"], mine, rtol=1e-4, atol=1e-5)
    assert np.ptp(np.stack(actions)) > 0


def case(run):
    rollout = record(run)
    return (along_episodes if run.policy.adapt is None else after_adapting)(run, rollout)


def test_the_file_acts_and_adapts_as_the_run_without_this_library(run_dir, file, tmp_path):
    run = metarl_jax.load(run_dir)
    code = WITHOUT + f"FILE = {str(file)!r}\n" + block_of("deployment.md") + REPLAY
    check(run, *case(run), sys.executable, code, tmp_path)


@pytest.mark.slow
def test_the_file_acts_in_a_new_environment(run_dir, file, tmp_path):
    """With jax, numpy and flatbuffers alone, of the versions that are here."""
    venv.create(tmp_path / "new", with_pip=True)
    python = str(tmp_path / "new" / "bin" / "python")
    packages = [f"jax=={jax.__version__}", "numpy", "flatbuffers"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    run = metarl_jax.load(run_dir)
    check(
        run,
        *case(run),
        python,
        f"FILE = {str(file)!r}\n" + block_of("deployment.md") + REPLAY,
        tmp_path,
    )


def test_the_file_describes_itself_and_is_not_replaced(run_dir, file, capsys):
    about = json.loads(zipfile.ZipFile(file).read("policy.json"))
    run = metarl_jax.load(run_dir)
    assert about["batch"] == "B"
    assert [x["name"] for x in about["carry"]] == list(run.policy.read(run.policy.init()))
    shapes = {x["name"]: x["shape"] for x in about["carry"]}
    assert shapes == {name: list(x.shape) for name, x in run.policy.read(run.policy.init()).items()}
    assert about["inputs"]["act"]["observation"]["shape"][0] == "B"
    if run.policy.adapt is not None:
        assert about["inputs"]["adapt"]["observation"]["shape"][:3] == ["B", "T", "E"]
    before = file.read_bytes()
    assert main(["export", str(run_dir), "--out", str(file), "--runtime.platform", "cpu"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert file.read_bytes() == before


class Gymnasium:
    """An environment of this library in the manner of Gymnasium."""

    def __init__(self, env):
        self.env, self.task = env, env.sample(jax.random.key(0), "test")
        self.actions = []

    def reset(self):
        self.state, self.left = (
            self.env.reset(self.task, jax.random.key(1)),
            self.env.episode_length,
        )
        return np.asarray(self.state.observation), {}

    def step(self, action):
        self.actions.append(np.asarray(action))
        self.state, self.left = self.env.step(self.task, self.state, action), self.left - 1
        observation, reward = np.asarray(self.state.observation), float(self.state.reward)
        return observation, reward, bool(self.state.done), self.left == 0, {}


def test_the_loop_of_the_guide_acts_as_the_program_does(run_dir):
    run = metarl_jax.load(run_dir)
    env = Gymnasium(run.program.env)
    exec(block_of("runs.md"), {"RUN_DIR": str(run_dir), "env": env, "num_episodes": 2})
    num_steps = run.program.env.episode_length
    assert len(env.actions) == 2 * num_steps
    if run.policy.adapt is None:
        trial = run.program.trial(run.state, env.task, jax.random.key(1), deterministic=True)
        np.testing.assert_allclose(
            env.actions[:num_steps], trial.rollout.action[0, :, 0], rtol=1e-4, atol=1e-5
        )


@dataclasses.dataclass(frozen=True)
class Named(Bandit):
    """Observes a dictionary, with a tuple in it, and forbids an arm."""

    name: ClassVar[str] = "named"

    @property
    def observation_space(self):
        return {"time": Array((2,)), "parts": (Integers((3,), 4), Array(()))}

    def action_mask(self, task, state):
        return jnp.arange(5) < 4


def test_parts_of_an_observation_and_masks_have_names():
    env = Named()
    seen = {"parts": (np.arange(3), np.float32(2.0)), "time": np.ones(2)}
    named = export.to_names(env, seen)
    assert list(named) == ["parts/0", "parts/1", "time"]
    restored = export._from_names(env, named)
    assert jax.tree.structure(restored) == jax.tree.structure(seen)
    pairs = zip(jax.tree.leaves(restored), jax.tree.leaves(seen), strict=True)
    assert all(x is y for x, y in pairs)
    program = build(
        dataclasses.replace(default_config("rl2", env), runtime=RuntimeConfig(num_devices=1))
    )
    inputs = export._act_inputs(program, export.Sizes(2, 1, 1))
    assert inputs["observation"]["parts/0"].shape == (2, 3)
    assert inputs["action_mask"].shape == (2, 5)
    assert "outcome" not in inputs
    policy = program.policy(program.init(jax.random.key(0)))
    carry = jax.tree.map(lambda x: jnp.stack([x, x]), policy.init())
    act = jax.vmap(export._act(env, policy))
    action, after = jax.eval_shape(act, carry, inputs)
    assert action.shape == (2,)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, carry)


def test_sizes_are_fixed_where_symbolic_ones_fail(small_config, monkeypatch):
    program = build(small_config("rl2", "bandit", num_episodes=1))
    tried = []

    def fake(program, policy, sizes):
        tried.append(sizes)
        if not isinstance(sizes.batch, int):
            raise TypeError("no such form\nat all")
        return {}, {}

    monkeypatch.setattr(export, "_export", fake)
    exported = export.export_policy(program, program.init(jax.random.key(0)))
    assert [str(sizes.batch) for sizes in tried] == ["B", "B", "1"]
    assert exported.fixed_because == "no such form"


def test_samples_differ_by_key_and_modes_do_not(small_config):
    program = build(small_config("rl2", "point_robot", num_episodes=1))
    state = program.init(jax.random.key(0))
    exported = export.export_policy(program, state, batch=3)
    assert exported.description["batch"] == "3"
    act = jax.export.deserialize(bytearray(exported.functions["act"])).call
    init = jax.export.deserialize(bytearray(exported.functions["init"])).call
    carry = tuple(jnp.stack([x] * 3) for x in init())
    inputs = {
        "observation": np.zeros((3, 2), np.float32),
        "reward": np.zeros(3, np.float32),
        "is_first": np.ones(3, bool),
        "key": np.asarray([[0, 1], [0, 2], [0, 2]], np.uint32),
    }
    sample, after = act(carry, inputs | {"deterministic": np.zeros(3, bool)})
    mode, _ = act(carry, inputs | {"deterministic": np.ones(3, bool)})
    assert np.abs(sample[0] - sample[1]).min() > 0
    np.testing.assert_array_equal(sample[1], sample[2])
    np.testing.assert_array_equal(mode[0], mode[1])
    np.testing.assert_allclose(after[-1][:, 0], np.clip(sample / 0.1, -1, 1), rtol=1e-5)


def test_a_belief_is_read_by_name(small_config):
    program = build(small_config("varibad", "point_robot", num_episodes=1))
    policy = program.policy(program.init(jax.random.key(0)))
    _, carry = jax.jit(policy.act)(policy.init(), jnp.zeros(2), 0.0, True)
    belief = {name: x for name, x in policy.read(carry).items() if name.startswith("latent/")}
    assert list(belief) == ["latent/mean", "latent/log_std"]
    assert all(np.abs(x).max() > 0 for x in belief.values())


def test_no_flatbuffers_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install flatbuffers"):
        export.check_installed()
