"""Metrics in MLflow: `--log mlflow`."""

import os
import time
from typing import Any

from metarl_jax.config import flat
from metarl_jax.runs.writers.base import Source, Writer
from metarl_jax.runs.writers.run_id import kept_id
from metarl_jax.runs.writers.scalars import scalars

MOST = 1000
"""Largest number of metrics in one call."""

LONGEST = 500
"""Largest number of characters of a parameter that every version accepts."""


class Mlflow(Writer):
    """Records to MLflow, at `MLFLOW_TRACKING_URI`; by default in `mlflow.db` in the working folder, without a server.

    The experiment is `MLFLOW_EXPERIMENT_NAME`, or `metarl_jax`. Members of a sweep have its name in the tag `group`.
    """

    name = "mlflow"
    package = "mlflow"

    def __init__(self, source: Source):
        """Begins a run of MLflow, or goes on with the one of this folder."""
        super().__init__(source)
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        self._client = MlflowClient()
        self._id = kept_id(source.path / "mlflow_id.txt", self._create)
        self._client.update_run(self._id, status="RUNNING")

    def _create(self) -> str:
        """Creates a run with the configuration as its parameters, and returns its identifier."""
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "metarl_jax")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        tags = {} if self.source.group is None else {"group": self.source.group}
        run = self._client.create_run(experiment, run_name=self.source.name, tags=tags)
        values = flat(self.source.config).items()
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in values]
        self._client.log_batch(run.info.run_id, params=parameters)
        return run.info.run_id

    def on_chunk(self, line: dict[str, Any]) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now = int(1000 * time.time())
        metrics = [Metric(name, x, now, line["step"]) for name, x in scalars(line).items()]
        for first in range(0, len(metrics), MOST):
            self._client.log_batch(self._id, metrics=metrics[first : first + MOST])

    def close(self) -> None:
        self._client.set_terminated(self._id)
