"""A policy for hoppers of uncertain body that must not fail with the odd ones (Rajeswaran et al. 2017, EPOpt).

One episode of 3.2 s with each of 64 bodies a meta-step; over 50 meta-steps the share of bodies that move the policy
falls to the quarter that went worst. The other preset, trained on the mean over all bodies, is what to compare with, by
the lower percentiles of the return over bodies, which `metarl eval` prints. The paper has 240 bodies, the worst tenth
after 100 iterations, a feed-forward policy with TRPO, and episodes of 1000 steps; there, training on the worst costs
little in the mean.

On one core of an AMD EPYC beside other work, 5.1M env-steps in 12 and 15 minutes; greedy policy, 1000 held-out
bodies, seed 0:

  metarl train epopt-hopper-small --run-dir runs/epopt
  metarl train epopt-hopper-small-mean --run-dir runs/mean
  python experiments/hopper_by_mass.py runs/epopt runs/mean

| | mean | 10th percentile | mean of the worst tenth |
|---|---|---|---|
| worst quarter | 601.6 | 593.2 (592.7 to 593.9) | 546.4 (525.0 to 565.3) |
| mean over all | 602.4 | 593.9 (592.3 to 594.7) | 493.8 (464.0 to 519.4) |
| difference | -0.9 | -0.7 (-1.4 to 0.6) | 52.5 (29.2 to 77.1) |

Random policy 20.6. The policy of the mean falls early with nearly one body in ten, that of the worst more seldom.
Whether the 10th percentile shows it depends on whether a little less or a little more than a tenth falls
(docs/memory.md).
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.envs.hopper_ensemble import HopperEnsemble
from metarl_jax.learners.recurrent import RL2
from metarl_jax.outer.ppo import PPO
from metarl_jax.returns import AdvantageConfig

SMALL = Config(
    name="epopt-hopper-small",
    env=HopperEnsemble(horizon=400),
    learner=RL2(hidden_size=64, encoder_sizes=(64,), log_std_init=-0.5),
    outer=PPO(
        learning_rate=1e-3,
        num_epochs=5,
        num_minibatches=2,
        clip_eps=0.2,
        rounds="all",
        value_coefficient=0.5,
        worst_fraction=0.25,
        worst_fraction_after=50,
    ),
    advantage=AdvantageConfig(
        discount=0.99,
        gae_lambda=0.95,
        reward_scaling=0.1,
        baseline="value",
        credit="trial",
        normalization="batch",
    ),
    num_meta_steps=200,
    num_tasks=64,
    num_rounds=1,
    num_episodes=1,
    normalize_observations=True,
    evaluation=EvaluationConfig(every=50, num_tasks=128),
)
"""The worst quarter of the hoppers, at a size for a CPU."""

SMALL_MEAN = dataclasses.replace(
    SMALL,
    name="epopt-hopper-small-mean",
    outer=dataclasses.replace(SMALL.outer, worst_fraction=1.0, worst_fraction_after=0),
)
"""The same hoppers, trained on the mean over all of them."""

if __name__ == "__main__":
    from metarl_jax.cli import run_preset

    run_preset("epopt-hopper-small")
