"""RL² on half-cheetah velocity: run at a speed that is not observed (Finn et al. 2017, Rakelly et al. 2019).

Advantages and the trial as one episode as in Duan et al. (2016); discount, λ and the size of the GRU as in the RL²
baseline of Zintgraf et al. (2020). Rewards are scaled for the value function: unscaled, its gradient was a hundred
times the policy's, and nothing was learned.

The small preset on one core of a 2-core AMD EPYC, `JAX_NUM_CPU_DEVICES=1 metarl train rl2-half-cheetah-vel-small`: 2.6M
env-steps in eight minutes; 50 steps an episode, targets U[0, 2] m/s. Held-out return of the two episodes −13.7 and
−14.0 (95% interval of the sum −30.9 to −24.4); random policy −55.3. Always running at 1 m/s, the best that a policy
blind to the task can do, would cost −25 an episode for the speed alone: it adapts, and within the first episode. The
full-size preset is untried: it wants an accelerator.
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.envs.brax.half_cheetah import HalfCheetahVel
from metarl_jax.learners.rl2 import RL2
from metarl_jax.outer.ppo import PPO

CONFIG = Config(
    name="rl2-half-cheetah-vel",
    env=HalfCheetahVel(variant="pearl19"),
    learner=RL2(hidden_size=128, log_std_init=-0.5),
    outer=PPO(
        learning_rate=1e-3,
        num_epochs=4,
        num_minibatches=4,
        clip_eps=0.2,
        rounds="all",
        value_coefficient=0.5,
        entropy_coefficient=0.0,
    ),
    advantage=AdvantageConfig(
        discount=0.97,
        gae_lambda=0.9,
        reward_scaling=0.1,
        baseline="value",
        credit="trial",
        normalization="batch",
    ),
    num_meta_steps=2000,
    num_tasks=256,
    num_rounds=2,
    num_episodes=1,
    normalize_observations=True,
    evaluation=EvaluationConfig(every=100, num_tasks=128),
    log_every=10,
)

SMALL = dataclasses.replace(
    CONFIG,
    name="rl2-half-cheetah-vel-small",
    env=HalfCheetahVel(variant="finn17", horizon=50),
    num_meta_steps=400,
    num_tasks=64,
    evaluation=EvaluationConfig(every=50, num_tasks=64),
)
"""RL² on half-cheetah velocity, at a size for a CPU."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("rl2-half-cheetah-vel")
