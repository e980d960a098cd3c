"""`metarl bias`: the options, and the comparison of estimators as tables."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl_jax import envs
from metarl_jax.analysis.estimator_bias import BiasConfig, measure
from metarl_jax.cli.backend import start_backend
from metarl_jax.cli.options import last_value, parse
from metarl_jax.cli.output import check_picture, say_written
from metarl_jax.console.activity import Activity
from metarl_jax.console.tables import Column, Table, show
from metarl_jax.core.jax_settings import under_fixed_settings
from metarl_jax.runs.stopping import interruptible

HELP = """Measure bias, variance and direction of the meta-gradient estimators on one tabular task,
against its exact meta-gradient, as the number of trajectories grows.

  metarl bias --plot bias.png
  metarl bias --estimators lvc dice --num-episodes 30 300 --num-inner-steps 2
  metarl bias --env tabular_mdp --baseline none --json"""

DEFAULT_ENV = {
    "num_states": 5,
    "num_actions": 3,
    "horizon": 10,
    "discount": 0.9,
    "concentration": 0.1,
}
"""Size of `random_mdp`: small enough to run in a minute, with episodes long enough for LVC to be biased."""


@dataclasses.dataclass(frozen=True)
class BiasOptions(BiasConfig):
    """Options of `metarl bias`."""

    env_name: Annotated[str, tyro.conf.arg(name="env", metavar="NAME")] = "random_mdp"
    """Tabular task distribution: random_mdp, tabular_mdp, point_1d or softmax_bandit."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the figure of the comparison (PNG)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print only JSON on stdout."""

    def config(self) -> BiasConfig:
        """Returns the options of the measurement alone."""
        fields = [field.name for field in dataclasses.fields(BiasConfig)]
        return BiasConfig(**{name: getattr(self, name) for name in fields})


def main(args: list[str]) -> int:
    """`metarl bias …`."""
    name = last_value(args, "--env")
    env = envs.make("random_mdp", **DEFAULT_ENV) if name is None else envs.make(name)
    default = BiasOptions(env=env, env_name=type(env).name)
    options = parse(BiasOptions, args, prog="metarl bias", description=HELP, default=default)
    check_picture("plot", options.plot)
    start_backend()
    with Activity(Console(stderr=True), "computing the exact meta-gradient") as activity:
        config = options.config()
        report = interruptible(
            under_fixed_settings(lambda: measure(config, progress=activity.update))
        )
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)
    if options.plot is not None:
        from metarl_jax.analysis.table_plots import estimator_bias

        estimator_bias(report, options.plot)
        say_written(options.plot)
    return 0


def print_report(report: dict[str, Any]) -> None:
    """Prints the result of `metarl_jax.analysis.estimator_bias.measure` as tables."""
    config = report["config"]
    show(
        f"[bold]{report['env']}[/], seed {config['seed']}: {config['num_inner_steps']} exact inner step(s) of size "
        f"{config['inner_lr']:g} take the return from {report['return_before']:.4f} to {report['return_after']:.4f}; "
        f"the exact meta-gradient has norm {report['exact_norm']:.4f}"
    )
    show(
        f"{config['num_estimates']} estimates, each from {config['num_tasks']} trials; columns: trajectories of an "
        "inner step"
    )
    titles = {
        "bias": "bias of the mean, relative to the norm of the exact meta-gradient",
        "std": "standard deviation of one estimate, relative to the same",
        "cosine": "cosine similarity of one estimate with the exact meta-gradient",
    }
    for field, title in titles.items():
        show(_table(report, field, title))


def _table(report: dict[str, Any], field: str, title: str) -> Table:
    estimators = report["estimators"]
    columns = [Column("", list(estimators), is_text=True)]
    for index, num_episodes in enumerate(report["num_episodes"]):
        cells = [f"{rows[field][index]:.3f}" for rows in estimators.values()]
        if all(f"{field}_se" in rows for rows in estimators.values()):
            errors = [rows[f"{field}_se"][index] for rows in estimators.values()]
            cells = [f"{x} ± {error:.3f}" for x, error in zip(cells, errors, strict=True)]
        columns.append(Column(str(num_episodes), cells))
    return Table(title, columns)
