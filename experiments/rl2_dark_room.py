"""RL² in dark rooms: the tasks of Laskin et al. (2023), in which the agent sees only its own cell.

A policy that knows the goal has a return of 16.543 per episode of `dark_room`; one that knows key and door has 2 in
`dark_key_to_door`.

`metarl train rl2-dark-room`, one seed, 15.4M env-steps, ten minutes on one core of an AMD EPYC: 2.67, 4.98, 6.36, 8.24
and 8.02 in five episodes (greedy, 1000 tasks, 95% interval of the last 7.49 to 8.53), still rising at its end. The aim,
95% of 16.543 in the last episode, is missed. With discount 0.99 and λ 0.95 nothing was learned in 1250 meta-steps, nor
with `advantage.training_reward=regret` in 250. `rl2-dark-key-to-door` has not been run.
"""

import dataclasses

from metarl_jax.config import Config, EvaluationConfig
from metarl_jax.envs.dark_room import DarkKeyToDoor, DarkRoom
from metarl_jax.experiments import rl2_grid_navi
from metarl_jax.learners.rl2 import RL2

CONFIG: Config = dataclasses.replace(
    rl2_grid_navi.CONFIG,
    name="rl2-dark-room",
    env=DarkRoom(),
    learner=RL2(
        core="transformer", hidden_size=64, context_length=100, reads_previous_observation=True
    ),
    num_rounds=5,
    num_meta_steps=600,
    evaluation=EvaluationConfig(every=100, num_tasks=1000, deterministic=True),
)
"""A hidden goal, five episodes of 20 steps."""

KEY_TO_DOOR: Config = dataclasses.replace(
    CONFIG,
    name="rl2-dark-key-to-door",
    env=DarkKeyToDoor(),
    learner=RL2(hidden_size=128, encoder_sizes=(64,), init_timescale=250.0),
    num_meta_steps=800,
)
"""A hidden key and a hidden door, five episodes of 50 steps."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("rl2-dark-room")
