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
# # Hyperparameters and seeds in one program
#
# A meta-step is a pure function of its configuration's float fields, so `jax.vmap` over them is a sweep: one
# compilation, and all runs side by side. Three ways, from the plainest to the one that survives a power cut.

# %%
import dataclasses
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import metarl_jax as mrl

TEST = os.environ.get("METARL_NOTEBOOK_SIZES") == "test"
FOLDER = Path(tempfile.mkdtemp())
NUM_STEPS = 2 if TEST else 200

env = mrl.envs.get("bandit")(num_arms=5)
config = mrl.default_config("rl2", env, "policy_gradient")
config = dataclasses.replace(
    config,
    learner=dataclasses.replace(config.learner, hidden_size=8 if TEST else 32),
    outer=dataclasses.replace(config.outer, final_learning_rate=None),
    num_meta_steps=NUM_STEPS,
    num_tasks=4 if TEST else 256,
    log_every=1 if TEST else 10,
    evaluation=mrl.EvaluationConfig(every=1 if TEST else 20, num_tasks=10 if TEST else 500),
    runtime=mrl.RuntimeConfig(num_devices=1),
)

# %% [markdown]
# ## `vmap`
#
# The learning rate and the weight of the entropy are tracers here; `build` takes them as it takes numbers.


# %%
def learn(learning_rate, entropy, seed):
    """Returns the wins in a trial, by meta-step."""
    outer = dataclasses.replace(
        config.outer, learning_rate=learning_rate, entropy_coefficient=entropy
    )
    program = mrl.build(dataclasses.replace(config, outer=outer))
    first = program.init(jax.random.key(seed))
    _, metrics = jax.lax.scan(lambda state, _: program.step(state), first, length=NUM_STEPS)
    return metrics["episode_return"].sum(axis=-1)


rates = jnp.geomspace(1e-3, 1e-1, 2 if TEST else 4)
entropies = jnp.array([0.01, 0.1])
seeds = jnp.arange(2)
over_seeds = jax.vmap(learn, in_axes=(None, None, 0))
over_entropies = jax.vmap(over_seeds, in_axes=(None, 0, None))
over_rates = jax.vmap(over_entropies, in_axes=(0, None, None))
wins = jax.jit(over_rates)(rates, entropies, seeds)  # [rates, entropies, seeds, meta-steps]
assert wins.shape == (len(rates), 2, 2, NUM_STEPS)

# %%
for rate, curves in zip(rates, wins, strict=True):
    (line,) = plt.plot(curves[0].mean(axis=0), label=f"learning rate {rate:.0e}")
    plt.plot(curves[1].mean(axis=0), "--", color=line.get_color())
plt.xlabel("meta-step")
plt.ylabel("wins in ten pulls, mean of two seeds")
plt.title("entropy weight 0.01 (lines) and 0.1 (dashes)")
plt.legend()
plt.show()

# %% [markdown]
# ## `mrl.sweep`
#
# The same with a run folder for every member, checkpoints, evaluations in held-out tasks, and a bar meanwhile.
# Interrupt the cell, and the sweep goes on from there with `mrl.resume`, or `metarl resume` in a shell.

# %%
points = [{"outer.learning_rate": float(rate)} for rate in rates]
results = mrl.sweep(mrl.Sweep(config, points, num_seeds=1 if TEST else 2), FOLDER / "sweep")
best = results["points"][0]
print(best["values"], best["score"])

# %% [markdown]
# ## `mrl.search`
#
# Optuna proposes the values, and batches of trials are trained as sweeps. Other processes, on this machine or others,
# may work on the same folder: `metarl search FOLDER`.

# %%
space = {"outer.learning_rate": "1e-3..1e-1:log", "outer.entropy_coefficient": "1e-3..0.3:log"}
found = mrl.search(
    config, space, FOLDER / "search", num_trials=2 if TEST else 20, batch_size=2 if TEST else 10
)
assert len(found["trials"]) == found["num_trials"]

# %%
trials = [trial for trial in found["trials"] if trial["score"] is not None]
values = np.array([[trial["values"][name] for name in space] for trial in trials])
plt.scatter(*values.T, c=[trial["score"] for trial in trials])
plt.xscale("log")
plt.yscale("log")
plt.xlabel("learning rate")
plt.ylabel("entropy weight")
plt.colorbar(label="held-out score")
plt.show()
