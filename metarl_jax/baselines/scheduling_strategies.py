"""Known heuristics for `job_scheduling`, as learners without meta-parameters. All start only jobs that fit now.

References:
  Mao, Alizadeh, Menache & Kandula, "Resource Management with Deep Reinforcement Learning", HotNets 2016.
  Grandl et al., "Multi-Resource Packing for Cluster Schedulers", SIGCOMM 2014, for Tetris.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from metarl_jax.baselines.base import Strategy, always
from metarl_jax.core.errors import UserError
from metarl_jax.core.types import Array, PolicyOut, TimeStep
from metarl_jax.core.validation import bounded
from metarl_jax.envs.job_scheduling import (
    LONGEST,
    NUM_CLASSES,
    NUM_VISIBLE,
    JobScheduling,
    Seen,
    best_job,
)
from metarl_jax.learners.base import MetaLearner

UNKNOWN_DURATION = 4.0
"""Assumed duration, in time steps, of a class of which no job has finished yet."""


@dataclasses.dataclass(frozen=True)
class Heuristic(Strategy):
    """Starts the job of the greatest score among those that fit now, and lets time pass if none does."""

    needs_durations: ClassVar[bool] = False

    def score(self, seen: Seen, duration: Array) -> Array:
        """Returns the score of each visible job, `[E, 10]`.

        Args:
          seen: the parts of the observation.
          duration: of the visible jobs in time steps `[E, 10]`, as far as it is known.
        """
        raise TypeError(f"{type(self).__name__} must define score")

    def make(self, env: JobScheduling, num_rounds: int) -> MetaLearner:
        """Returns the heuristic. Its inner state is what it has seen of the durations of classes, `[E, 8]`."""
        del num_rounds
        if self.needs_durations and env.has_classes:
            raise UserError(
                f"strategy {self.name!r} needs to see durations, which env.variant='classes' hides: "
                "choose bookkeeper or oracle"
            )

        def begin(meta_params, memory, key, num_episodes: int) -> Array:
            del meta_params, memory, key
            return jnp.zeros((num_episodes, NUM_CLASSES), jnp.float32)

        def act(meta_params, known: Array, timestep: TimeStep):
            del meta_params
            seen = env.read(timestep.observation)
            if seen.duration is not None:
                duration = LONGEST * seen.duration
            else:
                assert seen.finished is not None
                assert seen.classes is not None
                is_new = (seen.finished > 0) & timestep.valid[:, None]
                known = jnp.where(is_new, LONGEST * seen.finished, known)
                believed = jnp.where(known > 0, known, UNKNOWN_DURATION)
                duration = jnp.einsum("evc,ec->ev", seen.classes, believed)
            action = best_job(seen, self.score(seen, duration))
            return PolicyOut(always(action, NUM_VISIBLE + 1), jnp.zeros(action.shape)), known

        return MetaLearner(init=lambda key: (), begin=begin, act=act)


@dataclasses.dataclass(frozen=True)
class Bookkeeper(Heuristic):
    """The shortest job, by the durations of classes observed in this trial; an unobserved class counts as 4 time
    steps."""

    name: ClassVar[str] = "bookkeeper"

    def score(self, seen: Seen, duration: Array) -> Array:
        del seen
        return -duration


@dataclasses.dataclass(frozen=True)
class ShortestJobFirst(Bookkeeper):
    """The shortest job; in the variant `classes` that is the control `oracle`, or `bookkeeper`."""

    name: ClassVar[str] = "sjf"
    needs_durations: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Packer(Heuristic):
    """The job whose demand is best aligned with what is free: the greatest dot product of the two."""

    name: ClassVar[str] = "packer"

    def score(self, seen: Seen, duration: Array) -> Array:
        del duration
        return alignment(seen)


@dataclasses.dataclass(frozen=True)
class Tetris(Heuristic):
    """A weighted sum of both: knob · alignment + (1 − knob) / duration."""

    name: ClassVar[str] = "tetris"
    needs_durations: ClassVar[bool] = True

    knob: float = bounded(0.005, at_least=0, at_most=1)
    """Weight of the alignment, in slots²."""

    def score(self, seen: Seen, duration: Array) -> Array:
        return self.knob * alignment(seen) + (1.0 - self.knob) / jnp.maximum(duration, 1.0)


@dataclasses.dataclass(frozen=True)
class FirstFit(Heuristic):
    """The first visible job that fits."""

    name: ClassVar[str] = "first_fit"

    def score(self, seen: Seen, duration: Array) -> Array:
        del duration
        return jnp.broadcast_to(-jnp.arange(float(NUM_VISIBLE)), seen.demand.shape[:-1])


@dataclasses.dataclass(frozen=True)
class Smallest(Heuristic):
    """The job of the smallest demand."""

    name: ClassVar[str] = "smallest"

    def score(self, seen: Seen, duration: Array) -> Array:
        del duration
        return -seen.demand.sum(axis=-1)


def alignment(seen: Seen) -> Array:
    """Returns the dot product of demand and free slots now, `[E, 10]` slots²."""
    return 100.0 * jnp.einsum("evr,er->ev", seen.demand, seen.free[:, 0])
