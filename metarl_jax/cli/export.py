"""`metarl export`: a trained learner in one file, for programs without metarl_jax."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.output import check_output, say_written
from metarl_jax.cli.run_dir import in_run_dir, read_run_dir
from metarl_jax.config import RuntimeConfig, Which
from metarl_jax.core.validation import bounded

HELP = """Write a trained learner to one file, which acts and adapts with jax, numpy and flatbuffers
alone, on a CPU, GPU or TPU. docs/guide/deployment.md has the twenty lines that use it.

  metarl export runs/rl2-grid-navi-seed0
  metarl export runs/maml-point-robot-seed0 --out robot.zip --checkpoint last

The file is a zip: policy.json (sizes, shapes, spaces, versions) and the functions init, act and, for
a learner that adapts between rounds, adapt, as jax.export writes them. They take any number of tasks
side by side, unless this command says otherwise. A jax as new as this one, or newer, loads it."""


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of `metarl export`."""

    runtime: RuntimeConfig
    """Devices and blocks."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write; policy.zip in the folder of the run when not given."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the file if it exists."""
    checkpoint: Which = "best"
    """The `best` by held-out return, the `last`, or that of a meta-step."""
    batch: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of tasks that act side by side; any number when not given."""


def main(args: list[str]) -> int:
    """Runs `metarl export RUN_DIR …`."""
    run_dir, options = read_run_dir(
        "export", args, HELP, lambda config: ExportOptions(config.runtime)
    )
    out = options.out or in_run_dir(run_dir, "policy.zip")
    check_output("out", out)

    from metarl_jax.runs import export
    from metarl_jax.runs.reporter import Reporter
    from metarl_jax.runs.restore import open_run, reopen

    export.check_new(out, overwrite=options.overwrite)
    export.check_installed()
    start_backend(options.runtime.platform)
    reporter = Reporter(Console(stderr=True))
    folder, config = reopen(run_dir, reporter.warn, options.runtime)
    saved = open_run(folder, config, reporter.warn, options.checkpoint)
    with reporter.busy("exporting"):
        exported = export.export_policy(saved.program, saved.state, options.batch)
    if exported.fixed_because is not None:
        batch = exported.description["batch"]
        reporter.warn(
            f"the file takes exactly {batch} task(s) side by side, and episodes as in training, because this learner "
            f"has no form with symbolic sizes ({exported.fixed_because}); --batch chooses another number"
        )
    export.write_policy(exported, out)
    say_written(out)
    return 0
