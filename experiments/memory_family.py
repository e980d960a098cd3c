"""Adaptation by memory on bandits, tables and the grid; docs/results/memory.md has the returns that can be reached.

`rl2_bandit.py` and `rl2_grid_navi.py` have RL²; here are the other learners, at the settings of `rl2-bandit` and
`rl2-gru-grid-navi`. Other sizes of bandit are flags: `--env.num-arms 10 --num-rounds 100`. So are other cores of RL²:
`--learner.core min_gru`.
"""

import dataclasses

from metarl_jax.config import EvaluationConfig
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.recurring_bandit import RecurringBandit
from metarl_jax.envs.tabular.random_mdps import TabularMDPs
from metarl_jax.experiments import rl2_bandit, rl2_grid_navi
from metarl_jax.learners.episodic import Episodic
from metarl_jax.learners.key_value import KeyValue
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.symmetric import SymmetricRL2
from metarl_jax.learners.varibad import VariBAD

replace = dataclasses.replace

KEY_VALUE_BANDIT = replace(rl2_bandit.CONFIG, name="key-value-bandit", learner=KeyValue())
"""An external memory that is written within the trial."""

VARIBAD_BANDIT = replace(
    rl2_bandit.CONFIG, name="varibad-bandit", learner=VariBAD(decoder_sizes=(32,))
)
"""VariBAD: the belief over the arms is trained to predict rewards."""

KEY_VALUE_GRID_NAVI = replace(rl2_grid_navi.GRU, name="key-value-grid-navi", learner=KeyValue())
"""An external memory on the grid with a hidden goal."""

VARIBAD_GRID_NAVI = replace(
    rl2_grid_navi.GRU,
    name="varibad-grid-navi",
    learner=VariBAD(elbo_coefficient=0.02),
    advantage=replace(rl2_grid_navi.GRU.advantage, reward_scaling=0.1),
)
"""VariBAD on the grid with a hidden goal, the problem of its paper's figure 3.

11.03 of 11.07 in the last episode after 1600 meta-steps, 36.8 of 37.21 in all four; what is lost is lost in the second.
Measured when encoder and policy, which share no parameters, still shared one bound of the gradient, which the
variational loss would have taken nearly all of with a weight of 1."""

VARIBAD_ZINTGRAF20 = replace(
    VARIBAD_GRID_NAVI,
    name="varibad-grid-navi-zintgraf20",
    learner=VariBAD(
        hidden_size=64,
        encoder_sizes=(32,),
        policy_sizes=(32, 32),
        decoder_sizes=(32, 32),
        reward_head="bernoulli",
        kl_coefficient=0.01,
        num_posteriors=60,
        belief_learning_rate=1e-3,
    ),
    outer=replace(rl2_grid_navi.CONFIG.outer, learning_rate=7e-4, max_gradient_norm=0.5),
    advantage=replace(VARIBAD_GRID_NAVI.advantage, discount=0.95, gae_lambda=0.95),
)
"""VariBAD with the networks and losses of `config/gridworld/args_grid_varibad.py` of lmzintgraf/varibad.

PPO instead of A2C, with the entropy of `rl2-grid-navi`, which is what found the Bayes-optimal policy there. Untried."""

RL2_TABULAR_MDP = replace(
    rl2_bandit.CONFIG,
    name="rl2-tabular-mdp",
    env=TabularMDPs(),
    learner=RL2(
        core="transformer", hidden_size=64, context_length=100, reads_previous_observation=True
    ),
    outer=replace(
        rl2_bandit.CONFIG.outer,
        learning_rate=1e-3,
        num_epochs=1,
        num_minibatches=8,
        entropy_coefficient=0.05,
        final_entropy_coefficient=1e-3,
    ),
    advantage=replace(
        rl2_bandit.CONFIG.advantage,
        discount=0.99,
        gae_lambda=0.9,
        reward_scaling=0.03,
        training_reward="regret",
    ),
    num_meta_steps=1000,
    num_tasks=256,
    evaluation=EvaluationConfig(every=100, num_tasks=2000, deterministic=True),
)
"""RL² on random MDPs of ten states, ten episodes of ten steps: table 2 of Duan et al. (2016).

A transformer, which can look up what an action brought where it was tried before, and advantages that are told what
actions cost: 156.91 ± 0.57 in 2000 held-out tasks (RL² in the paper 156.2, SNAIL 159.1, greedy planning with the
prior of the tasks 154.7), after 25.6M env-steps, 464 s on one core of an AMD EPYC. The cell `transformer`, `mdp-10`
of `experiments/tables/memory_table.py` has two layers of two heads: 157.28 ± 0.57."""

SYMMETRIC_RL2_BANDIT = replace(
    rl2_bandit.CONFIG,
    name="symmetric-rl2-bandit",
    env=Bandit(num_arms=10),
    learner=SymmetricRL2(init_timescale=100.0),
    outer=replace(RL2_TABULAR_MDP.outer, learning_rate=2e-3, entropy_coefficient=0.02),
    advantage=replace(
        rl2_bandit.CONFIG.advantage, gae_lambda=0.98, reward_scaling=0.1, training_reward="regret"
    ),
    num_meta_steps=1600,
    num_tasks=256,
    num_rounds=100,
    evaluation=EvaluationConfig(every=50, num_tasks=2000, deterministic=True),
)
"""RL² for exchangeable arms, on ten arms and 100 pulls; the trained policy works for any number of arms.

83.86 ± 0.08 in 20,000 held-out tasks (Gittins in the same tasks 83.73; RL² in Duan et al. 2016 and SNAIL 83.5), after
41.0M env-steps, 12 minutes on one core of an AMD EPYC beside other work: the cell `symmetric`, `bandit-100-10` of
`experiments/tables/memory_table.py`. After a quarter of that it has 83.62."""

RL2_RECURRING_BANDIT = replace(
    rl2_bandit.CONFIG,
    name="rl2-recurring-bandit",
    env=RecurringBandit(num_arms=5, pool_size=64, period=2),
    learner=RL2(),
    num_meta_steps=300,
    evaluation=EvaluationConfig(every=100, num_tasks=2000, deterministic=True),
)
"""A control: RL² without a store, in tasks that recur with a cue."""

EPISODIC_RECURRING_BANDIT = replace(
    RL2_RECURRING_BANDIT, name="episodic-recurring-bandit", learner=Episodic(capacity=128)
)
"""RL² with a store that outlives trials: 0.90 with the first pull in tasks that it has met, of 0.90 that can be had
(two seeds); in new tasks 0.27, as `rl2-recurring-bandit`.

Every other meta-step all tasks are new, so that exploring is trained as well as remembering. The store holds two pools,
a quarter of all cues: were every cue in it, from older pools, no task in training would ever look unknown."""
