"""Return of hoppers against the mass of their torso: EPOpt beside the same policy trained on the mean.

    metarl train epopt-hopper-small --run-dir runs/worst
    metarl train epopt-hopper-small-mean --run-dir runs/mean
    python experiments/hopper_by_mass.py runs/worst runs/mean --out hopper.png

Every run lives one episode, greedily, with each of the same bodies. Printed are the mean of its return, the 10th
percentile, and the mean of the worst tenth, which is what EPOpt is about; then the differences between the first run
and each other. Intervals are 95% bootstrap intervals over bodies, paired for differences.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metarl_jax.envs.hopper_ensemble import HopperBody, HopperEnsemble
from metarl_jax.evaluate import greedy_trial
from metarl_jax.plots import returns_against

NUM_RESAMPLES = 2000


STATISTICS: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": lambda returns: returns.mean(-1),
    "10th percentile": lambda returns: np.percentile(returns, 10, axis=-1),
    "mean of the worst tenth": lambda returns: np.sort(returns)[
        ..., : -(-returns.shape[-1] // 10)
    ].mean(-1),
}
"""Of returns over bodies, `[..., N]` to `[...]`."""


def resampled(num_tasks: int) -> np.ndarray:
    """Bootstrap samples of the indices of tasks, `[B, N]`; the same for every run, so that differences are paired."""
    return np.random.default_rng(0).integers(num_tasks, size=(NUM_RESAMPLES, num_tasks))


def line(name: str, values: dict[str, Any], draws: dict[str, np.ndarray]) -> str:
    """The statistics of a run or of a difference, with the intervals of their bootstrap draws `[B]`."""
    words = []
    for statistic, value in values.items():
        low, high = np.percentile(draws[statistic], [2.5, 97.5])
        words.append(f"{statistic} {value:.1f} ({low:.1f} to {high:.1f})")
    return f"{name}: {', '.join(words)}"


def returns_of(run_dir: Path, num_tasks: int) -> tuple[HopperBody, np.ndarray]:
    """The bodies `[N]`, and the greedy return of the run with each, `[N]`."""
    from metarl_jax.train import load

    program, state = load(run_dir)
    env = program.env
    if not isinstance(env, HopperEnsemble):
        raise SystemExit(f"{run_dir} is a run on {env.name!r}: give runs on 'hopper_ensemble'")
    keys = jax.random.split(jax.random.key(0), num_tasks)

    def one(key):
        task_key, trial_key = jax.random.split(key)
        body = env.sample(task_key, "test")
        trial = greedy_trial(program, state, body, trial_key, num_rounds=1)
        return body, trial.episode_returns()[0, 0]

    bodies, returns = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(keys)
    return jax.tree.map(np.asarray, bodies), np.asarray(returns)


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dirs", type=Path, nargs="+")
    parser.add_argument("--num-tasks", type=int, default=1000, help="held-out bodies")
    parser.add_argument("--out", type=Path, default=Path("hopper.png"))
    options = parser.parse_args(args)

    found: dict[str, np.ndarray] = {}
    mass = np.zeros(0)
    for run_dir in options.run_dirs:
        bodies, found[str(run_dir)] = returns_of(run_dir, options.num_tasks)
        mass = np.asarray(bodies.torso_mass)
    samples = resampled(options.num_tasks)
    values = {
        name: {statistic: of(returns) for statistic, of in STATISTICS.items()}
        for name, returns in found.items()
    }
    draws = {
        name: {statistic: of(returns[samples]) for statistic, of in STATISTICS.items()}
        for name, returns in found.items()
    }
    first, *others = found
    for name in found:
        print(line(name, values[name], draws[name]))
    for name in others:
        value, draw = (jax.tree.map(np.subtract, of[first], of[name]) for of in (values, draws))
        print(line(f"{first} - {name}", value, draw))
    returns_against(mass, "torso mass, kg", found, options.out)
    print(f"drawn to {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
