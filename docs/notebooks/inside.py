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
# # Inside: what learners know while they act
#
# `program.trial(state, task, key, record_states=True)` runs one trial and records every step; its `described` holds
# what the learner says of itself, and `program.policy(state).read(carry)` every array of its state by name. Four
# learners: a belief, fast weights, a routing over modules, and a memory of slots.

# %%
import dataclasses
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import metarl_jax as mrl

TEST = os.environ.get("METARL_NOTEBOOK_SIZES") == "test"


def trained(learner, env, num_steps, **changes):
    """Returns the program of a learner with its default settings, and its state after some meta-steps."""
    config = mrl.default_config(learner, env)
    if TEST:
        num_steps, changes = 0, {"num_tasks": 4}
    config = dataclasses.replace(
        config,
        num_meta_steps=max(num_steps, 1),
        runtime=mrl.RuntimeConfig(num_devices=1),
        **changes,
    )
    program = mrl.build(config)
    state, step = program.init(jax.random.key(0)), jax.jit(program.step)
    for _ in range(num_steps):
        state, _ = step(state)
    return program, state


# %% [markdown]
# ## A belief over a grid
#
# VariBAD (Zintgraf et al. 2020) learns to predict rewards from a posterior over tasks. The goal of this grid is
# hidden. Asked at each step what every cell would pay, its decoder shows the belief. After the few meta-steps of this
# page it is rough; [docs/results/memory.md](../results/memory.md) has it after a whole training, where it is wide at
# first, visited cells drop out, and it closes on the goal when that is found.

# %%
from metarl_jax.experiments.tables.varibad_grid_belief import beliefs  # noqa: E402

program, state = trained("varibad", mrl.envs.get("grid_navi")(), 400, num_tasks=128)
goal = jnp.array([4, 1], jnp.int32)
belief, cells = beliefs(program, state, goal)

# %%
fig, axes = plt.subplots(2, 8, figsize=(13, 3.8))
for step, axis in enumerate(axes.ravel()):
    axis.imshow(belief[step].T, origin="lower", cmap="Blues", vmin=belief.min(), vmax=belief.max())
    axis.plot(*cells[step], "o", color="tab:orange")
    axis.plot(*goal, "*", color="tab:green")
    axis.set(title=f"step {step}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Fast weights
#
# MAML adapts all weights of a policy by gradient steps. The task is a hidden goal in the plane. After one inner step,
# the bias of the last layer, which is added to every action, has moved towards the goal.

# %%
program, state = trained("maml", mrl.envs.get("point_robot")(horizon=10 if TEST else 50), 40)
policy = program.policy(state)


def adapted(key):
    """Returns a goal, and the fast weights after one inner step on a round of episodes."""
    task = program.env.sample(key, "test")
    round_ = jax.tree.map(lambda x: x[0], program.trial(state, task, key, num_rounds=1).rollout)
    seen = round_.timestep.observation, round_.action, round_.reward, round_.timestep.valid
    return task, policy.read(policy.adapt(policy.init(), *seen))


goals, weights = jax.jit(jax.vmap(adapted))(jax.random.split(jax.random.key(1), 100))
before = policy.read(policy.init())
moved = {
    name.removeprefix("inner_state/fast/params/"): weights[name] - before[name]
    for name in weights
    if name.startswith("inner_state/fast")
}
for name, change in moved.items():
    print(f"{name:45} moves by {float(jnp.sqrt((change**2).mean())):.2e}")

# %%
(bias,) = (
    change for name, change in moved.items() if name.endswith("PolicyHead_0/NarrowDense_0/bias")
)
fig, axes = plt.subplots(1, 2, figsize=(9, 4))
for index, axis in enumerate(axes):
    axis.plot(goals[:, index], bias[:, index], ".")
    axis.set(xlabel=f"goal, {'xy'[index]}", ylabel="change of the bias")
plt.show()

# %% [markdown]
# ## A routing over modules
#
# The modular learner infers from the trial which modules to use. In these tasks the actions are rotated by 0, 90, 180
# or 270 degrees, which one step reveals. Here are the weights of the modules in the last step of a trial, for twenty
# tasks of each rotation. After so few meta-steps they hardly depend on the rotation;
# [docs/results/structure.md](../results/structure.md) has those of whole trainings.

# %%
program, state = trained("modular", mrl.envs.get("rotated_point_robot")(), 150, num_tasks=128)


def routing(skill, key):
    task = program.env.sample(key, "test")
    task = task._replace(skill=skill)
    trial = program.trial(state, task, key, record_states=True)
    layers = [trial.described[name] for name in sorted(trial.described) if "routing" in name]
    return jnp.concatenate([x[-1, -1, 0] for x in layers])


skills = jnp.repeat(jnp.arange(4), 20)
weights = jax.jit(jax.vmap(routing))(skills, jax.random.split(jax.random.key(2), len(skills)))
np.testing.assert_allclose(weights[:, : weights.shape[1] // 2].sum(-1), 1.0, rtol=1e-4)

# %%
plt.imshow(weights.T, aspect="auto", cmap="viridis", vmin=0)
plt.xticks(np.arange(10, 80, 20), [f"{90 * skill}°" for skill in range(4)])
plt.xlabel("rotation of the task")
plt.ylabel("modules, layer by layer")
plt.colorbar(label="weight")
plt.show()

# %% [markdown]
# ## A key–value memory
#
# This learner writes a slot at every step of the trial and reads by similarity. Ten pulls of five arms: the usage
# says which slots were written and are still read.

# %%
program, state = trained("key_value", mrl.envs.get("bandit")(num_arms=5), 150, num_tasks=256)
task = program.env.sample(jax.random.key(3), "test")
trial = jax.jit(lambda task, key: program.trial(state, task, key, record_states=True))(
    task, jax.random.key(4)
)
usage = np.asarray(trial.described["usage of slots"])[:, 0, 0]  # [pulls, slots]
arms, wins = (np.asarray(x)[:, 0, 0] for x in (trial.rollout.action, trial.rollout.reward))
assert (np.count_nonzero(usage, axis=1) >= 1).all()

# %%
plt.imshow(usage.T, aspect="auto", cmap="magma")
names = [f"arm {arm}\n{'wins' if win else '–'}" for arm, win in zip(arms, wins, strict=True)]
plt.xticks(range(len(names)), names)
plt.ylabel("slot")
plt.colorbar(label="usage")
plt.show()
