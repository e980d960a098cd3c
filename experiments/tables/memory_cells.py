"""The cells of `memory_table.py`: which learner is trained on which problem, how, for how long, and from what."""

import dataclasses
from pathlib import Path
from typing import Any

from metarl_jax.config import Config
from metarl_jax.envs.bandit import Bandit
from metarl_jax.experiments import memory_family, rl2_bandit
from metarl_jax.learners.key_value import KeyValue
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequenceLearner
from metarl_jax.learners.symmetric import SymmetricRL2
from metarl_jax.learners.varibad import VariBAD

replace = dataclasses.replace

PROBLEMS = [f"bandit-{n}-{k}" for n, k in ((10, 5), (10, 50), (100, 5), (100, 10), (100, 50))]
PROBLEMS += [f"mdp-{n}" for n in (10, 25, 50)]
"""`bandit-PULLS-ARMS` and `mdp-EPISODES`."""
LEARNERS: dict[str, SequenceLearner] = {
    "gru": RL2(),
    "lstm": RL2(core="lstm"),
    "min_gru": RL2(core="min_gru"),
    "transformer": RL2(core="transformer", hidden_size=64, num_layers=2, num_heads=2),
    "symmetric": SymmetricRL2(),
    "key_value": KeyValue(num_slots=64),
    "varibad": VariBAD(decoder_sizes=(32,)),
}
NUM_META_STEPS = {
    "bandit": {
        "gru": 400,
        "lstm": 250,
        "min_gru": 3000,
        "transformer": 200,
        "symmetric": 400,
        "key_value": 400,
        "varibad": 300,
    },
    "mdp": {
        "gru": 400,
        "lstm": 250,
        "min_gru": 400,
        "transformer": 1000,
        "symmetric": 400,
        "key_value": 400,
        "varibad": 300,
    },
}
"""Meta-steps of a training, by problem or family of problems: more for fast cores, and most for the best one. Bandits
of ten pulls take a third of them."""
NUM_META_STEPS["bandit-100-5"] = NUM_META_STEPS["bandit"] | {
    "min_gru": 1500,
    "symmetric": 1600,
    "key_value": 200,
}
NUM_META_STEPS["bandit-100-10"] = NUM_META_STEPS["bandit"] | {"symmetric": 1600}
NUM_META_STEPS["bandit-100-50"] = NUM_META_STEPS["bandit"] | {"min_gru": 5000, "key_value": 200}
LATER = {"gru": 200, "lstm": 150, "symmetric": 200, "key_value": 100, "varibad": 150}
"""Meta-steps of learners that start from their training in a shorter problem, if these are fewer."""
NUM_META_STEPS["mdp-25"] = NUM_META_STEPS["mdp"] | LATER | {"transformer": 1500}
NUM_META_STEPS["mdp-50"] = NUM_META_STEPS["mdp"] | LATER | {"transformer": 300}
STEPS_OF_A_META_STEP = 25_600
"""Env-steps of a meta-step, with at least 48 tasks."""
SHORTER = {"mdp-25": "mdp-10", "mdp-50": "mdp-25"}
"""Problems whose learners start from their training in a shorter one."""
FEWER_ARMS = {"bandit-10-50": "bandit-10-5", "bandit-100-50": "bandit-100-10"}
"""Problems that learners for any number of arms start from their training with fewer arms."""
ROOT = Path("runs/memory")
"""Folder of all cells, unless another is given."""


def configuration(problem: str, learner: str, root: Path = ROOT, effort: float = 1.0) -> Config:
    """Returns the configuration of a cell.

    Args:
      problem: one of `PROBLEMS`.
      learner: a key of `LEARNERS`.
      root: the folder of all cells, one of which this may begin from.
      effort: factor of the meta-steps.
    """
    family, *sizes = problem.split("-")
    num_rounds = int(sizes[0])
    base = memory_family.RL2_TABULAR_MDP
    if family == "bandit":
        is_symmetric = isinstance(LEARNERS[learner], SymmetricRL2)
        base = memory_family.SYMMETRIC_RL2_BANDIT if is_symmetric else rl2_bandit.CONFIG
        base = replace(base, env=Bandit(num_arms=int(sizes[1])))
    num_steps = num_rounds * base.env.episode_length
    num_meta_steps = NUM_META_STEPS.get(problem, NUM_META_STEPS[family])[learner]
    before = begins_from(problem, learner)
    config = replace(
        base,
        name=f"{problem}-{learner}",
        init_from=None if before is None else str((root / before / learner).resolve()),
        learner=sized(LEARNERS[learner], num_steps, has_dynamics=family == "mdp"),
        outer=replace(
            memory_family.RL2_TABULAR_MDP.outer,
            learning_rate=1e-3 if learner == "transformer" else 2e-3,
        ),
        num_meta_steps=num_meta_steps if num_steps >= 100 else num_meta_steps // 3,
        num_rounds=num_rounds,
        num_tasks=max(48, STEPS_OF_A_META_STEP // num_steps // 16 * 16),
        evaluation=replace(base.evaluation, every=50, num_tasks=2000),
    )
    if isinstance(config.env, Bandit):
        config = with_objective_of_bandits(config, config.env.num_arms)
    elif problem in SHORTER:
        # What is learned of a task pays for hundreds of steps.
        config = replace(
            config,
            outer=replace(config.outer, entropy_coefficient=0.03),
            advantage=replace(config.advantage, discount=1.0, gae_lambda=0.97),
        )
    return replace(config, num_meta_steps=round(effort * config.num_meta_steps))


def with_objective_of_bandits(config: Config, num_arms: int) -> Config:
    """Returns the configuration with regret as training reward and an entropy bonus for this number of arms."""
    # Values of the order of 1: their gradient would otherwise be nearly all of one whose norm is bounded.
    advantage = replace(config.advantage, training_reward="regret", reward_scaling=0.1)
    # The more arms there are, the longer a policy stays uniform; a long training has the time for it among few.
    entropy = 0.05 * min(1.0, 10 / num_arms)
    if num_arms <= 10 and config.num_rounds >= 100 and config.num_meta_steps >= 1000:
        entropy = 0.1
    if isinstance(config.learner, SymmetricRL2):
        # All arms are learned at once, and need not be sought for as long.
        entropy = min(entropy, 0.02)
    outer = replace(config.outer, entropy_coefficient=entropy)
    return replace(config, outer=outer, advantage=advantage)


def begins_from(problem: str, learner: str) -> str | None:
    """Returns the problem whose trained learner initialises this training, if any."""
    fewer_arms = FEWER_ARMS if isinstance(LEARNERS[learner], SymmetricRL2) else {}
    return (SHORTER | fewer_arms).get(problem)


def sized(learner: SequenceLearner, num_steps: int, has_dynamics: bool) -> SequenceLearner:
    """Returns the learner for trials of this many steps."""
    options: dict[str, Any] = {"reads_previous_observation": has_dynamics}
    if isinstance(learner, SymmetricRL2) and has_dynamics:
        options["hidden_size"] = 64  # what an action brings in each of ten states
    if isinstance(learner, RL2):
        options["context_length"] = num_steps
    if num_steps >= 100 and not learner.make_core().is_parallel:
        # The parallel cores remember long before they are trained.
        options["init_timescale"] = num_steps
    if isinstance(learner, VariBAD):
        # Of a mean step, not of the sum over all of them, which would take nearly all of the bounded gradient.
        options["elbo_coefficient"] = 1.0 / num_steps
        options["transition_coefficient"] = 1.0 if has_dynamics else 0.0
    return replace(learner, **options)
