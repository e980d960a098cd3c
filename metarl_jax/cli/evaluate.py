"""`metarl eval`: the returns of a trained run, in its own tasks or in others."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.compilation_cache import keep_programs
from metarl_jax.cli.distributed import DistributedOptions
from metarl_jax.cli.run_dir import in_run_dir, read_run_dir
from metarl_jax.config import RuntimeConfig, Which
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution

HELP = """Evaluate a checkpoint of a run, and change nothing in it: the return of each round of the trial,
with a 95% interval over tasks, beside a random policy and, where they are known, an oracle and the
Bayes-optimal returns. `metarl controls ENV --help` names the strategies that --strategies adds.

  metarl eval runs/maml-point-robot-seed0
  metarl eval pretrained:rl2-grid-navi
  metarl eval runs/maml-point-robot-seed0 --split ood --num-tasks 1000 --json
  metarl eval runs/rl2-bandit-seed0 --strategies gittins ucb1
  metarl eval runs/maml-point-robot-seed0 --num-episodes 40 --inner-lr-factors 1 0.5

The checkpoint is the best by held-out return while training, as in the table that training ends
with, unless --checkpoint names another; the tasks are others than those by which it was found best.

  metarl eval runs/maml-point-robot-seed0 --checkpoint last
  metarl eval runs/maml-point-robot-seed0 --checkpoint 50 --runtime.platform cpu

How near does it come to a learner that is told the task?

  metarl train maml --env ant_vel --env.told-task --run-dir runs/told
  metarl eval runs/maml-ant_vel-seed0 --told runs/told --split all

With the fields of its environment and --num-rounds, the same learner in other tasks:
  metarl eval runs/maml-point-robot-seed0 --num-rounds 8 --env.horizon 200"""


@dataclasses.dataclass(frozen=True)
class EvalOptions:
    """Options of `metarl eval`."""

    env: TaskDistribution
    """Environment; fields as in training when not given."""
    runtime: RuntimeConfig
    """Devices and blocks. If those of training are not available, a message says so, and available ones are used."""
    checkpoint: Which = "best"
    """Checkpoint: `best` by held-out return, `last`, or the number of a meta-step."""
    split: Literal["test", "train", "ood", "all"] = "test"
    """Split of the tasks. `all` evaluates every split, and draws their curves into splits.png in the folder of the
    run."""
    told: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run in the same environment that observes the task (--env.told-task). Also show the relative return
    (return - random)/(told - random)."""
    num_tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=2)
    """Number of tasks; as in the run's configuration when not given."""
    num_rounds: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of rounds in a trial; as in the run's configuration when not given."""
    num_episodes: Annotated[int | None, tyro.conf.arg(metavar="INT")] = bounded(None, at_least=1)
    """Number of parallel episodes per round; as in the run's configuration when not given."""
    inner_lr_factors: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT …")] = (
        bounded(None, at_least=0)
    )
    """Factors of the step size in the first inner step, in the second, and so on; the last factor holds for all later
    steps. As in the run's configuration when not given."""
    empty_memory: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Start with an empty episodic memory."""
    strategies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME …")] = ()
    """Known strategies of the environment, evaluated in the same tasks."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only JSON on stdout."""
    distributed: DistributedOptions = DistributedOptions()
    """Several processes that evaluate together."""


def main(args: list[str]) -> int:
    """`metarl eval RUN_DIR …`."""
    run_dir, options = read_run_dir(
        "eval", args, HELP, lambda config: EvalOptions(config.env, config.runtime)
    )
    start_backend(options.runtime.platform, options.distributed)
    keep_programs(options.runtime.compilation_cache)

    from metarl_jax.runs import processes
    from metarl_jax.runs.evaluate import evaluate_run
    from metarl_jax.runs.reporter import Reporter

    reporter = Reporter(Console(stderr=options.json, quiet=not processes.is_first()))
    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    as_json, _ = fields.pop("json"), fields.pop("distributed")
    result = evaluate_run(run_dir, **fields, console=reporter)
    if as_json and processes.is_first():
        print(json.dumps(result, indent=2))
    for evaluation in result.get("splits", {"": result}).values() if not as_json else ():
        reporter.curve(evaluation)
    if "splits" in result:
        from metarl_jax.analysis.plots import splits_curve

        picture = in_run_dir(run_dir, "splits.png")
        processes.first_does(lambda: splits_curve(result["splits"], picture))
        reporter.say(str(picture))
    return 0
