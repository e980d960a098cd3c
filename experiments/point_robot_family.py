"""Every way to adapt by gradient, on the point robot: "2D navigation" of Finn et al. (2017).

All presets share one base, `maml-point-robot` with half the tasks, and state only their changes.
docs/results/gradient_family.md has the table over five seeds and its command. The paper has −40.4, −11.7, −3.33, −3.23
after 0 to 3 gradient steps for MAML, −8.5 after three for a policy pretrained on all tasks, −2.29 for one that is told
the goal.
"""

import dataclasses

from metarl_jax.config import EvaluationConfig
from metarl_jax.experiments import maml_point_robot
from metarl_jax.learners.maml import ANIL, CAVIA, MAML, MetaSGD
from metarl_jax.learners.zero_order import ZeroOrder
from metarl_jax.outer.es import ES
from metarl_jax.outer.policy_gradient import PolicyGradient
from metarl_jax.outer.ppo import PPO
from metarl_jax.outer.reptile import Reptile
from metarl_jax.outer.trpo import TRPO

replace = dataclasses.replace

BASE = replace(
    maml_point_robot.CONFIG,
    num_tasks=20,
    num_meta_steps=40,
    evaluation=EvaluationConfig(every=20, num_tasks=200),
)
LEARNER = {"inner_lr": 0.05, "learn_inner_lr": "array", "log_std_init": -0.7}
PPO_OPTIONS = BASE.outer
assert isinstance(PPO_OPTIONS, PPO)

TRPO_CONFIG = replace(BASE, name="maml-trpo-point-robot", outer=TRPO(), num_meta_steps=30)
"""MAML with TRPO, the outer method of the paper."""

POLICY_GRADIENT = replace(
    BASE,
    name="maml-policy-gradient-point-robot",
    outer=PolicyGradient(learning_rate=5e-3, final_learning_rate=5e-4),
    num_meta_steps=120,
)
"""MAML with one plain gradient step for every meta-batch."""

FOMAML = replace(BASE, name="fomaml-point-robot", learner=MAML(**LEARNER, first_order=True))
"""First-order MAML: the inner gradient is a constant to the outer one."""

ANIL_CONFIG = replace(BASE, name="anil-point-robot", learner=ANIL(**LEARNER))
"""ANIL: only the head adapts."""

CAVIA_CONFIG = replace(
    BASE,
    name="cavia-point-robot",
    learner=CAVIA(inner_lr=1.0, learn_inner_lr="array", log_std_init=-0.7),
)
"""CAVIA: only five numbers beside the observation adapt."""

META_SGD = replace(
    BASE, name="meta-sgd-point-robot", learner=MetaSGD(inner_lr=0.05, log_std_init=-0.7)
)
"""Meta-SGD: a step size for every parameter."""

REPTILE = replace(
    BASE,
    name="reptile-point-robot",
    learner=MAML(inner_lr=0.1, log_std_init=-0.7),
    outer=Reptile(step="interpolate", learning_rate=1.0, final_learning_rate=0.0),
    num_meta_steps=100,
)
"""Reptile: the meta-parameters move a share of the way to the adapted parameters, from all of it to nothing."""

PRETRAINED = replace(
    BASE,
    name="pretrained-point-robot",
    learner=MAML(inner_lr=0.1, log_std_init=-0.7),
    outer=replace(PPO_OPTIONS, rounds="first"),
    num_rounds=2,
    evaluation=replace(BASE.evaluation, num_rounds=4),
)
"""A control: one policy for all tasks, fine-tuned by the same inner steps."""

E_MAML = replace(
    BASE,
    name="e-maml-point-robot",
    learner=MAML(**LEARNER, surrogate="log_likelihood"),
    outer=replace(PPO_OPTIONS, sampling_correction=1.0, sampling_credit="standardized"),
)
"""E-MAML: the data of the inner steps are credited with the return after adaptation."""

PROMP = replace(
    BASE, name="promp-point-robot", outer=replace(PPO_OPTIONS, inner_kl_coefficient=5e-4)
)
"""ProMP: the clipped objective with a penalty on the divergence of the policies before the last."""

ES_MAML = replace(
    BASE,
    name="es-maml-point-robot",
    learner=MAML(inner_lr=0.1, log_std_init=-0.7),
    outer=ES(learning_rate=1e-2, num_perturbations=16),
    num_meta_steps=60,
)
"""A hybrid: evolution strategies around inner policy-gradient steps."""

ES_ZERO_ORDER = replace(
    BASE,
    name="es-maml-zero-order-point-robot",
    learner=ZeroOrder(),
    outer=ES(learning_rate=2e-2, num_perturbations=150, sigma=0.1),
    num_tasks=4,
    num_rounds=2,
    num_meta_steps=60,
    normalize_observations=True,
)
"""ES-MAML as Song et al. (2020) have it: evolution strategies around a zero-order inner step of a linear policy.

−40.2 and −20.8 (95% interval −22.4 to −19.1) before and after the step on 200 held-out goals with seed 0, after 2.9e8
env-steps in half a minute on one core of an AMD EPYC. Not tuned: the source trains for up to 10,000 updates."""
