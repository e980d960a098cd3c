"""Trains the learners by structure beside those of the other families, three seeds each, and prints the table.

    python experiments/tables/structure_table.py --root runs/structure
    python experiments/tables/structure_table.py --root runs/five --problems grid_navi --seeds 5

Finished sweeps under the same root are not trained again; interrupted ones are resumed. For every problem there is a
table as `metarl compare` prints it: held-out return of each round with a 95% t interval over the means of the seeds,
how many numbers a new task moves, and how many parameters there are.
"""

import dataclasses
import sys
from typing import Any, NamedTuple

from metarl_jax import experiments
from metarl_jax.config import Config
from metarl_jax.experiments.tables.trained_sweeps import print_table, table_parser, train_once


class Entry(NamedTuple):
    """A row: a preset or, where `sized_as` says so, one with layers that give it about as many parameters as another.

    Attributes:
      preset: its name.
      sized_as: what the row is named after, a family of learners.
      sizes: fields of the learner and their values.
    """

    preset: str
    sized_as: str | None = None
    sizes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Of the row, and of its folder."""
        return self.preset if self.sized_as is None else f"{self.preset}-as-{self.sized_as}"

    def config(self, num_meta_steps: int) -> Config:
        """Returns the configuration, trained for so long."""
        config = experiments.get(self.preset)
        learner = dataclasses.replace(config.learner, **dict(self.sizes))
        return dataclasses.replace(
            config, name=self.name, learner=learner, num_meta_steps=num_meta_steps
        )


class Protocol(NamedTuple):
    """Rows whose trials are alike, and how long each is trained."""

    num_meta_steps: int
    entries: tuple[Entry, ...]


PROBLEMS: dict[str, dict[str, Protocol]] = {
    "point_robot": {
        "descending": Protocol(
            60,
            (
                Entry("maml-point-robot"),
                Entry("multitask-point-robot"),
                Entry("multitask-point-robot", "modular", (("hidden_sizes", (66, 66)),)),
                Entry("tuned-hypernetwork-point-robot"),
                Entry("tuned-modular-point-robot"),
            ),
        ),
        "inferring": Protocol(
            300,
            (
                Entry("rl2-point-robot"),
                Entry("rl2-point-robot", "hypernetwork", (("hidden_size", 160),)),
                Entry("hypernetwork-point-robot"),
                Entry("modular-point-robot"),
            ),
        ),
    },
    "rotated_point_robot": {
        "descending": Protocol(
            60, (Entry("maml-rotated-point-robot"), Entry("tuned-modular-rotated-point-robot"))
        ),
        "inferring": Protocol(
            300, (Entry("rl2-rotated-point-robot"), Entry("modular-rotated-point-robot"))
        ),
    },
    "grid_navi": {
        "descending": Protocol(
            150,
            (
                Entry("maml-grid-navi"),
                Entry("multitask-grid-navi"),
                Entry("multitask-grid-navi", "modular", (("hidden_sizes", (73, 73)),)),
                Entry("tuned-hypernetwork-grid-navi"),
                Entry("tuned-modular-grid-navi"),
            ),
        ),
        "inferring": Protocol(
            400,
            (
                Entry("rl2-gru-grid-navi"),
                Entry("rl2-gru-grid-navi", "hypernetwork", (("hidden_size", 180),)),
                Entry("hypernetwork-grid-navi"),
                Entry("modular-grid-navi"),
            ),
        ),
    },
    "half_cheetah_vel": {
        "descending": Protocol(
            80,
            (
                Entry("maml-half-cheetah-vel-small"),
                Entry("multitask-half-cheetah-vel-small"),
                Entry("multitask-half-cheetah-vel-small", "modular", (("hidden_sizes", (71, 71)),)),
                Entry("tuned-hypernetwork-half-cheetah-vel-small"),
                Entry("tuned-modular-half-cheetah-vel-small"),
            ),
        ),
        "inferring": Protocol(
            200,
            (
                Entry("rl2-half-cheetah-vel-small"),
                Entry("rl2-half-cheetah-vel-small", "hypernetwork", (("hidden_size", 175),)),
                Entry("hypernetwork-half-cheetah-vel-small"),
                Entry("modular-half-cheetah-vel-small"),
            ),
        ),
    },
}
"""A round is 20 episodes for learners that adapt by gradient (10 on half-cheetah), and one for those that infer the
code. The multitask presets are as large as the tuned hypernetworks."""


def main(args: list[str]) -> None:
    parser = table_parser(__doc__, "runs/structure")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    options = parser.parse_args(args)

    from metarl_jax.cli.backend import start_backend

    start_backend("auto")
    for problem in options.problems:
        for protocol in PROBLEMS[problem].values():
            for entry in protocol.entries:
                config = entry.config(protocol.num_meta_steps)
                train_once(config, options.root / entry.name, options.seeds)
    for problem in options.problems:
        for name, protocol in PROBLEMS[problem].items():
            print(f"\n{problem}, {name}\n")
            print_table([options.root / entry.name for entry in protocol.entries])


if __name__ == "__main__":
    main(sys.argv[1:])
