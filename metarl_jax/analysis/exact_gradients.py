"""Exact returns, policy gradients and meta-gradients of tabular problems: what the estimators are measured against.

A policy is a matrix `[S, A]` of probabilities. Returns are differentiable in it, and so in whatever parameters it
comes from, as often as one likes; nothing here is sampled. S, A are the numbers of states and actions, T the horizon.

```python
env = envs.make("random_mdp")
objective = make_objective(lambda logits: jax.nn.softmax(logits), env.mdp(task), env.episode_length)
meta_gradient = exact_meta_gradient(objective, logits, inner_lr=0.5, num_inner_steps=1)
```

References:
  Farquhar, Whiteson & Foerster, "Loaded DiCE", NeurIPS 2019 (V = (I − γP_π)⁻¹R differentiated).
  Tang et al., "Unifying Gradient Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation", NeurIPS 2021.
"""

from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, InnerState, MetaParams, PyTree, TimeStep
from metarl_jax.envs.tabular.planning import TabularMDP
from metarl_jax.learners.base import MetaLearner

Objective = Callable[[PyTree], Array]
"""A function of parameters to the exact expected return, `[]`."""


def exact_return(policy: Array, mdp: TabularMDP, horizon: int | None = None) -> Array:
    """Returns the expected return E Σ_t γᵗ r_t, `[]`, of `horizon` steps, or of infinitely many where there is none.

    With P_π(s, s') = Σ_a π(a|s) P(s'|s, a) and r_π(s) = Σ_a π(a|s) r(s, a): V = (I − γP_π)⁻¹ r_π, or T times
    V ← r_π + γP_π V from V = 0.

    Args:
      policy: `[S, A]`, rows that sum to 1.
      mdp: the tables.
      horizon: T. Without one, γ must be below 1.
    """
    chex.assert_equal_shape([policy, mdp.reward])
    transition = jnp.einsum("sa,sax->sx", policy, mdp.transition)
    reward = jnp.einsum("sa,sa->s", policy, mdp.reward)
    if horizon is None:
        identity = jnp.eye(len(reward), dtype=reward.dtype)
        return mdp.start @ jnp.linalg.solve(identity - mdp.discount * transition, reward)

    def backup(value: Array, _):
        return reward + mdp.discount * transition @ value, None

    value, _ = jax.lax.scan(backup, jnp.zeros_like(reward), length=horizon)
    return mdp.start @ value


def policy_matrix(
    learner: MetaLearner, meta_params: MetaParams, inner_state: InnerState, observations: Array
) -> Array:
    """Returns the policy of a learner in every state, `[S, A]`, where it sees `observations` `[S, O]`.

    Only a learner whose policy depends on nothing but its inner state and the observation has such a matrix: one that
      adapts by gradient, not a recurrent one.
    """
    num_states = len(observations)
    nothing = jnp.zeros(num_states)
    everywhere = TimeStep(
        observation=jnp.asarray(observations),
        previous_action=nothing[:, None],
        previous_reward=nothing,
        is_first=jnp.ones(num_states, bool),
        valid=jnp.ones(num_states, bool),
    )
    out, _ = learner.act(meta_params, inner_state, everywhere)
    return jax.nn.softmax(out.distribution.logits)  # pyright: ignore[reportAttributeAccessIssue]


def make_objective(
    policy: Callable[[PyTree], Array], mdp: TabularMDP, horizon: int | None = None
) -> Objective:
    """Returns J(params), the exact return of the policy matrix of these parameters."""
    return lambda params: exact_return(policy(params), mdp, horizon)


def exact_adapted(
    objective: Objective, params: PyTree, inner_lr: float | Array, num_inner_steps: int = 1
) -> PyTree:
    """Parameters after the inner steps params ← params + α ∇J(params), as infinitely many trajectories would take."""

    def step(params: PyTree, _):
        gradient = jax.grad(objective)(params)
        return jax.tree.map(lambda p, g: p + inner_lr * g, params, gradient), None

    if num_inner_steps == 0:  # a scan over nothing is an error under `jax.disable_jit()`
        return params
    return jax.lax.scan(step, params, length=num_inner_steps)[0]


def exact_meta_gradient(
    objective: Objective,
    params: PyTree,
    inner_lr: float | Array,
    num_inner_steps: int = 1,
    *,
    first_order: bool = False,
) -> PyTree:
    """∇J(U(params)) with U the inner steps of `exact_adapted`: (I + α∇²J(params)) ∇J(params + α∇J(params)) for one.

    Args:
      objective: J.
      params: where.
      inner_lr: α.
      num_inner_steps: how many steps U makes.
      first_order: leave out the derivative of U: ∇J at U(params) (FOMAML).
    """
    adapt = partial(exact_adapted, objective, inner_lr=inner_lr, num_inner_steps=num_inner_steps)
    if first_order:
        return jax.grad(objective)(adapt(params))
    return jax.grad(lambda params: objective(adapt(params)))(params)


def sampled_bandit_objective(
    logits: Array,
    reward: Array,
    inner_lr: float | Array,
    num_samples: int,
    *,
    sampling_correction: bool = True,
) -> Array:
    """F(θ) = E[J(θ + α ĝ(θ, a))], the return of a softmax bandit after an inner step on n sampled actions.

    J(θ) = softmax(θ)·r and ĝ = (1/n) Σ_i r(a_i) ∇log π(a_i). The expectation is the sum over all Aⁿ samples, each with
    its probability Π_i π(a_i). The gradient of F is what E-MAML estimates without bias; with the probabilities taken as
    constants it is what plain autodiff of the log-likelihood estimates.

    Args:
      logits: θ, `[A]`.
      reward: r, `[A]`.
      inner_lr: α.
      num_samples: n.
      sampling_correction: differentiate the probabilities too.

    References:
      Al-Shedivat et al., "Continuous Adaptation via Meta-Learning in Nonstationary and Competitive Environments", 2018.
    """
    chex.assert_equal_shape([logits, reward])
    every_action = jnp.arange(len(logits))
    samples = jnp.stack(jnp.meshgrid(*[every_action] * num_samples), axis=-1)
    samples = samples.reshape(-1, num_samples)

    def adapted_return(actions: Array) -> Array:
        def surrogate(logits):
            return jnp.mean(reward[actions] * jax.nn.log_softmax(logits)[actions])

        return jax.nn.softmax(logits + inner_lr * jax.grad(surrogate)(logits)) @ reward

    probability = jax.nn.softmax(logits)[samples].prod(axis=-1)
    if not sampling_correction:
        probability = jax.lax.stop_gradient(probability)
    return probability @ jax.vmap(adapted_return)(samples)
