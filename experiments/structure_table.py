"""Trains the learners by structure beside those of the other families, three seeds each, and prints the table.

    python experiments/structure_table.py --root runs/structure
    python experiments/structure_table.py --root runs/five --problems grid_navi --seeds 5

What was trained before under the same root is not trained again; a sweep that was cut off goes on. For every problem
there is a table as `metarl compare` prints it: held-out return of each round with a 95% interval over seeds and tasks,
how many numbers a new task moves, and how many parameters there are.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax import experiments
from metarl_jax.config import Config

replace = dataclasses.replace


class Protocol(NamedTuple):
    """Trainings whose trials are alike, and how long each is."""

    num_meta_steps: int
    configs: tuple[Config, ...]

    def sized(self) -> tuple[Config, ...]:
        """The configurations, trained for as long as this protocol wants."""
        length = self.num_meta_steps
        return tuple(replace(config, num_meta_steps=length) for config in self.configs)


def presets(*names: str) -> tuple[Config, ...]:
    """The presets of these names."""
    return tuple(map(experiments.get, names))


def as_large_as(other: str, preset: str, **sizes: Any) -> Config:
    """The preset with layers of such sizes that it has about as many parameters as the learner `other`."""
    config = experiments.get(preset)
    learner = replace(config.learner, **sizes)
    return replace(config, name=f"{preset}-as-{other}", learner=learner)


PROBLEMS: dict[str, dict[str, Protocol]] = {
    "point_robot": {
        "descending": Protocol(
            60,
            (
                *presets("maml-point-robot", "multitask-point-robot"),
                as_large_as("modular", "multitask-point-robot", hidden_sizes=(66, 66)),
                *presets("tuned-hypernetwork-point-robot", "tuned-modular-point-robot"),
            ),
        ),
        "inferring": Protocol(
            300,
            (
                *presets("rl2-point-robot"),
                as_large_as("hypernetwork", "rl2-point-robot", hidden_size=160),
                *presets("hypernetwork-point-robot", "modular-point-robot"),
            ),
        ),
    },
    "rotated_point_robot": {
        "descending": Protocol(
            60, presets("maml-rotated-point-robot", "tuned-modular-rotated-point-robot")
        ),
        "inferring": Protocol(
            300, presets("rl2-rotated-point-robot", "modular-rotated-point-robot")
        ),
    },
    "grid_navi": {
        "descending": Protocol(
            150,
            (
                *presets("maml-grid-navi", "multitask-grid-navi"),
                as_large_as("modular", "multitask-grid-navi", hidden_sizes=(73, 73)),
                *presets("tuned-hypernetwork-grid-navi", "tuned-modular-grid-navi"),
            ),
        ),
        "inferring": Protocol(
            400,
            (
                *presets("rl2-gru-grid-navi"),
                as_large_as("hypernetwork", "rl2-gru-grid-navi", hidden_size=180),
                *presets("hypernetwork-grid-navi", "modular-grid-navi"),
            ),
        ),
    },
    "half_cheetah_vel": {
        "descending": Protocol(
            80,
            (
                *presets("maml-half-cheetah-vel-small", "multitask-half-cheetah-vel-small"),
                as_large_as("modular", "multitask-half-cheetah-vel-small", hidden_sizes=(71, 71)),
                *presets(
                    "tuned-hypernetwork-half-cheetah-vel-small",
                    "tuned-modular-half-cheetah-vel-small",
                ),
            ),
        ),
        "inferring": Protocol(
            200,
            (
                *presets("rl2-half-cheetah-vel-small"),
                as_large_as("hypernetwork", "rl2-half-cheetah-vel-small", hidden_size=175),
                *presets("hypernetwork-half-cheetah-vel-small", "modular-half-cheetah-vel-small"),
            ),
        ),
    },
}
"""A round is 20 episodes for learners that descend (10 on half-cheetah), and one for those that infer. The multitask
presets are as large as the hypernetworks that descend."""


def train_sweep(config: Config, run_dir: Path, num_seeds: int) -> None:
    """Trains the seeds of a preset as one sweep, unless that was done.

    Raises:
      ValueError: if something else was trained in this folder.
    """
    from metarl_jax import sweep_train
    from metarl_jax.sweep import Sweep
    from metarl_jax.sweep_folder import open_existing

    sweep = Sweep(config, num_seeds=num_seeds)
    if not run_dir.exists():
        sweep_train.train_sweep(sweep, run_dir)
        return
    _, found = open_existing(run_dir)
    if found != sweep:
        raise ValueError(f"{run_dir} holds a sweep with other settings: give another --root")
    if not (run_dir / "results.json").exists():
        sweep_train.resume_sweep(run_dir)


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path("runs/structure"))
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(args)

    from metarl_jax.commands.backend import start_backend
    from metarl_jax.commands.comparing import main as compare

    start_backend("auto")
    for problem in options.problems:
        for protocol in PROBLEMS[problem].values():
            for config in protocol.sized():
                train_sweep(config, options.root / config.name, options.seeds)
    for problem in options.problems:
        for name, protocol in PROBLEMS[problem].items():
            print(f"\n{problem}, {name}\n")
            folders = [str(options.root / config.name) for config in protocol.configs]
            compare([*folders, "--markdown"])


if __name__ == "__main__":
    main(sys.argv[1:])
