"""`metarl plot`: learning and adaptation curves of runs and sweeps, side by side."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl_jax.cli.options import parse
from metarl_jax.cli.output import check_picture, say_written
from metarl_jax.core.errors import UserError

HELP = """Draw runs and sweeps side by side: held-out return while training, against env-steps and against
meta-steps, and the adaptation curves at the end. Runs of one configuration that differ in the seed
are one line, with a 95% band over seeds; a single run has a band over tasks.

  metarl plot runs/maml-point-robot-seed0 runs/anil-point-robot-seed0
  metarl plot runs/family/* --out curves.svg"""


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Options of `metarl plot`."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR")]
    """Folders of runs and sweeps."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("curves.png")
    """File to write: .png, .svg or .pdf."""


def main(args: list[str]) -> int:
    """Runs `metarl plot RUN_DIR …`."""
    options = parse(PlotOptions, args, prog="metarl plot", description=HELP)
    if not options.run_dirs:
        raise UserError("metarl plot needs folders of runs or sweeps: see metarl plot --help")
    check_picture("out", options.out)
    errors = Console(stderr=True, style="yellow", markup=False, highlight=False, soft_wrap=True)

    from metarl_jax.analysis.plots import learning_curves
    from metarl_jax.sweeps.curves import read_curves

    curves = read_curves(options.run_dirs, lambda message: errors.print(f"warning: {message}"))
    learning_curves(curves, options.out)
    say_written(options.out)
    return 0
