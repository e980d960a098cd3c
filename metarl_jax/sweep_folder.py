"""The folder of a sweep, in which every member has the folder of an ordinary run."""

from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax import run_folder
from metarl_jax.config import from_dict, to_dict
from metarl_jax.run_folder import MEMBERS, SWEEP, RunFolder
from metarl_jax.sweep import Member, Sweep


class SweepFolder(NamedTuple):
    """Paths of a sweep.

    | path | what it holds |
    |---|---|
    | `sweep.json` | the common configuration, the grid and the seeds, written first |
    | `members/<name>/` | the folder of a run, with a checkpoint of the member alone at the end |
    | `checkpoints/` | the state of all members, from which the sweep is resumed |
    | `results.json` | the combinations, ranked |
    """

    path: Path

    @property
    def sweep(self) -> Path:
        return self.path / SWEEP

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    def member(self, member: Member) -> RunFolder:
        """The folder of one member."""
        return RunFolder(self.path / MEMBERS / member.name)


def create(path: Path, sweep: Sweep) -> SweepFolder:
    """Makes the folder of a new sweep.

    Raises:
      ValueError: if something lies at `path` already (it is left as it is), if `path` cannot be
        written, or if the configuration could not be read back.
    """
    values = _to_dict(sweep)
    run_folder.make_folder(path)
    folder = SweepFolder(path)
    run_folder.write_first(folder.sweep, values)
    return folder


def is_sweep(path: Path) -> bool:
    """Whether there is a sweep at `path`."""
    return SweepFolder(path).sweep.is_file()


def open_existing(path: Path) -> tuple[SweepFolder, Sweep]:
    """The folder of a sweep that was begun, and what it sweeps; raises `ValueError` where there is none."""
    folder = SweepFolder(path)
    if not is_sweep(path):
        raise ValueError(
            f"run_dir={str(path)!r} is not the folder of a sweep (it has no {SWEEP}): name a folder "
            "that `metarl sweep` made"
        )
    return folder, run_folder.read(folder.sweep, _from_dict)


def make_members(folder: SweepFolder, sweep: Sweep) -> list[RunFolder]:
    """The folders of all members, made where they are missing."""
    folders = []
    for member in sweep.members():
        mine = folder.member(member)
        mine.path.mkdir(parents=True, exist_ok=True)
        if not mine.config.is_file():
            run_folder.write_first(mine.config, to_dict(member.config))
        folders.append(mine)
    return folders


def _to_dict(sweep: Sweep) -> dict[str, Any]:
    return {
        "config": run_folder.serializable(sweep.config),
        "grid": {name: list(values) for name, values in sweep.grid},
        "num_seeds": sweep.num_seeds,
        "group_size": sweep.group_size,
    }


def _from_dict(values: dict[str, Any]) -> Sweep:
    grid = tuple((name, tuple(points)) for name, points in values["grid"].items())
    sizes = {name: values[name] for name in ("num_seeds", "group_size")}
    return Sweep(config=from_dict(values["config"]), grid=grid, **sizes)
