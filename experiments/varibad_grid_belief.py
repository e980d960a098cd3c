"""Draws how the belief of VariBAD narrows over the grid while the agent searches for the goal.

    metarl train varibad-grid-navi --run-dir runs/varibad-grid
    python experiments/varibad_grid_belief.py runs/varibad-grid --goal 4 1 --out belief.png

One trial of the greedy policy in the task with this goal. After each step of the first episode, and at the first of
the second, the reward decoder is asked, with the mean of the posterior, what staying on each cell would pay.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.env import encode_action
from metarl_jax.envs.grid_navi import GridNavi
from metarl_jax.evaluate import greedy_trial
from metarl_jax.learners.belief import VariBAD
from metarl_jax.plots import grid_belief
from metarl_jax.program import Program
from metarl_jax.trees import join_leading
from metarl_jax.types import TrainState


def beliefs(program: Program, state: TrainState, goal: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The expected reward of each cell `[F, S, S]`, and the cell of the agent `[F, 2]`, at F = T + 1 steps."""
    env, config = program.env, program.config.learner
    assert isinstance(env, GridNavi)
    assert isinstance(config, VariBAD)
    module = config.make_policy(env)
    trial = greedy_trial(program, state, goal, jax.random.key(0), num_rounds=2)
    observation, posterior = join_leading(
        (trial.rollout.timestep.observation, trial.rollout.policy.latent)
    )
    latent = posterior.mean[: env.episode_length + 1]  # [F, 1, Z]

    cells = jnp.eye(env.size**2)[None]
    stay = encode_action(env.action_space, jnp.zeros(cells.shape[:2], jnp.int32))
    shape = (len(latent), env.size**2)
    reward, _ = module.apply(
        state.meta_params,
        jnp.broadcast_to(latent, (*shape, latent.shape[-1])),
        jnp.broadcast_to(cells, (*shape, cells.shape[-1])),
        jnp.broadcast_to(stay, (*shape, stay.shape[-1])),
        method="decode",
    )
    index = np.argmax(observation[: len(latent), 0], axis=-1)
    path = np.stack(np.unravel_index(index, (env.size, env.size)), axis=-1)
    return np.asarray(reward).reshape(-1, env.size, env.size), path


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--goal", type=int, nargs=2, default=(4, 1), metavar=("X", "Y"))
    parser.add_argument("--out", type=Path, default=Path("belief.png"))
    options = parser.parse_args(args)

    from metarl_jax.train import load

    program, state = load(options.run_dir)
    found, path = beliefs(program, state, jnp.array(options.goal, jnp.int32))
    grid_belief(found, path, tuple(options.goal), options.out)
    print(f"drawn to {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
