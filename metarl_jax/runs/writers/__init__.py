"""Writers of metrics: JSON lines and TensorBoard always, and others by `--log`."""

import dataclasses
import importlib.util
from collections.abc import Sequence

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import Entry, Registry
from metarl_jax.core.writing import sweep_around
from metarl_jax.runs.callbacks import Callback, Together
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import read_json
from metarl_jax.runs.writers.base import Source, Writer
from metarl_jax.runs.writers.guarded import Guarded, Warn
from metarl_jax.runs.writers.json_lines import JsonLines
from metarl_jax.runs.writers.tensorboard import TensorBoard

ALWAYS: tuple[type[Writer], ...] = (JsonLines, TensorBoard)
"""Writers of every run. They write to its folder, and stop training if they cannot: a run without its files is lost."""

registry: Registry[type[Writer]] = Registry(
    "writer",
    "metarl_jax.runs.writers.base:Writer",
    {
        "wandb": Entry("metarl_jax.runs.writers.weights_and_biases:Wandb", "Weights & Biases"),
        "mlflow": Entry("metarl_jax.runs.writers.mlflow_tracking:Mlflow", "MLflow"),
    },
)


def checked(config: Config) -> Config:
    """Returns the configuration with writers that are found from any working folder.

    Raises:
      UserError: for an unknown writer, or one whose package is not installed, with the remedy.
    """
    for name in config.log:
        package = registry.get(name).package
        if package is not None and importlib.util.find_spec(package) is None:
            raise UserError(
                f"log={name!r} needs the package {package}, which is not installed: "
                f"pip install 'metarl_jax[{package}]', or leave it out"
            )
    log = tuple(registry.reference(registry.get(name)) for name in config.log)
    return dataclasses.replace(config, log=log)


def open_all(
    folders: Sequence[RunFolder], names: Sequence[str], step: int, warn: Warn
) -> list[Callback]:
    """Opens the writers of a run, or of each member of a sweep.

    Args:
      folders: one for each member.
      names: writers beside those of every run. If one raises, that is reported once, and training goes on without it.
      step: the meta-step after which training begins or goes on.
      warn: receives the reports.

    Returns:
      A callback for each folder.

    Raises:
      WriteError: if a folder cannot be written.
    """
    reported: set[str] = set()

    def failed(name: str) -> Warn:
        def report(reason: str) -> None:
            if name not in reported:
                reported.add(name)
                warn(f"log={name!r} has failed, and training goes on without it ({reason})")

        return report

    found: list[Callback] = []
    for folder in folders:
        source = _source(folder, step)
        writers: list[Callback] = [cls(source) for cls in ALWAYS]
        writers += [Guarded(registry.get(name), source, failed(name)) for name in names]
        found.append(Together(writers))
    return found


def _source(folder: RunFolder, step: int) -> Source:
    path = folder.path.absolute()
    sweep = sweep_around(path)
    group = None if sweep is None else sweep.name
    return Source(path, path.name, group, read_json(folder.config, dict), step)
