"""The fields of a run: frozen dataclasses, complete, and changed with `dataclasses.replace`."""

import dataclasses
from typing import Any, Literal

from metarl_jax import envs, learners, outer
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.registry import Registry
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import LearnerConfig
from metarl_jax.outer.base import OuterConfig


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How held-out returns are measured, during training and at its end."""

    every: int = bounded(25, at_least=0)
    """Meta-steps between evaluations during training; 0 evaluates only at the end."""
    num_tasks: int = bounded(100, at_least=2)
    """Number of held-out tasks."""
    num_rounds: int | None = bounded(None, at_least=1)
    """Number of rounds in a trial (K); as in training when not given."""
    num_episodes: int | None = bounded(None, at_least=1)
    """Number of parallel episodes per round (E); as in training when not given."""
    inner_lr_factors: tuple[float, ...] | None = bounded(None, at_least=0)
    """Factors of the step size in the first inner step, in the second, and so on (see `learner.inner_lr_factors`); as
    in training when not given. `1 0.5` with 40 episodes per round is the test protocol of Finn et al. (2017)."""
    deterministic: bool = False
    """Act by the mode of the policy instead of a sample. A learner that adapts between rounds still adapts to sampled
    episodes; returns are then measured in additional episodes by the mode, from the same initial states."""
    split: Literal["test", "train", "ood"] = "test"
    """Split of the evaluated tasks: `test`, `train` or `ood`."""
    select_by: str = "return"
    """Criterion of the best checkpoint: the highest `return`, or the highest value of a metric of the environment, such
    as `success` (its last value in an episode) or `success_mean` (its mean over an episode). A minus before the name
    selects the lowest value, as in `--evaluation.select-by=-slowdown`."""


@dataclasses.dataclass(frozen=True)
class RuntimeConfig:
    """Devices and blocks of a run. They change results only by the order of float sums."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """`cpu`, `gpu`, `tpu`, or `auto` for the fastest one available."""
    num_devices: int | None = bounded(None, at_least=1)
    """Number of devices to spread the tasks over; when not given, the most that share the tasks evenly. On a CPU, each
    core is a device."""
    collect_block: int | None = bounded(None, at_least=1)
    """Number of tasks that a device simulates side by side. When not given, all on an accelerator, and on a CPU as many
    as have inner states that fit into the cache of a core."""
    update_block: int | None = bounded(None, at_least=1)
    """Number of tasks that a device differentiates side by side. When not given, all, except that a CPU takes one at a
    time if each task has its own weights."""
    remat: bool = False
    """Recompute adaptation and policies in the backward pass instead of storing them: less memory, more time."""
    unroll: int = bounded(1, at_least=1)
    """Number of environment steps in one iteration of the loop that simulates. More are meant for accelerators, where
    an iteration costs microseconds before any work; they take longer to compile, and the program grows with them."""
    matmul_precision: Literal["highest", "high", "default"] = "highest"
    """Precision of the products of float32 numbers on a GPU or TPU: `highest` is float32, as on a CPU, so that replays
    reproduce what was recorded and results agree across platforms; `default` is the fastest (TF32 on a GPU, bfloat16 on
    a TPU), and `high` lies between. Without effect on a CPU."""
    product_dtype: Literal["float32", "bfloat16"] = "float32"
    """What the learner and its update multiply: `bfloat16` rounds the factors of their products to 8 bits, on a GPU or
    TPU, which multiply those several times faster. Sums, parameters and everything else stay float32. Without effect on
    a CPU."""
    deterministic: bool = True
    """Only operations of a GPU that give the same bits each time, so that a resumed run goes on to the same bits. Off,
    XLA may choose faster ones. Other platforms always do so."""
    donate: bool = True
    """Write the state after a meta-step into the memory of the one before. Off, `Executables.chunk` leaves its argument
    valid, for debugging, at the cost of a second state."""
    memory_limit: str | None = None
    """Memory that a meta-step may need on a device, such as `12GiB` or `500MB`. If the tasks do not fit by an estimate
    from the shapes of arrays, `collect_block` and `update_block` become smaller until they do; num_tasks is refused if
    that is not enough. No limit when not given."""
    compilation_cache: bool = True
    """Keep compiled programs in the user's cache folder (metarl_jax/programs in XDG_CACHE_HOME or ~/.cache) for the
    next start of the same program. JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false keeps none."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are saved, and how many are kept."""

    every: int = bounded(50, at_least=1)
    """Meta-steps between checkpoints."""
    every_seconds: float | None = bounded(None, above=0)
    """Seconds between checkpoints, in the place of `every`: one is saved at the end of the first chunk after them."""
    keep: int = bounded(3, at_least=1)
    """Number of latest checkpoints to keep; the best one is kept as well."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A complete run: environment, learner, outer method, sizes, evaluation and checkpoints."""

    env: TaskDistribution
    """Task distribution."""
    learner: LearnerConfig
    """The learner: what adapts to a task, and how."""
    outer: OuterConfig
    """How experience becomes an update of the meta-parameters."""
    advantage: AdvantageConfig = AdvantageConfig()
    """How rewards become advantages."""
    name: str = "custom"
    """Name of the preset."""
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    """Seed of every random draw of the run."""
    init_from: str | None = None
    """Folder of a run whose best meta-parameters initialise this run; drawn from the seed when not given. Learned step
    sizes and standard deviations start from `learner.inner_lr` and `learner.log_std_init` if these differ from that
    run."""
    num_meta_steps: int = bounded(300, at_least=1)
    """Number of meta-steps to train for."""
    max_hours: float | None = bounded(None, above=0)
    """End after this many hours, with the first chunk that passes them; evaluation and pictures follow. Counted over
    all processes that train the run, with compilation and what was done again; `metarl resume --max-hours` with more
    goes on."""
    num_env_steps: int | None = bounded(None, at_least=1)
    """End with the first chunk after this many environment steps of training, if `num_meta_steps` does not end it
    before. Schedules follow `num_meta_steps`."""
    num_tasks: int = bounded(40, at_least=1)
    """Number of tasks in a meta-batch (N)."""
    num_rounds: int = bounded(2, at_least=1)
    """Number of rounds in a trial (K); gradient learners adapt K − 1 times."""
    num_episodes: int = bounded(20, at_least=1)
    """Number of parallel episodes per round (E)."""
    num_steps: int | None = bounded(None, at_least=2)
    """Number of steps in a trial by steps: when an episode ends, the next begins at once, up to `num_rounds` episodes.
    Only for learners that adapt while they act. When not given, trials are counted in episodes of `env.episode_length`
    steps."""
    num_segments: int = bounded(1, at_least=1)
    """Number of meta-steps that a trial by steps takes. Each updates from `num_steps / num_segments` steps, after which
    the trial goes on with the new meta-parameters: more updates for the same experience, and credit through no more
    than a segment. Only for learners that adapt while they act."""
    normalize_observations: bool = False
    """Standardise observations to mean 0 and standard deviation 1, by running statistics of the training tasks."""
    log_every: int = bounded(5, at_least=1)
    """Number of meta-steps that one line of metrics summarises (a chunk)."""
    log: tuple[str, ...] = ()
    """Where to record metrics beside `metrics.jsonl` and TensorBoard: `wandb`, `mlflow`, or a writer of your own as
    path/to/file.py:CLASS (see `metarl_jax.runs.writers.base`)."""
    max_skipped: int = bounded(20, at_least=1)
    """Stop after this many consecutive updates that were skipped because they were not finite."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Held-out evaluation."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Devices and blocks."""


Which = Literal["best", "last"] | int
"""A checkpoint of a run: the best by held-out return (the last if none was evaluated), the last, or the one of a
meta-step."""

NOT_LEARNED = ("runtime.", "evaluation.", "checkpoint.")
NOT_LEARNED_ALONE = (
    "name",
    "num_meta_steps",
    "max_hours",
    "num_env_steps",
    "log_every",
    "log",
    "max_skipped",
    "init_from",
)
"""Fields that may change when a run is resumed: its length, evaluation, logging and devices."""

REGISTRIES: dict[str, Registry] = {
    "env": envs.registry,
    "learner": learners.registry,
    "outer": outer.registry,
}
"""Fields whose class is chosen by name."""


def evaluated_learner(config: Config) -> LearnerConfig:
    """Returns the learner for evaluation, with the step-size factors of `evaluation` if given."""
    factors = config.evaluation.inner_lr_factors
    if factors is None:
        return config.learner
    changes: dict[str, Any] = {"inner_lr_factors": factors}
    return dataclasses.replace(config.learner, **changes)
