"""Sweeps of a table: each is trained once, and found again under the root of the table."""

from pathlib import Path

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError


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
