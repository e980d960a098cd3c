"""Return of hoppers against the mass of their torso: EPOpt beside the same policy trained on the mean.

    metarl train epopt-hopper-small --run-dir runs/worst
    metarl train epopt-hopper-small-mean --run-dir runs/mean
    python experiments/tables/hopper_by_mass.py runs/worst runs/mean --out hopper.png

Each may be a sweep instead, trained with `--seeds 3`. Every trained policy acts in one episode, greedily, with each of
the same bodies. Printed are the mean of its return, the 10th percentile, and the mean of the worst tenth, which is
what EPOpt is about; then the differences between the first and each other. With several seeds intervals are 95% t
intervals over seeds, of differences paired by seed. With one they are 95% bootstrap intervals over bodies alone, paired
for differences, and tell of the two policies, not of how they were trained.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metarl_jax.analysis.table_plots import returns_against
from metarl_jax.cli.output import check_picture
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.paths import local_path
from metarl_jax.core.statistics import t_ci95
from metarl_jax.envs.brax.hopper import HopperBody, HopperEnsemble
from metarl_jax.sweeps import folder as sweep_folder

NUM_RESAMPLES = 2000


STATISTICS: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": lambda returns: returns.mean(-1),
    "10th percentile": lambda returns: np.percentile(returns, 10, axis=-1),
    "mean of the worst tenth": lambda returns: np.sort(returns)[
        ..., : -(-returns.shape[-1] // 10)
    ].mean(-1),
}
"""Of returns over bodies, `[..., N]` to `[...]`."""


def ci95(statistic: Callable[[np.ndarray], Any], *returns: np.ndarray) -> np.ndarray:
    """95% interval `[2]` of a statistic of returns `[S, N]` or, of two such arrays, of the difference.

    Over seeds where there are several, else over bodies; both arrays have the same seeds and bodies.
    """
    num_seeds, num_tasks = returns[0].shape
    if num_seeds > 1:
        return t_ci95(_difference(*map(statistic, returns)))
    resampled = np.random.default_rng(0).integers(num_tasks, size=(NUM_RESAMPLES, num_tasks))
    draws = _difference(*(statistic(found[0][resampled]) for found in returns))
    return np.percentile(draws, [2.5, 97.5])


def _difference(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    return first - others[0] if others else first


def line(name: str, *returns: np.ndarray) -> str:
    """Returns the statistics of returns `[S, N]` or, of two such arrays, of their difference, with intervals."""
    words = []
    for label, statistic in STATISTICS.items():
        value = _difference(*(statistic(found).mean() for found in returns))
        low, high = ci95(statistic, *returns)
        words.append(f"{label} {value:.1f} ({low:.1f} to {high:.1f})")
    num_seeds = len(returns[0])
    over = f"over {num_seeds} seeds" if num_seeds > 1 else "over bodies alone, one seed"
    return f"{name}: {', '.join(words)}; 95% intervals {over}"


def runs_in(path: Path) -> list[Path]:
    """Returns the run at `path`, or the members of the sweep."""
    if not sweep_folder.is_sweep(path):
        return [path]
    folder, sweep = sweep_folder.open_existing(path)
    return [folder.member(member).path for member in sweep.members()]


def returns_of(run_dir: Path, num_tasks: int) -> tuple[HopperBody, np.ndarray]:
    """Returns the bodies `[N]`, and the greedy return of the run with each, `[N]`."""
    from metarl_jax.runs.restore import load

    program, state, *_ = load(run_dir)
    env = program.env
    if not isinstance(env, HopperEnsemble):
        raise SystemExit(f"{run_dir} is a run on {env.name!r}: give runs on 'hopper_ensemble'")
    keys = jax.random.split(make_key(0), num_tasks)

    def one(key):
        task_key, trial_key = jax.random.split(key)
        body = env.sample(task_key, "test")
        trial = program.trial(
            state, body, trial_key, num_rounds=1, num_episodes=1, deterministic=True
        )
        return body, trial.episode_returns()[0, 0]

    bodies, returns = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(keys)
    return jax.tree.map(np.asarray, bodies), np.asarray(returns)


def _label(path: Path) -> str:
    """Returns the path as a user in this folder would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@under_fixed_settings
def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dirs", type=local_path, nargs="+")
    parser.add_argument("--num-tasks", type=int, default=1000, help="held-out bodies")
    parser.add_argument("--out", type=local_path, default=Path("hopper.png"))
    options = parser.parse_args(args)

    check_picture("out", options.out)
    found: dict[str, np.ndarray] = {}
    mass = np.zeros(0)
    for path in options.run_dirs:
        returns = []
        for run_dir in runs_in(path):
            bodies, greedy = returns_of(run_dir, options.num_tasks)
            returns.append(greedy)
            mass = np.asarray(bodies.torso_mass)
        found[_label(path)] = np.stack(returns)
    if len({len(returns) for returns in found.values()}) > 1:
        raise SystemExit("give runs, or sweeps with equally many seeds, so that they can be paired")
    first, *others = found
    for name, returns in found.items():
        print(line(name, returns))
    for name in others:
        print(line(f"{first} - {name}", found[first], found[name]))
    means = {name: returns.mean(axis=0) for name, returns in found.items()}
    returns_against(mass, "torso mass, kg", means, options.out)
    print(f"drawn to {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
