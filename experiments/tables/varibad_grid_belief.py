"""Draws how the belief of VariBAD narrows over the grid while the agent searches for the goal.

    metarl train varibad-grid-navi --run-dir runs/varibad-grid
    python experiments/tables/varibad_grid_belief.py runs/varibad-grid --goal 4 1 --out belief.png

One trial of the greedy policy in the task with this goal. After each step of the first episode, and at the first of
the second, the reward decoder is asked, with the mean of the posterior, what it would pay to arrive on each cell: the
mean over the moves from its neighbours. (Not what staying would pay. In training hardly anyone stays but on the goal,
and the decoder takes the action for the proof.)
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.analysis.structure_plots import grid_belief
from metarl_jax.cli.output import check_picture
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.paths import local_path
from metarl_jax.core.spaces import encode_action
from metarl_jax.core.trees import join_leading
from metarl_jax.core.types import TrainState
from metarl_jax.envs.grid_cells import MOVES
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.learners.varibad import Steps, VariBAD
from metarl_jax.program.build import Program


def beliefs(program: Program, state: TrainState, goal: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns the expected reward of each cell `[F, S, S]`, and the cell of the agent `[F, 2]`, at F = T + 1 steps."""
    env, config = program.env, program.config.learner
    assert isinstance(env, GridNavi)
    assert isinstance(config, VariBAD)
    module = config.make_policy(env)
    trial = program.trial(
        state, goal, make_key(0), num_rounds=2, num_episodes=1, deterministic=True
    )
    observation, posterior = join_leading(
        (trial.rollout.timestep.observation, trial.rollout.policy.latent)
    )
    latent = posterior.mean[: env.episode_length + 1]  # [F, 1, Z]

    start, action, end = arrivals(env.size)
    shape, cells = (len(latent), len(start)), jnp.eye(env.size**2)
    steps = Steps(
        observation=jnp.broadcast_to(cells[start], (*shape, env.size**2)),
        action=jnp.broadcast_to(encode_action(env.action_space, action), (*shape, len(MOVES))),
        reward=jnp.zeros(shape),
        next_observation=jnp.broadcast_to(cells[end], (*shape, env.size**2)),
        valid=jnp.ones(shape, bool),
    )
    latent = jnp.broadcast_to(latent, (*shape, latent.shape[-1]))
    reward, _ = module.apply(state.meta.params, latent, steps, method="decode")
    if config.reward_head == "bernoulli":
        chance = jax.nn.sigmoid(reward)
        reward = chance - 0.1 * (1.0 - chance)
    onto = np.eye(env.size**2)[end]
    belief = np.asarray(reward) @ (onto / onto.sum(axis=0))
    index = np.argmax(observation[: len(latent), 0], axis=-1)
    path = np.stack(np.unravel_index(index, (env.size, env.size)), axis=-1)
    return belief.reshape(-1, env.size, env.size), path


def arrivals(size: int) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Returns every move between cells: the index of the cell, the action, and the index of the next cell, `[P]`."""
    cell, action = np.divmod(np.arange(size**2 * len(MOVES)), len(MOVES))
    to = np.stack(np.divmod(cell, size), axis=-1) + MOVES[action]
    moves = (action > 0) & (to >= 0).all(axis=-1) & (to < size).all(axis=-1)
    end = to @ np.array([size, 1])
    return jnp.asarray(cell[moves]), jnp.asarray(action[moves]), end[moves]


@under_fixed_settings
def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=local_path)
    parser.add_argument("--goal", type=int, nargs=2, default=(4, 1), metavar=("X", "Y"))
    parser.add_argument("--out", type=local_path, default=Path("belief.png"))
    options = parser.parse_args(args)
    check_picture("out", options.out)

    from metarl_jax.runs.restore import load

    program, state, *_ = load(options.run_dir)
    found, path = beliefs(program, state, jnp.array(options.goal, jnp.int32))
    grid_belief(found, path, tuple(options.goal), options.out)
    print(f"drawn to {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
