"""The interface of writers, which record the metrics of a run somewhere."""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from metarl_jax.core.registry import Named
from metarl_jax.runs.callbacks import Callback


class Source(NamedTuple):
    """What a writer is told of a run, or of a member of a sweep.

    Attributes:
      path: its folder.
      name: of the run: that of its folder.
      group: the name of the sweep's folder; None for a run of its own.
      config: the content of `config.json`.
      step: the meta-step after which training begins or goes on. Later steps that were written before are trained, and
        written, again.
    """

    path: Path
    name: str
    group: str | None
    config: dict[str, Any]
    step: int


class Writer(Named, Callback):
    """Records the metrics of one run; each member of a sweep has a writer of its own.

    Subclasses override `on_chunk` and, if evaluations differ, `on_evaluation`. Users name them by `--log`, as
    `file.py:Class`. What they raise is reported once, and training goes on without them.

    Example:
      class Print(Writer):
          def on_chunk(self, line):
              print(self.source.name, line["step"], line["episode_return"])
    """

    package: ClassVar[str | None] = None
    """The package that the writer needs, which is also the name of its extra; None if there is none."""

    def __init__(self, source: Source):
        """Begins to record; may raise whatever it likes."""
        self.source = source

    def on_evaluation(self, line: dict[str, Any]) -> bool | None:
        """Records an evaluation, by default as a chunk."""
        self.on_chunk(line)
        return None
