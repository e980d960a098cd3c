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
# # Meta-RL on one page
#
# MAML (Finn, Abbeel & Levine 2017), written out. A meta-step samples tasks, acts in each of them, takes one gradient
# step per task, acts again, and moves the initial parameters so that the *second* round earns more. Everything is a
# pure function, so `jax.grad` goes through the inner step, `jax.vmap` over the tasks, and `jax.jit` over all of it.
#
# At the end the same meta-steps are taken by the `maml` of the library, and both agree to float tolerance.

# %%
import dataclasses
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import metarl_jax as mrl
from metarl_jax.core.advantages import discounted_returns, gae
from metarl_jax.core.linear_baseline import linear_feature_baseline
from metarl_jax.core.trees import padded_mean, standardize

TEST = os.environ.get("METARL_NOTEBOOK_SIZES") == "test"
NUM_STEPS, NUM_TASKS, NUM_EPISODES, HORIZON = (3, 4, 4, 10) if TEST else (100, 20, 20, 50)
INNER_LR, LEARNING_RATE, DISCOUNT, GAE_LAMBDA = 0.5, 1e-2, 0.99, 0.9

# %% [markdown]
# ## MAML
#
# `env` is a distribution over tasks: a point in the plane that walks to a goal which it does not see. `network` maps
# an observation to a Gaussian over actions.

# %%
env = mrl.envs.get("point_robot")(horizon=HORIZON)
learner = mrl.learners.get("maml")(inner_lr=INNER_LR, surrogate="log_likelihood", log_std_init=-0.7)
network = learner.make_policy(env)


def act(policy, task, noise):
    """Acts in a task: noise `[T, E, 2]` to the record of E episodes, all `[T, E, ...]`."""

    def step(carry, noise):
        state, valid = carry
        distribution = network.apply(policy, state.observation).distribution
        action = distribution.transform(noise)
        after = jax.vmap(env.step, in_axes=(None, 0, 0))(task, state, action)
        log_prob = distribution.log_prob(action)
        record = state.observation, action, log_prob, jnp.where(valid, after.reward, 0.0), valid
        alive = valid & ~after.done
        stays = jnp.where(alive[:, None], after.observation, state.observation)
        return (after.replace(observation=stays), alive), record

    keys = jax.random.split(jax.random.key(0), NUM_EPISODES)  # all begin in (0, 0)
    start = jax.vmap(env.reset, in_axes=(None, 0))(task, keys)
    _, (observation, action, log_prob, reward, valid) = jax.lax.scan(
        step, (start, jnp.ones(NUM_EPISODES, bool)), noise
    )
    returns = discounted_returns(reward, valid, DISCOUNT)
    baseline = linear_feature_baseline(observation, returns, valid)
    advantage = standardize(gae(reward, baseline, valid, DISCOUNT, GAE_LAMBDA), valid)
    return observation, action, log_prob, advantage, valid, reward


def inner_loss(policy, record):
    """The loss whose gradient is the policy gradient: −mean log π(a|s) A."""
    observation, action, _, advantage, valid, _ = record
    log_prob = network.apply(policy, observation).distribution.log_prob(action)
    return -padded_mean(log_prob * advantage, valid)


def adapted(policy, record):
    """One inner step."""
    gradient = jax.grad(inner_loss)(policy, record)
    return jax.tree.map(lambda p, g: p - INNER_LR * g, policy, gradient)


def outer_loss(policy, before, after):
    """The loss of the adapted policy on what it did: −mean π/π_recorded A, a function of the initial parameters."""
    observation, action, recorded, advantage, valid, _ = after
    log_prob = network.apply(adapted(policy, before), observation).distribution.log_prob(action)
    return -padded_mean(jnp.exp(log_prob - recorded) * advantage, valid)


def one_task(policy, task, key):
    """The gradient of the initial parameters in one task, and the returns before and after the inner step."""
    _, rounds_key = jax.random.split(key)

    def noise(index):
        _, key_of_actions = jax.random.split(jax.random.fold_in(rounds_key, index))
        keys = jax.random.split(key_of_actions, HORIZON)
        return jax.vmap(lambda key: jax.random.normal(key, (NUM_EPISODES, 2)))(keys)

    before = act(policy, task, noise(0))
    after = act(adapted(policy, before), task, noise(1))
    returns = jnp.stack([before[-1].sum(0).mean(), after[-1].sum(0).mean()])
    return jax.grad(outer_loss)(policy, before, after), returns


optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LEARNING_RATE, eps=1e-5))


@jax.jit
def meta_step(policy, opt_state, key):
    """One step of MAML on a batch of tasks."""

    def keys(key):
        return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(NUM_TASKS))

    key, task_key, acting_key = jax.random.split(key, 3)
    tasks = jax.vmap(env.sample)(keys(task_key))
    gradients, returns = jax.vmap(one_task, in_axes=(None, 0, 0))(policy, tasks, keys(acting_key))
    gradient = jax.tree.map(lambda g: g.mean(0), gradients)
    updates, opt_state = optimizer.update(gradient, opt_state)
    return optax.apply_updates(policy, updates), opt_state, key, returns.mean(0)


# %% [markdown]
# ## The same in the library
#
# A configuration, and the pure functions that `build` makes of it. The outer method `policy_gradient` takes one step
# of Adam for every meta-batch, as above.

# %%
config = mrl.default_config(learner, env, "policy_gradient")
config = dataclasses.replace(
    config,
    outer=dataclasses.replace(config.outer, learning_rate=LEARNING_RATE),
    advantage=mrl.AdvantageConfig(
        discount=DISCOUNT, gae_lambda=GAE_LAMBDA, baseline="linear", normalization="round"
    ),
    num_meta_steps=NUM_STEPS,
    num_tasks=NUM_TASKS,
    num_rounds=2,
    num_episodes=NUM_EPISODES,
    runtime=mrl.RuntimeConfig(num_devices=1),
)
program = mrl.build(config)
state = program.init(jax.random.key(0))
library_step = jax.jit(program.step)

policy, key = state.meta.params["policy"], state.key  # both begin alike
opt_state = optimizer.init(policy)
returns = []
for step in range(NUM_STEPS):
    policy, opt_state, key, earned = meta_step(policy, opt_state, key)
    state, metrics = library_step(state)
    if step < 3:  # later, rounding adds up
        np.testing.assert_allclose(earned, metrics["episode_return"], rtol=1e-4)
        for mine, theirs in zip(
            jax.tree.leaves(policy), jax.tree.leaves(state.meta.params["policy"]), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)
    returns.append((earned, metrics["episode_return"]))
print("the parameters agree after each of the first three meta-steps")

# %%
mine, theirs = np.asarray(returns).swapaxes(0, 1)
for index, name in enumerate(("before", "after")):
    plt.plot(mine[:, index], label=f"{name} the inner step, this page")
    plt.plot(theirs[:, index], "k:", label=f"{name}, library" if index else None)
plt.xlabel("meta-step")
plt.ylabel("return of an episode")
plt.legend()
plt.show()

# %% [markdown]
# ## What was learned
#
# In a new task the robot first spreads out, and after one gradient step walks to the goal that it has never seen.

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 4), sharex=True, sharey=True)
for index, axis in enumerate(axes):
    task = env.sample(jax.random.key(100 + index), "test")
    noises = jax.random.normal(jax.random.key(index), (2, HORIZON, NUM_EPISODES, 2))
    before = act(policy, task, noises[0])
    after = act(adapted(policy, before), task, noises[1])
    for record, colour in ((before, "tab:gray"), (after, "tab:blue")):
        axis.plot(*record[0][:, :5].transpose(2, 0, 1), color=colour, alpha=0.7)
    axis.plot(*task, "r*", markersize=14)
axes[0].set_title("grey: before, blue: after one gradient step")
plt.show()
