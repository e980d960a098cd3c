"""A policy for hoppers of uncertain body that must not fail with the odd ones (Rajeswaran et al. 2017, EPOpt).

One episode of 3.2 s with each of 64 bodies a meta-step; after 50 meta-steps only the quarter that went worst moves the
policy. The other preset, trained on the mean over all bodies, is what to compare with, by the lower percentiles of the
return over bodies, which `metarl eval` prints. The paper has 240 bodies, the worst tenth after 100 iterations, a
feed-forward policy with TRPO, and episodes of 1000 steps; there, training on the worst costs little in the mean.

On one core of a 2-core AMD EPYC, beside other work, `JAX_NUM_CPU_DEVICES=1 metarl train epopt-hopper-small
--num-meta-steps 40 --outer.worst-fraction-after 20 --evaluation.num-tasks 32`: four minutes and three of compilation.
Held-out return 367.0 (95% interval 360.8 to 373.6), 10th percentile 342.8, 90th 392.0; random policy 19.9. So early,
the policy dashes at 1.5 m/s and falls after 1.2 s, whatever its body. The whole runs, and the comparison, are untried:

  metarl train epopt-hopper-small
  metarl train epopt-hopper-small-mean
  metarl eval RUN_DIR --num-tasks 1000
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
