"""Metrics in Weights & Biases: `--log wandb`."""

import os
from typing import Any

from metarl_jax.runs.writers.base import Source, Writer
from metarl_jax.runs.writers.run_id import kept_id, new_id
from metarl_jax.runs.writers.scalars import scalars


class Wandb(Writer):
    """Records to Weights & Biases, with its own settings from the environment: `WANDB_MODE=offline` writes to the run
    folder alone, and `WANDB_PROJECT` names the project. The members of a sweep are a group.
    """

    name = "wandb"
    package = "wandb"

    def __init__(self, source: Source):
        """Begins a run of wandb, or goes on with the one of this folder."""
        super().__init__(source)
        import wandb  # pyright: ignore[reportMissingImports]

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "metarl_jax"),
            id=kept_id(source.path / "wandb_id.txt", new_id),
            resume="allow",
            reinit="create_new",  # of several members in one process
            name=source.name,
            group=source.group,
            config=source.config,
            dir=str(source.path),
        )

    def on_chunk(self, line: dict[str, Any]) -> None:
        self._run.log(scalars(line), step=line["step"])

    def close(self) -> None:
        self._run.finish()
