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

from metarl_jax import experiments
from metarl_jax.config import Config

PRESETS = {
    "point_robot": (
        "maml-point-robot",
        "cavia-point-robot",
        "pretrained-point-robot",
        "tuned-hypernetwork-point-robot",
        "tuned-modular-point-robot",
    ),
    "rotated_point_robot, descending": (
        "maml-rotated-point-robot",
        "tuned-modular-rotated-point-robot",
    ),
    "rotated_point_robot, inferring": ("rl2-rotated-point-robot", "modular-rotated-point-robot"),
    "grid_navi": ("rl2-grid-navi", "hypernetwork-grid-navi", "modular-grid-navi"),
    "half_cheetah_vel": (
        "rl2-half-cheetah-vel-small",
        "hypernetwork-half-cheetah-vel-small",
        "modular-half-cheetah-vel-small",
    ),
}
"""By problem and protocol, the presets that are compared."""


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
    parser.add_argument("--problems", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-meta-steps", type=int, help="other than those of the presets")
    options = parser.parse_args(args)

    from metarl_jax.commands.backend import start_backend
    from metarl_jax.commands.comparing import main as compare

    start_backend("auto")
    folders = {problem: [] for problem in options.problems}
    for problem in options.problems:
        for name in PRESETS[problem]:
            config = experiments.get(name)
            if options.num_meta_steps is not None:
                config = dataclasses.replace(config, num_meta_steps=options.num_meta_steps)
            folders[problem].append(options.root / name)
            train_sweep(config, folders[problem][-1], options.seeds)
    for problem, runs in folders.items():
        print(f"\n{problem}\n")
        compare([*map(str, runs), "--markdown"])


if __name__ == "__main__":
    main(sys.argv[1:])
