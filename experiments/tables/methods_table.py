"""Trains every learner on a problem where methods differ, three seeds each, and prints one table.

    python experiments/tables/methods_table.py --root runs/methods
    python experiments/tables/methods_table.py --root runs/methods --rows rl2 maml e-maml

The problem is `point_robot_sparse`: a reward near a hidden goal only, so that an agent must search, and remember. All
rows have the default configuration of their learner there, which nobody has tuned; `told rl2` is told the goal, and
`pretrained` is one policy for all tasks, fine-tuned by the inner steps of `maml`. Finished sweeps under the root are
not trained again; interrupted ones are resumed. Prints the table of `metarl compare`: held-out return of each round
with a 95% interval over the seeds, and the controls.
"""

import dataclasses
import sys
from collections.abc import Callable

from metarl_jax.config import Config
from metarl_jax.defaults import default_config
from metarl_jax.envs.point_robot_sparse import PointRobotSparse
from metarl_jax.experiments.tables.trained_sweeps import print_table, table_parser, train_once
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.ppo import PPO

PROBLEM = PointRobotSparse()


def _default(learner: str | MAML, **changes) -> Config:
    config = default_config(learner, PROBLEM)
    assert isinstance(config.outer, PPO)
    return dataclasses.replace(config, outer=dataclasses.replace(config.outer, **changes))


def _maml(**changes) -> MAML:
    learner = default_config("maml", PROBLEM).learner
    assert isinstance(learner, MAML)
    return dataclasses.replace(learner, **changes)


ROWS: dict[str, Callable[[], Config]] = {
    "rl2": lambda: _default("rl2"),
    "varibad": lambda: _default("varibad"),
    "key_value": lambda: _default("key_value"),
    "hypernetwork": lambda: _default("hypernetwork"),
    "modular": lambda: _default("modular"),
    "maml": lambda: _default("maml"),
    "fomaml": lambda: _default(_maml(first_order=True)),
    "e-maml": lambda: _default(
        _maml(surrogate="log_likelihood"), sampling_correction=1.0, sampling_credit="standardized"
    ),
    "anil": lambda: _default("anil"),
    "cavia": lambda: _default("cavia"),
    "meta_sgd": lambda: _default("meta_sgd"),
    "tuned_hypernetwork": lambda: _default("tuned_hypernetwork"),
    "tuned_modular": lambda: _default("tuned_modular"),
    "pretrained": lambda: _default(_maml(learn_inner_lr="none", inner_lr=0.1), rounds="first"),
    "told rl2": lambda: default_config("rl2", dataclasses.replace(PROBLEM, told_task=True)),
}


def main(args: list[str]) -> None:
    parser = table_parser(__doc__, "runs/methods")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args(args)

    from metarl_jax.cli.backend import start_backend

    start_backend("auto")
    folders = []
    for name in options.rows:
        config = dataclasses.replace(ROWS[name](), name=name)
        folders.append(options.root / name.replace(" ", "-"))
        train_once(config, folders[-1], options.seeds)
    print_table(folders)


if __name__ == "__main__":
    main(sys.argv[1:])
