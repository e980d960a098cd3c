"""`metarl render`: an agent at work in held-out tasks, as a page or an animation."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.output import check_ending, check_output, say_written
from metarl_jax.cli.run_dir import in_run_dir, read_run_dir
from metarl_jax.config import RuntimeConfig, Which
from metarl_jax.core.validation import bounded
from metarl_jax.core.writing import replacing
from metarl_jax.envs.base import check_split

HELP = """Show an agent at work in held-out tasks, before, during and after adaptation, side by side: an
HTML page for any browser, which needs no network, an animated GIF, or an MP4.

  metarl render runs/maml-point-robot-seed0
  metarl render pretrained:rl2-grid-navi
  metarl render runs/rl2-grid-navi-seed0 --tasks 4 --rounds 1 2 4 --out grid.gif

Of rounds with parallel episodes the first episode is shown."""

ENDINGS = (".html", ".gif", ".mp4")


@dataclasses.dataclass(frozen=True)
class RenderOptions:
    """Options of `metarl render`."""

    runtime: RuntimeConfig
    """Devices and blocks."""
    tasks: int = bounded(3, at_least=1)
    """Held-out tasks to show."""
    rounds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT …")] = ()
    """Rounds to show, numbers from 1; the first, the middle and the last when not given."""
    split: Literal["test", "train", "ood"] = "test"
    """Split of the tasks."""
    checkpoint: Which = "best"
    """The `best` by held-out return, the `last`, or that of a meta-step."""
    seed: int = bounded(0, at_least=0)
    """Seed of the tasks."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write, whose ending is .html, .gif or .mp4; agent.html in the folder of the run when not given. An MP4
    needs pip install 'metarl_jax[video]'."""


def main(args: list[str]) -> int:
    """Runs `metarl render RUN_DIR …`."""
    run_dir, options = read_run_dir(
        "render", args, HELP, lambda config: RenderOptions(config.runtime)
    )
    out = options.out or in_run_dir(run_dir, "agent.html")
    check_ending("out", out, ENDINGS)
    check_output("out", out)
    start_backend(options.runtime.platform)

    from metarl_jax.runs.reporter import Reporter
    from metarl_jax.runs.restore import open_run, reopen
    from metarl_jax.viewer.animation import WRITERS, check_writer, draw_frames
    from metarl_jax.viewer.episodes import check_drawn, record
    from metarl_jax.viewer.page import make_page

    check_writer(out.suffix)
    reporter = Reporter(Console(stderr=True))
    folder, config = reopen(run_dir, reporter.warn, options.runtime)
    check_split(config.env, options.split)
    check_drawn(config, options.rounds)
    saved = open_run(folder, config, reporter.warn, options.checkpoint)
    with reporter.busy(f"acting in {options.tasks} tasks"):
        tasks = record(
            saved.program,
            saved.state,
            num_tasks=options.tasks,
            rounds=options.rounds,
            split=options.split,
            seed=options.seed,
        )
    unit = config.learner.round_label
    if out.suffix in WRITERS:
        WRITERS[out.suffix](draw_frames(tasks, unit), out)
    else:
        title = f"{config.name} in {config.env.name}"
        count = "1 task" if options.tasks == 1 else f"{options.tasks} tasks"
        subtitle = f"{count} of split {options.split}, meta-step {saved.step}"
        with replacing(out) as partial:
            partial.write_text(make_page(tasks, title, subtitle, unit))
    say_written(out)
    return 0
