"""The exact value of greedy policies on the grid with a hidden goal: every goal once, instead of a sample of goals.

    metarl sweep rl2-grid-navi --seeds 5 --run-dir runs/grid
    python experiments/tables/grid_navi_exact.py runs/grid/members/*

For each run, the mean return over the goals in every episode, their sum beside the Bayes-optimal one, and the way of
the first episode in a task whose goal it does not meet, each cell with the step at which it is first entered.
"""

import argparse
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.paths import local_path
from metarl_jax.envs.grid_navi import GridNavi


def first_entered(observations: np.ndarray, size: int) -> np.ndarray:
    """Returns the step of an episode `[T, O]` at which a cell is entered first, `[S, S]`, and −1 where it never is."""
    cells = np.argmax(observations, axis=-1)
    entered = np.full(size**2, -1)
    for step, cell in reversed(list(enumerate(cells))):
        entered[cell] = step
    return entered.reshape(size, size)


@under_fixed_settings
def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dirs", type=local_path, nargs="+")
    options = parser.parse_args(args)

    from metarl_jax.runs.restore import load

    for run_dir in options.run_dirs:
        program, state, *_ = load(run_dir)
        env = program.env
        if not isinstance(env, GridNavi):
            raise SystemExit(f"{run_dir} is a run on {env.name!r}: give runs on 'grid_navi'")
        num_rounds = program.config.num_rounds
        live = partial(
            program.trial,
            state,
            key=make_key(0),
            num_rounds=num_rounds,
            num_episodes=1,
            deterministic=True,
        )
        trials = jax.jit(jax.vmap(live))(jnp.asarray(env.goals()))
        returns = np.asarray(trials.episode_returns()[..., 0])
        ceiling = env.bayes_optimal_value(num_rounds)
        words = ", ".join(f"{x:.3f}" for x in returns.mean(0))
        best = "" if ceiling is None else f" (Bayes-optimal {ceiling.sum():.3f})"
        print(f"{run_dir}: {words}; sum {returns.mean(0).sum():.3f}{best}")
        observations = trials.rollout.timestep.observation[returns[:, 0].argmin(), 0, :, 0]
        rows = first_entered(np.asarray(observations), env.size).T[::-1]  # y upwards
        print("\n".join(" ".join(f"{step:3d}" if step >= 0 else "  ." for step in r) for r in rows))


if __name__ == "__main__":
    main(sys.argv[1:])
