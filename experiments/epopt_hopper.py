"""A policy for hoppers with uncertain bodies that must not fail with rare ones (Rajeswaran et al. 2017, EPOpt).

One episode of 3.2 s with each of 64 bodies a meta-step; over 50 meta-steps the share of trials that the objective is
about falls to the quarter that went worst. The other preset, trained on the mean over all bodies, is what to compare
with, by the lower percentiles of the return over bodies, which `metarl eval` prints. The paper has 240 bodies, the
worst tenth after 100 iterations, a feed-forward policy with TRPO, and episodes of 1000 steps; there, training on the
worst costs little in the mean.

Three seeds each, one core of a 2-core AMD EPYC beside other work, 50 minutes; greedy policy, 1000 held-out bodies,
95% t intervals over seeds:

  JAX_NUM_CPU_DEVICES=1 metarl train epopt-hopper-small --seeds 3 --run-dir runs/epopt
  JAX_NUM_CPU_DEVICES=1 metarl train epopt-hopper-small-mean --seeds 3 --run-dir runs/mean
  python experiments/tables/hopper_by_mass.py runs/epopt runs/mean

| | mean | 10th percentile | mean of the worst tenth |
|---|---|---|---|
| worst quarter | 615.3 (577.8 to 652.8) | 554.2 (404.3 to 704.1) | 471.2 (231.0 to 711.3) |
| mean over all | 617.0 (591.9 to 642.0) | 594.5 (559.7 to 629.3) | 507.2 (411.5 to 602.8) |
| difference | -1.7 (-44.6 to 41.3) | -40.3 (-224.6 to 144.1) | -36.0 (-371.3 to 299.3) |

Random policy 20.6. At this size no gain in the worst tenth is seen: seeds differ by more than the objectives do
(docs/results/memory.md).
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.brax.hopper import HopperEnsemble
from metarl_jax.learners.rl2 import RL2
from metarl_jax.outer.ppo import PPO

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
        worst_fraction_anneal_steps=50,
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
    outer=dataclasses.replace(SMALL.outer, worst_fraction=1.0, worst_fraction_anneal_steps=0),
)
"""The same hoppers, trained on the mean over all of them."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("epopt-hopper-small")
