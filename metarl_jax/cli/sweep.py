"""`metarl sweep`: the options."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from metarl_jax.cli.run_options import RunOptions, folder_name, read_run
from metarl_jax.cli.train import run_sweep
from metarl_jax.core.validation import bounded
from metarl_jax.sweeps.grid import grid_points, parse_axis
from metarl_jax.sweeps.sweep import Sweep

HELP = """Train every combination of float hyperparameters, each with several seeds, in one program
that is compiled once, and rank the combinations by held-out return.

  {prog} --grid learner.inner-lr=0.03,0.1,0.3 --grid outer.learning-rate=3e-4,1e-3 --seeds 4
  {prog} --seeds 5 --run-dir runs/five-seeds

Every flag of `metarl train` sets what the members have in common. The members are spread over the
devices, on a CPU over the cores. Each one equals the run that `metarl train` makes with its values
and its seed (but for the order of float sums), and has the folder of a run in RUN_DIR/members.

The sweep folder holds sweep.json, members/, checkpoints/ of all members together, and results.json.
Ctrl-C saves; `metarl resume RUN_DIR` goes on with all of them."""


@dataclasses.dataclass(frozen=True)
class SweepOptions(RunOptions):
    """Options of `metarl sweep`."""

    grid: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=VALUE,VALUE,…")
    ] = ()
    """A float field and its values, as FIELD=VALUE,VALUE. Repeat it for more fields; all combinations are trained."""
    seeds: int = bounded(1, at_least=1)
    """Number of seeds per combination, starting at `seed`."""
    group_size: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of members that a device trains side by side; smaller groups need less memory. When not given, one on a
    CPU, which is fastest there, and all on an accelerator."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """New or empty folder for the sweep; when not given, runs/NAME-sweep, with -2, -3, … if that exists."""


def main(args: list[str]) -> int:
    """`metarl sweep PRESET …`, `metarl sweep LEARNER --env ENV …`."""
    options, config = read_run(SweepOptions, "sweep", args, HELP)
    points = grid_points([parse_axis(config, text) for text in options.grid])
    sweep = Sweep(config, points, num_seeds=options.seeds, group_size=options.group_size)
    return run_sweep(sweep, options.run_dir, f"{folder_name(config)}-sweep")
