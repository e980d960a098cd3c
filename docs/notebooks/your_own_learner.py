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
# # A learner of your own in one cell
#
# A learner says how to adapt within a trial. It is a few pure functions of one task: `init` makes the
# meta-parameters, `begin` the inner state at the start of a task, `act` answers a step and carries the inner state
# on.

# %%
import dataclasses
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import metarl_jax as mrl

TEST = os.environ.get("METARL_NOTEBOOK_SIZES") == "test"

# %% [markdown]
# This one plays bandits. Its inner state is the number of pulls and of wins of each arm, and one small network, the
# same for all arms, scores an arm from its own two numbers. What it learns is how curious to be.


# %%
@dataclasses.dataclass(frozen=True)
class Counts(mrl.LearnerConfig):
    """Scores every arm by a learned function of how often it was pulled and how often it won."""

    hidden_size: int = 16
    """Units of the hidden layer."""

    def make(self, env):
        num_arms = env.action_space.num_actions
        score = nn.Sequential([nn.Dense(self.hidden_size), nn.tanh, nn.Dense(1)])
        value = nn.Sequential([nn.Dense(self.hidden_size), nn.tanh, nn.Dense(1)])

        def init(key):
            keys = jax.random.split(key)
            return {
                "score": score.init(keys[0], jnp.zeros((1, 3))),
                "value": value.init(keys[1], jnp.zeros((1, 2 * num_arms))),
            }

        def begin(meta_params, memory, key, num_episodes):
            return jnp.zeros((num_episodes, num_arms, 2))  # pulls and wins, [E, arms, 2]

        def act(meta_params, counts, timestep):
            pulled = timestep.previous_action  # one-hot [E, arms]; zero at the first step of a task
            news = jnp.stack([pulled, pulled * timestep.previous_reward[:, None]], axis=-1)
            counts = jnp.where(timestep.valid[:, None, None], counts + news, counts)
            pulls, wins = counts[..., 0], counts[..., 1]
            total = jnp.broadcast_to(pulls.sum(-1, keepdims=True), pulls.shape)
            seen = jnp.stack([(wins + 1) / (pulls + 2), jnp.log1p(pulls), jnp.log1p(total)], -1)
            logits = score.apply(meta_params["score"], seen)[..., 0]
            summary = counts.reshape(len(counts), -1)
            worth = value.apply(meta_params["value"], summary)[..., 0]
            return mrl.PolicyOut(mrl.Categorical(logits), worth), counts

        return mrl.MetaLearner(init=init, begin=begin, act=act)


# %% [markdown]
# The checks that the library's own learners pass: shapes, purity, that invalid steps change nothing, and that a
# replay of a trial gives what was recorded.

# %%
env = mrl.envs.get("bandit")(num_arms=5)
mrl.testing.check_learner(Counts(), env)

# %% [markdown]
# Train it, beside RL², with the same settings. (In a file, `metarl train my_learner.py:Counts --env bandit` does it,
# with checkpoints.)

# %%
NUM_STEPS, NUM_TASKS = (2, 4) if TEST else (150, 256)


def learning_curve(learner):
    """Returns the mean return of each pull, `[meta-steps, pulls]`, while it trains."""
    config = mrl.default_config(learner, env)
    config = dataclasses.replace(
        config,
        num_meta_steps=NUM_STEPS,
        num_tasks=NUM_TASKS,
        outer=dataclasses.replace(config.outer, learning_rate=3e-3, final_learning_rate=None),
        runtime=mrl.RuntimeConfig(num_devices=1),
    )
    program = mrl.build(config)

    @jax.jit
    def run(key):
        return jax.lax.scan(
            lambda state, _: program.step(state), program.init(key), length=NUM_STEPS
        )

    state, metrics = run(jax.random.key(0))
    return program, state, np.asarray(metrics["episode_return"])


program, state, mine = learning_curve(Counts())
_, _, rl2 = learning_curve("rl2")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.plot(mine.sum(-1), label="Counts")
left.plot(rl2.sum(-1), label="RL²")
left.axhline(6.66, color="k", ls=":", label="Bayes-optimal")
left.set(xlabel="meta-step", ylabel="wins in ten pulls")
left.legend()

pulls = np.arange(11)
wins = np.arange(11)
logits = np.full((11, 11), np.nan)
for n in pulls:
    rate, few = (np.arange(n + 1) + 1) / (n + 2), np.full(n + 1, np.log1p(n))
    seen = np.stack([rate, few, np.full(n + 1, np.log1p(10.0))], axis=-1)
    score = nn.Sequential([nn.Dense(Counts().hidden_size), nn.tanh, nn.Dense(1)])
    logits[: n + 1, n] = score.apply(state.meta.params["score"], seen)[:, 0]
image = right.imshow(logits, origin="lower", cmap="viridis")
right.set(xlabel="pulls of an arm", ylabel="wins of the arm", title="its score, after ten pulls")
fig.colorbar(image)
plt.show()
