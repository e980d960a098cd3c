"""`metarl controls`: the options, and the returns of known strategies as a table."""

import dataclasses
import json
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl_jax import envs
from metarl_jax.baselines.measure import ControlsConfig, measure
from metarl_jax.baselines.policies import control_names
from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.options import parse
from metarl_jax.console.activity import Activity
from metarl_jax.console.tables import Column, Table, show
from metarl_jax.console.text import reflow
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import under_fixed_settings
from metarl_jax.runs.stopping import interruptible

HELP = """Measure what is known to do well on a task distribution: the random policy, the oracle that
is told the task, and known strategies, beside the Bayes-optimal return where it can be computed.

  metarl controls bandit --env.num-arms 10 --num-rounds 100
  metarl controls bandit --controls gittins ucb1 ucb1:confidence=1
  metarl controls tabular_mdp --controls psrl psrl:prior_mean=0 --json
  metarl controls grid_navi --num-rounds 4

A field of a strategy is set as in `ucb1:confidence=1`. Bandits and tabular MDPs have strategies;
other environments have the random policy and, most of them, an oracle."""


@dataclasses.dataclass(frozen=True)
class ControlsOptions(ControlsConfig):
    """Options of `metarl controls`."""

    controls: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME …")] = None
    """Controls to run: `random`, `oracle`, or known strategies, whose fields may be set as in `ucb1:confidence=1`; all
    when not given."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only JSON on stdout."""

    def config(self) -> ControlsConfig:
        """Returns the options of the measurement alone."""
        fields = [field.name for field in dataclasses.fields(ControlsConfig)]
        return ControlsConfig(**{name: getattr(self, name) for name in fields})


def main(args: list[str]) -> int:
    """`metarl controls ENV …`."""
    name = args[0] if args and not args[0].startswith("-") else None
    if name is None:
        if {"-h", "--help"} & set(args):
            print(reflow(_overview()))
            return 0
        raise UserError(
            f"metarl controls needs an environment: choose one of {', '.join(envs.names())}"
        )
    env = envs.make(name)
    description = f"{HELP}\n\nControls of {name}: {', '.join(control_names(env))}."
    options = parse(
        ControlsOptions,
        args[1:],
        prog=f"metarl controls {name}",
        description=description,
        default=ControlsOptions(env=env),
    )
    start_backend()
    with Activity(Console(stderr=True), "building") as activity:
        config = options.config()
        report = interruptible(
            under_fixed_settings(lambda: measure(config, progress=activity.update))
        )
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)
    return 0


def print_report(report: dict[str, Any]) -> None:
    """Prints the result of `metarl_jax.baselines.measure.measure` as a table."""
    controls = report["controls"]
    errors = [f"{c['total_se']:.3f}" if "total_se" in c else "exact" for c in controls.values()]
    title = (
        f"{report['env']}: return of a trial of {report['num_rounds']} episode(s), "
        f"{report['num_tasks']} tasks of split {report['split']!r}"
    )
    columns = [
        Column("control", list(controls), is_text=True),
        Column("sum", [f"{control['total_mean']:.3f}" for control in controls.values()]),
        Column("standard error", errors),
        *(
            Column(name, [f"{control['return_mean'][index]:.3f}" for control in controls.values()])
            for name, index in (("first episode", 0), ("last episode", -1))
        ),
    ]
    names = dict.fromkeys(name for c in controls.values() for name in c.get("metrics", {}))
    for name in names:
        if not name.endswith("_mean"):
            cells = [
                _estimate(control.get("metrics", {}).get(name)) for control in controls.values()
            ]
            columns.append(Column(f"{name.removeprefix('env/')}, first episode", cells))
    show(Table(title, columns))


def _estimate(metric: dict[str, Any] | None) -> str:
    """Formats mean and standard error in the first episode."""
    return "" if metric is None else f"{metric['mean'][0]:.2f} ± {metric['se'][0]:.2f}"


def _overview() -> str:
    """Returns the help text for a call without an environment."""
    return (
        f"usage: metarl controls ENV [OPTIONS]\n\n{HELP}\n\n"
        f"Environments: {', '.join(envs.names())}.\n\n"
        "`metarl controls ENV --help` shows the options and the controls of one."
    )
