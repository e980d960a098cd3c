"""Tables of sweeps: each sweep is trained once, and found again under the root of its table."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import local_path


def table_parser(description: str | None, root: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that all tables have: `--root`, with this default, and `--seeds`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=local_path, default=Path(root))
    parser.add_argument("--seeds", type=int, default=3)
    return parser


def print_table(folders: Sequence[Path]) -> None:
    """Prints the held-out return of every round of these sweeps, as `metarl compare` does."""
    from metarl_jax.cli.compare import main as compare

    compare([*map(str, folders), "--rounds", "all", "--markdown"])


def train_once(config: Config, run_dir: Path, num_seeds: int) -> None:
    """Trains the seeds of a configuration as one sweep, unless already trained.

    Raises:
      UserError: if something else was trained in this folder.
    """
    from metarl_jax.sweeps import train
    from metarl_jax.sweeps.folder import open_existing
    from metarl_jax.sweeps.sweep import Sweep

    sweep = Sweep(config, num_seeds=num_seeds)
    if not run_dir.exists():
        train.train_sweep(sweep, run_dir)
        return
    _, found = open_existing(run_dir)
    if found != sweep:
        raise UserError(f"{run_dir} holds a sweep with other settings: give another --root")
    if not (run_dir / "results.json").exists():
        train.resume_sweep(run_dir)
