"""RL² in environments of other libraries: CartPole of gymnax with hidden physics, and graph colouring of jumanji.

`metarl train rl2-cart-pole`, one seed, 7.7M env-steps, four minutes on one core of an AMD EPYC: 75 (67 to 83) steps in
the first episode, 91, 99, 93, 104 and 108 (94 to 120) in the sixth, still rising; random policy 22, the most that can
be had 200. Means over the episodes that came to their end within a trial, with 95% intervals over 200 tasks.

`metarl train rl2-graph-coloring`, one seed, 512k env-steps, half a minute on one core of an AMD EPYC: −10.77 (−10.89 to
−10.63) colours in 200 unknown graphs of 20 nodes; a random policy among the allowed colours −16.90. All of it is
learned in the first 20 meta-steps.

`metarl train rl2 --env jumanji:Knapsack-v1 --env.horizon 50` does not learn: 13.6 (13.3 to 13.9) after 100 meta-steps,
as a random policy among the items that fit, 13.6. A network that shares weights over the items was not tried.
"""

import dataclasses

from metarl_jax.config import EvaluationConfig
from metarl_jax.defaults import default_config
from metarl_jax.envs.adapters.gymnax_tasks import GymnaxTasks
from metarl_jax.envs.adapters.jumanji_tasks import JumanjiTasks

CART_POLE = dataclasses.replace(
    default_config("rl2", GymnaxTasks(horizon=200)),
    name="rl2-cart-pole",
    num_rounds=6,
    num_steps=600,
    num_tasks=64,
    num_meta_steps=200,
    evaluation=EvaluationConfig(every=50, num_tasks=200, deterministic=True),
)
"""CartPole-v1 whose gravity and direction of force are hidden; trials of 600 steps, in which episodes follow one
another."""

GRAPH_COLORING = dataclasses.replace(
    default_config("rl2", JumanjiTasks(id="GraphColoring-v1", horizon=20)),
    name="rl2-graph-coloring",
    num_rounds=1,
    num_tasks=256,
    num_meta_steps=100,
    evaluation=EvaluationConfig(every=20, num_tasks=200, deterministic=True),
)
"""Graphs of 20 nodes, coloured with as few colours as possible; one episode."""

if __name__ == "__main__":
    from metarl_jax.cli.main import run_preset

    run_preset("rl2-cart-pole")
