"""The rows of a comparison, with distinct names."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax.core.seed_statistics import Estimate

Interval = Sequence[float | None]
Config = dict[str, Any]

SECTIONS_LEFT_OUT = ("name", "runtime", "format")
"""Fields of a configuration that do not change results."""


class Row(NamedTuple):
    """The results of a run, of a point of a sweep, or of a control.

    Attributes:
      name: its name in a table.
      num_seeds, num_tasks: the numbers that the means are over; None if not applicable.
      env_steps: of training, per seed; None if unknown.
      parameters: the number of meta-parameters (`all`), and of numbers that adapt to a new task (`adapted`); empty for
        a control.
      return_mean: `[K]`.
      ci95: `[K, 2]`; empty if unknown.
      total_mean, total_ci95: of the sum over the rounds; the interval is empty if unknown.
      counted: indices of the rounds whose mean ranks checkpoints; empty if unknown.
      round_label: name of a round: `round` or `episode`.
      counted_ci95: of that mean; empty where none is known.
      metrics: what the environment reports, by name `[K]`; empty where it reports nothing.
      step: meta-steps after which it was evaluated.
      checkpoint: `best` or `last`; None where it is not noted.
      is_finished: whether training has ended.
      path: the folder.
      config: the configuration, as in config.json; empty for a control.
      values: fields that set the row apart from others, by dotted name.
      seed_scores: of each seed, the mean over the counted rounds; empty for a single run.
      paths: the folders of the runs that this row is the mean of; empty for one folder.
      iqm: the interquartile mean of these scores; None where they are unknown.
      improvement: the probability of being better than the baseline; None without one.
      scale: what the random policy earns and what one that is told the task does, where they are known.
    """

    name: str
    num_seeds: int | None
    num_tasks: int | None
    env_steps: float | None
    parameters: dict[str, int]
    return_mean: list[float | None]
    ci95: Sequence[Interval]
    total_mean: float | None = None
    total_ci95: Interval = ()
    counted: Sequence[int] = ()
    round_label: str = "round"
    counted_ci95: Interval = ()
    metrics: dict[str, list[float | None]] = {}  # noqa: RUF012 - never changed
    step: int | None = None
    checkpoint: str | None = None
    is_finished: bool = True
    path: Path = Path()
    config: Config = {}  # noqa: RUF012 - never changed
    values: dict[str, Any] = {}  # noqa: RUF012
    seed_scores: Sequence[float] = ()
    paths: Sequence[Path] = ()
    iqm: Estimate | None = None
    improvement: Estimate | None = None
    scale: tuple[float, float] | None = None

    def scores(self) -> list[float]:
        """Returns the score of each seed; empty if they are unknown."""
        if self.seed_scores:
            return list(self.seed_scores)
        mean = self.counted_mean()
        return [] if mean is None or self.num_seeds != 1 else [mean]

    @property
    def environment(self) -> str | None:
        """The name of the task distribution; None for a control, which is listed below its runs."""
        return self.config.get("env", {}).get("name")

    def total(self) -> float | None:
        """Returns the sum over the rounds; None if a round has no finite return."""
        if self.total_mean is not None or None in self.return_mean:
            return self.total_mean
        return sum(mean for mean in self.return_mean if mean is not None)

    def relative(self) -> "Row | None":
        """Returns the row with (return − random)/(told − random) instead of the returns of rounds; None without a
        scale."""
        if self.scale is None:
            return None
        random, told = self.scale

        def of(value: float | None) -> float | None:
            return None if value is None or told == random else (value - random) / (told - random)

        return self._replace(
            return_mean=[of(mean) for mean in self.return_mean],
            ci95=[[of(end) for end in ends] for ends in self.ci95],
            counted_ci95=[of(end) for end in self.counted_ci95],
        )

    def counted_mean(self) -> float | None:
        """Returns the mean over the counted rounds; None if they are unknown or a return is not finite."""
        means = [self.return_mean[index] for index in self.counted]
        known = [mean for mean in means if mean is not None]
        return sum(known) / len(known) if known and len(known) == len(means) else None


def label(rows: Sequence[Row]) -> list[Row]:
    """Names the rows by folder, by preset if presets differ, and by the fields in which they differ.

    Fields are compared among runs of one preset.
    """
    paths = [row.path if row.path.name else row.path.resolve() for row in rows]
    try:
        every = [*paths, *(path for row in rows for path in row.paths)]
        parent = os.path.commonpath([path.parent for path in every])
    except ValueError:  # some absolute, some not
        parent = ""
    presets = [row.config.get("name", "") for row in rows]
    differing = {
        preset: _differing([row for row in rows if row.config.get("name", "") == preset])
        for preset in presets
    }
    labelled = []
    for row, path, preset in zip(rows, paths, presets, strict=True):
        flat = flat_config(row.config) | row.values
        values = {name: flat[name] for name in differing[preset] if name in flat} | row.values
        folders = [
            str(x) if not parent else os.path.relpath(x, parent) for x in row.paths or [path]
        ]
        folder = folders[0] if len(folders) == 1 else _merged_name(folders)
        is_told = len(set(presets)) == 1 or preset in folder
        remarks = [*([] if is_told else [preset]), *_describe(values)]
        name = folder + (f"\n({', '.join(remarks)})" if remarks else "")
        labelled.append(row._replace(name=name, values=values))
    return labelled


def _merged_name(folders: Sequence[str]) -> str:
    """Returns a name for several folders: what they have in common, without the beginning of a seed.

    `x-seed0` and `x-seed1` are `x`; folders that have no beginning in common are the first, and `…`.
    """
    common = folders[0]
    for folder in folders[1:]:
        same = (a == b for a, b in zip(common, folder, strict=False))
        common = common[: next((i for i, is_same in enumerate(same) if not is_same), len(common))]
    common = re.sub(r"[-_,/. ]*(seed)?[-_=]?\d*$", "", common)
    return common or f"{folders[0]}, …"


def _describe(values: dict[str, Any]) -> list[str]:
    """Formats a field, as in `inner_lr=0.1`, with the whole dotted name if the last part is ambiguous."""
    short = [name.rpartition(".")[2] for name in values]
    return [
        f"{last if last != 'name' and short.count(last) == 1 else name}={_plain(value)}"
        for last, (name, value) in zip(short, values.items(), strict=True)
    ]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _differing(rows: Sequence[Row]) -> list[str]:
    """Returns names of the fields that all of these rows have, with more than one value."""
    flats = [flat_config(row.config) | row.values for row in rows]
    shared = [name for name in flats[0] if all(name in flat for flat in flats)]
    return [name for name in shared if len({json.dumps(flat[name]) for flat in flats}) > 1]


def flat_config(config: Config, prefix: str = "") -> dict[str, Any]:
    """Returns values by dotted name, without those that do not change results."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if not prefix and name in SECTIONS_LEFT_OUT:
            continue
        is_section = isinstance(value, dict)
        found |= flat_config(value, f"{prefix}{name}.") if is_section else {prefix + name: value}
    return found
