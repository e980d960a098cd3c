# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring a policy into the world
#
# Load a trained run, act with it in a loop of your own, let it adapt, and write it to one file. The run is the one
# that comes with the library: RL² on a grid with a hidden goal.

# %%
import dataclasses
import json
import os
import tempfile
import zipfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import metarl_jax as mrl

TEST = os.environ.get("METARL_NOTEBOOK_SIZES") == "test"

run = mrl.load("pretrained:rl2-grid-navi")  # or the folder of a run of yours
print(run.config.name, "meta-step", int(run.state.step))

# %% [markdown]
# ## Act
#
# `env` stands for a robot or a simulator of any kind: all that `act` wants is an observation, the last reward, and
# whether an episode begins. The state of the learner is `carry`, which goes on from one episode to the next: this is
# how RL² adapts. In the first episode it searches, and then it walks straight to the goal.

# %%
env = run.program.env
goal = np.array([4, 1], np.int32)
act, step = jax.jit(run.policy.act), jax.jit(env.step)


def live(num_episodes):
    """Returns the cells and the return of each episode of a trial."""
    carry, reward, episodes = run.policy.init(), 0.0, []
    for episode in range(num_episodes):
        state, is_first, cells, total = env.reset(goal, jax.random.key(episode)), True, [], 0.0
        for _ in range(env.episode_length):
            cells.append(int(np.argmax(state.observation)))
            action, carry = act(carry, state.observation, reward, is_first)
            state, is_first = step(goal, state, action), False
            reward = float(state.reward)
            total += reward
        episodes.append((np.stack(np.unravel_index(cells, (5, 5))), total))
    return episodes, carry


episodes, carry = live(3)
returns = [total for _, total in episodes]
print("returns of the episodes:", [round(total, 2) for total in returns])
assert returns[-1] > returns[0]

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharex=True, sharey=True)
for number, (axis, (cells, total)) in enumerate(zip(axes, episodes, strict=True), 1):
    jitter = np.linspace(-0.15, 0.15, cells.shape[1])
    axis.plot(*(cells + jitter), "o-", alpha=0.6)
    axis.plot(*goal, "r*", markersize=18)
    axis.set(title=f"episode {number}: {total:.1f}", xlim=(-0.5, 4.5), ylim=(-0.5, 4.5))
plt.show()

# %% [markdown]
# What it remembers, by name:

# %%
for name, array in run.policy.read(carry).items():
    print(f"{name:45} {array.shape}")

# %% [markdown]
# ## Adapt between rounds
#
# MAML and its relatives do not adapt while they act, but after a round of episodes: `policy.adapt` takes what was
# seen, whoever recorded it. A few meta-steps of MAML on the point robot, and one inner step from recorded data:

# %%
config = mrl.default_config("maml", "point_robot")
config = dataclasses.replace(config, runtime=mrl.RuntimeConfig(num_devices=1))
if TEST:
    config = dataclasses.replace(
        config, env=dataclasses.replace(config.env, horizon=5), num_tasks=2, num_episodes=2
    )
program = mrl.build(config)
state, meta_step = program.init(jax.random.key(0)), jax.jit(program.step)
for _ in range(0 if TEST else 30):
    state, _ = meta_step(state)
policy = program.policy(state)

task = program.env.sample(jax.random.key(5), "test")
seen = jax.tree.map(lambda x: x[0], program.trial(state, task, jax.random.key(6)).rollout)
before = policy.init()
after = policy.adapt(
    before, seen.timestep.observation, seen.action, seen.reward, seen.timestep.valid
)
start = program.env.reset(task, jax.random.key(7)).observation
actions = [np.asarray(policy.act(carry, start, 0.0, True)[0]) for carry in (before, after)]
print("goal", task, "first action before", actions[0], "and after adaptation", actions[1])

# %% [markdown]
# ## Export
#
# One file, which needs `jax`, `numpy` and `flatbuffers` alone, and runs on CPU, GPU and TPU for any number of robots
# side by side. (`metarl export RUN_DIR` writes it too.)

# %%
file = Path(tempfile.mkdtemp()) / "policy.zip"
mrl.export(run, file)
print(f"{file.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# Read it again, without this library, and act as above:

# %%
archive = zipfile.ZipFile(file)
about = json.loads(archive.read("policy.json"))
functions = {
    name: jax.jit(jax.export.deserialize(bytearray(archive.read(f"{name}.jaxexport"))).call)
    for name in ("init", "act")
}
carry = tuple(x[None] for x in functions["init"]())  # one robot
inputs = {
    "observation": env.reset(goal, jax.random.key(0)).observation[None],
    "reward": np.zeros(1, np.float32),
    "is_first": np.ones(1, bool),
    "deterministic": np.ones(1, bool),
    "key": np.zeros((1, 2), np.uint32),
}
action, carry = functions["act"](carry, inputs)
first = env.reset(goal, jax.random.key(0)).observation
assert int(action[0]) == int(run.policy.act(run.policy.init(), first, 0.0, True)[0])
print(about["env"], about["inputs"]["act"].keys(), "first action", int(action[0]))
