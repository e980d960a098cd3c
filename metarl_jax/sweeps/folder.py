"""The folder of a sweep, in which every member has the folder of an ordinary run."""

from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax.config import differing, from_dict, stamped
from metarl_jax.core.errors import UserError
from metarl_jax.core.paths import local_path
from metarl_jax.core.writing import MEMBERS, SWEEP
from metarl_jax.runs import folder as run_folder
from metarl_jax.runs import user_files
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import read_json, write_json
from metarl_jax.runs.members import Place, write_place
from metarl_jax.runs.new_folder import new_folder
from metarl_jax.sweeps.sweep import Member, Sweep


class SweepFolder(NamedTuple):
    """Paths of a sweep.

    | path | what it holds |
    |---|---|
    | `sweep.json` | the common configuration, the points and the seeds, written first |
    | `members/<name>/` | the folder of a run, with a checkpoint of the member alone at the end |
    | `checkpoints/` | the state of all members, from which the sweep is resumed |
    | `results.json` | the points, ranked |
    """

    path: Path

    @property
    def sweep(self) -> Path:
        return self.path / SWEEP

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    def member(self, member: Member) -> RunFolder:
        """Returns the folder of one member."""
        return RunFolder(self.path / MEMBERS / member.name)


def create(path: Path, sweep: Sweep, *, numbered: bool = False) -> SweepFolder:
    """Makes the folder of a new sweep.

    Args:
      path: a folder that does not exist yet, or that is empty.
      sweep: written first.
      numbered: use `path-2`, `path-3`, … if `path` is taken.

    Raises:
      UserError: if `path` already exists (it is left unchanged), if it cannot be written, or if the configuration could
        not be read back.
    """
    values = _to_dict(sweep)
    with new_folder(path, numbered=numbered) as made:
        folder = SweepFolder(made)
        run_folder.write_first(folder.sweep, values)
        user_files.keep(made, values["config"])
    return folder


def is_sweep(path: Path) -> bool:
    """Whether there is a sweep at `path`."""
    return SweepFolder(path).sweep.is_file()


def open_existing(path: Path) -> tuple[SweepFolder, Sweep]:
    """Returns the folder of an existing sweep, and the sweep; raises `UserError` if there is none."""
    path = local_path(path)
    folder = SweepFolder(path)
    if not is_sweep(path):
        raise UserError(
            f"run_dir={str(path)!r} is not the folder of a sweep (it has no {SWEEP}): name a folder "
            "that `metarl sweep` made"
        )

    def from_values(values: dict[str, Any]) -> Sweep:
        user_files.recall(path, values["config"])
        return _from_dict(values)

    return folder, read_json(folder.sweep, from_values)


def make_members(folder: SweepFolder, sweep: Sweep) -> list[RunFolder]:
    """Returns the folders of all members, and creates missing ones."""
    folders, members = [], sweep.members()
    for index, member in enumerate(members):
        mine = folder.member(member)
        mine.path.mkdir(parents=True, exist_ok=True)
        if not mine.member.is_file():
            write_place(mine, Place(index, len(members)))
        if not mine.config.is_file():
            run_folder.write_first(mine.config, stamped(member.config))
        folders.append(mine)
    return folders


def edited_fields(folder: SweepFolder, member: Member) -> str:
    """Describes fields that affect training in which `sweep.json` differs from a member's configuration."""
    written = folder.member(member).config
    if not written.is_file():
        return ""
    return differing(read_json(written, dict), member.config)


def rewrite(folder: SweepFolder, sweep: Sweep) -> None:
    """Rewrites the sweep, and the configurations of the members."""
    for member in sweep.members():
        write_json(folder.member(member).config, stamped(member.config))
    write_json(folder.sweep, _to_dict(sweep))


def _to_dict(sweep: Sweep) -> dict[str, Any]:
    return {
        "config": run_folder.serializable(sweep.config),
        "points": [dict(point) for point in sweep.points],
        "num_seeds": sweep.num_seeds,
        "group_size": sweep.group_size,
        "names": list(sweep.names),
    }


def _from_dict(values: dict[str, Any]) -> Sweep:
    others = {name: values[name] for name in ("points", "num_seeds", "group_size")}
    return Sweep(config=from_dict(values["config"]), names=values.get("names", ()), **others)
