"""Slowdown of a trained scheduler at each offered load, beside known heuristics in the same tasks.

    metarl train rl2-job-scheduling-load --run-dir runs/load
    python experiments/tables/scheduling_by_load.py runs/load

At every load the best checkpoint acts greedily in `--num-tasks` tasks of which all else is drawn as in training, and
each heuristic acts in the same tasks with the same jobs. Printed, in Markdown, are mean slowdowns in the last episode
of a trial and, where a trial has several, in the first; then the differences between the trained policy and each
heuristic in the last episode, paired by task, with 95% t intervals over tasks. These tell of the trained policy, not
of how it was trained: that is one seed.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.paths import local_path
from metarl_jax.core.statistics import t_ci95
from metarl_jax.core.types import TrainState
from metarl_jax.envs.job_scheduling import JobScheduling
from metarl_jax.envs.told_task import as_observed

LOADS = (0.3, 0.7, 1.1, 1.5, 1.9)
HEURISTICS = {
    "load": ("oracle", "tetris", "packer", "first_fit", "smallest", "random"),
    "classes": ("oracle", "bookkeeper", "packer", "first_fit", "smallest", "random"),
}
"""Controls of each variant. `oracle` is the shortest job first with known durations."""
TRAINED, SLOWDOWN = "trained", "env/slowdown"

Slowdowns = dict[str, np.ndarray]
"""Slowdowns by the name of the policy, each `[tasks, K]`; of all policies in the same tasks."""


def slowdowns(
    config: Config,
    state: TrainState,
    loads: Sequence[float],
    num_tasks: int,
    controls: Sequence[str] = (),
) -> dict[float, Slowdowns]:
    """Returns the slowdowns of the greedy policy and of controls at each load, in whole episodes.

    Args:
      config: of a run on `job_scheduling`.
      state: of the trained learner.
      loads: of the tasks.
      num_tasks: at each load.
      controls: names; those of `HEURISTICS` when not given.

    Raises:
      UserError: if the tasks of the run are not those of `job_scheduling`, or a load is not above 0.
    """
    from metarl_jax.baselines.policies import control_spec
    from metarl_jax.program.build import make_spec
    from metarl_jax.program.evaluation import make_measure
    from metarl_jax.program.step import make_init

    env = config.env
    if not isinstance(env, JobScheduling):
        raise UserError(
            f"run_dir holds a run on {env.name!r}: give a run on {JobScheduling.name!r}"
        )
    if min(loads) <= 0:
        raise UserError(f"loads={min(loads)} must be above 0")
    spec = make_spec(config)

    def measure(load: jax.Array, key: jax.Array, control: str | None) -> jax.Array:
        at_load = dataclasses.replace(env, min_load=load, max_load=load)
        mine = spec._replace(env=as_observed(at_load))
        start = state
        if control is not None:
            mine = control_spec(mine, control)
            start = make_init(mine)(key)
        measured = make_measure(
            mine,
            num_rounds=config.num_rounds,
            num_episodes=1,
            num_steps=None,
            deterministic=control is None,
        )
        return measured(start, key, "test", num_tasks)[SLOWDOWN]

    found: dict[float, Slowdowns] = {load: {} for load in loads}
    for control in (None, *(controls or HEURISTICS[env.variant])):
        compiled = jax.jit(partial(measure, control=control))
        for load in loads:
            values = compiled(jnp.float32(load), make_key(1))
            found[load][control or TRAINED] = np.asarray(values, np.float64)
    return found


def table(found: dict[float, Slowdowns]) -> str:
    """Returns the table of slowdowns by load, in Markdown."""
    policies = next(iter(found.values()))
    num_rounds = policies[TRAINED].shape[1]
    episodes = {"": 0} if num_rounds == 1 else {", first episode": 0, ", last episode": -1}
    rows = {
        name + episode: [f"{mine[name][:, index].mean():.2f}" for mine in found.values()]
        for name in policies
        for episode, index in episodes.items()
    } | {
        f"{TRAINED} − {name}": [
            difference(mine[TRAINED][:, -1], mine[name][:, -1]) for mine in found.values()
        ]
        for name in policies
        if name != TRAINED
    }
    head = {"slowdown at load": [f"{load:g}" for load in found], "---": ["---"] * len(found)}
    return "\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in (head | rows).items())


def difference(first: np.ndarray, second: np.ndarray) -> str:
    """Returns the mean of paired differences `[tasks]`, and its 95% interval."""
    low, high = t_ci95(first - second)
    return f"{(first - second).mean():.2f} ({low:.2f} to {high:.2f})"


@under_fixed_settings
def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=local_path)
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="offered loads")
    parser.add_argument("--num-tasks", type=int, default=400, help="tasks at each load")
    options = parser.parse_args(args)

    from metarl_jax.runs.restore import load

    run_dir: Path = options.run_dir
    run = load(run_dir)
    print(f"{run_dir}: {options.num_tasks} tasks at each load", flush=True)
    print(table(slowdowns(run.config, run.state, options.loads, options.num_tasks)))


if __name__ == "__main__":
    main(sys.argv[1:])
