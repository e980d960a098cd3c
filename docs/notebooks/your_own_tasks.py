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
# # A task distribution of your own, and three ways to adapt
#
# You write one class: it draws a task, begins an episode in it, and computes one step. Then any learner trains on it:
# MAML adapts by gradient steps, RL² by memory, and a hypernetwork by generating the weights of the policy.

# %%
import dataclasses
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import metarl_jax as mrl

TEST = os.environ.get("METARL_NOTEBOOK_SIZES") == "test"

# %% [markdown]
# ## The tasks
#
# A boat in a stream of unknown direction and strength shall hold its place. It sees where it is, not the stream.


# %%
@dataclasses.dataclass(frozen=True)
class Boat(mrl.TaskDistribution):
    """Hold a boat at the origin, in a stream that is not observed."""

    horizon: int = 20
    """Steps of an episode."""
    strength: float = 0.15
    """Speed of the strongest stream."""

    @property
    def episode_length(self):
        return self.horizon

    @property
    def action_space(self):
        return mrl.Box(2, -0.2, 0.2)

    def sample(self, key, split="train"):
        angle, speed = jax.random.uniform(key, (2,)) * jnp.array([2 * jnp.pi, self.strength])
        return speed * jnp.array([jnp.cos(angle), jnp.sin(angle)])

    def reset(self, task, key):
        return mrl.EnvState(jax.random.normal(key, (2,)) * 0.3, reward=0.0, done=False)

    def step(self, task, state, action):
        position = state.observation + task + jnp.clip(action, -0.2, 0.2)
        position = jnp.clip(position, -1.0, 1.0)  # the banks
        return mrl.EnvState(position, reward=-jnp.linalg.norm(position), done=False)


mrl.testing.check_env(Boat())

# %% [markdown]
# ## Train
#
# `default_config` has settings for any learner in any environment, which may be changed by `dataclasses.replace`.
# `build` makes pure functions of a configuration; here all meta-steps are one compiled scan. (`mrl.train(config,
# "runs/boat")` does the same with checkpoints, metrics and a progress bar; an interrupted run goes on with
# `mrl.resume`.)

# %%
LEARNERS = ("maml", "rl2", "hypernetwork")
NUM_STEPS = 2 if TEST else 150


def train(learner):
    """Returns what was measured in every meta-step, and held-out returns at the end, `[tasks, rounds]`."""
    config = mrl.default_config(learner, Boat(horizon=4 if TEST else 20))
    config = dataclasses.replace(
        config, num_meta_steps=NUM_STEPS, runtime=mrl.RuntimeConfig(num_devices=1)
    )
    if TEST:
        config = dataclasses.replace(config, num_tasks=4, num_rounds=2)
    program = mrl.build(config)

    @jax.jit
    def run(key):
        first = program.init(key)
        state, metrics = jax.lax.scan(lambda state, _: program.step(state), first, length=NUM_STEPS)
        held_out = program.evaluate(state, jax.random.key(1), num_tasks=4 if TEST else 500)
        return metrics, held_out

    return run(jax.random.key(0))


results = {name: train(name) for name in LEARNERS}

# %% [markdown]
# ## Compare
#
# On the left the return of the last round while training, by what it cost; on the right adaptation in new tasks,
# after training. (A round of MAML is twenty episodes side by side, and one of the others is one episode: they adapt
# from far less.)

# %%
fig, (learning, adaptation) = plt.subplots(1, 2, figsize=(11, 4))
for name, (metrics, held_out) in results.items():
    assert np.isfinite(held_out).all()
    steps = np.cumsum(metrics["env_steps"])
    learning.plot(steps, metrics["episode_return"][:, -1], label=name)
    rounds = np.arange(1, held_out.shape[1] + 1)
    error = 1.96 * held_out.std(axis=0) / np.sqrt(len(held_out))
    adaptation.errorbar(rounds, held_out.mean(axis=0), error, marker="o", label=name)
learning.set(xlabel="steps in the environment", ylabel="return", xscale="log")
adaptation.set(xlabel="round of a new task", xticks=range(1, 5))
learning.legend()
plt.show()
