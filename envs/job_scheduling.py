"""Scheduling of jobs on a cluster of two resources, after DeepRM; tasks differ in load, or in the durations of jobs."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split
from metarl_jax.envs.job_cluster import (
    Cluster,
    Jobs,
    arrive,
    earliest_start,
    is_idle,
    pass_time,
    place,
    start,
)
from metarl_jax.envs.job_drawing import draw_cluster

NUM_VISIBLE, NUM_CLASSES = 10, Cluster.NUM_CLASSES
LONGEST = 15
"""Time steps of the longest job."""
MEAN_DEMAND = (7.5 + 1.5) / 2
SHORT, LONG = (1, 3), (10, 15)


class LoadTask(NamedTuple):
    """A task of the variant `load`, `[]` float32 each.

    Attributes:
      load: the share of the capacity that is asked for.
      long_share: the share of long jobs.
      dominance: the chance that resource 0 dominates a job.
    """

    load: jax.Array
    long_share: jax.Array
    dominance: jax.Array


class ClassTask(NamedTuple):
    """A task of the variant `classes`.

    Attributes:
      load: the share of the capacity that is asked for, `[]` float32.
      duration: of the jobs of each class, `[8]` int32 time steps.
    """

    load: jax.Array
    duration: jax.Array


class Seen(NamedTuple):
    """The parts of an observation.

    Attributes:
      free: free slots of each resource, `[..., H, 2]` in the next H time steps, from 0 to 1.
      demand: of the visible jobs, `[..., 10, 2]`, from 0 to 1; 0 where there is none.
      duration: of the visible jobs over 15, `[..., 10]`; None in the variant `classes`.
      classes: of the visible jobs, one-hot `[..., 10, 8]`; None in the variant `load`.
      finished: the duration over 15 of each class of which a job finished in this step, `[..., 8]`, and 0 for the
        others; None in the variant `load`.
    """

    free: jax.Array
    demand: jax.Array
    duration: jax.Array | None
    classes: jax.Array | None
    finished: jax.Array | None


class JobState(NamedTuple):
    """An episode.

    Attributes:
      cluster: the running and waiting jobs.
      jobs: all jobs of the episode, in the order in which they may arrive.
      slowdown: the sum of the slowdowns until now, `[]`.
      finished: jobs of each class that finished in the last step, `[8]` int32.
    """

    cluster: Cluster
    jobs: Jobs
    slowdown: jax.Array
    finished: jax.Array


@dataclasses.dataclass(frozen=True)
class JobScheduling(TaskDistribution):
    """Decide which waiting job starts next, on a cluster whose load or job durations are hidden.

    Two resources have 10 slots each. In each of the first 50 time steps a job arrives with probability p. One resource,
    drawn at random, is its dominant one: it takes 5 to 10 slots of that and 1 or 2 of the other. Ten jobs are visible,
    and 60 more wait in a backlog of which only the count is seen; a job that finds it full is lost. Action i < 10
    places the visible job i, and time stands still; action 10, an empty slot and a job without room let one time step
    pass. When time passes, the reward is −Σ 1/duration over all jobs in the system: running, visible, in the backlog,
    and lost. So the return is minus the sum of the slowdowns, (finish − arrival)/duration, where unfinished jobs count
    with the time that they have waited.

    `load`: the task is a `LoadTask`. Long jobs last 10 to 15 time steps, and the others 1 to 3; durations are seen. A
    job is placed at the earliest time within the next 20 steps that has room. An episode ends when all is done, or
    after 200 time steps. The task has load ~ U[`min_load`, `max_load`], long_share ~ U[0.05, 0.4] and dominance ~ U[0,
    1].

    `classes`: the task is a `ClassTask`. Each job shows one of 8 classes, uniformly drawn, and all jobs of a class have
    the same duration, round(exp(U(ln 1, ln 15.5))), at most 15. A job starts now or waits. An episode ends when all is
    done, or after 400 time steps. The duration of a class is seen when one of its jobs finishes, and not again.

    p = load · 10 / (mean duration · 4.5), at most 1. Observations, `[72]` and `[119]`: free slots, of the next 20 time
    steps (`load`) or of now (`classes`); the duration or the class, and the demand, of each visible job; the backlog;
    and the time since the last arrival (`load`) or the durations of the classes of which a job has finished in this
    step, and which these classes are: of a short duration over 15 alone, a gate could hardly learn that it is there.

    Metrics: `slowdown`, the mean over the jobs that have arrived, and `lost` jobs. The `ood` split has loads from
    `max_load` to 1.2 `max_load`.

    Mean slowdown in one episode, loads 0.7 and 1.3: `load` (20% long jobs, even dominance) shortest job first 3.0 and
    4.7, first that fits 4.7 and 12.2; `classes` told shortest job first 2.3 and 4.1, first that fits 3.6 and 8.9.

    References:
      Mao, Alizadeh, Menache & Kandula, "Resource Management with Deep Reinforcement Learning", HotNets 2016.
    """

    name: ClassVar[str] = "job_scheduling"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")

    variant: str = "load"
    """`load`: durations are observed, the load is hidden; `classes`: the durations of eight job classes are hidden."""
    min_load: float = bounded(0.1, above=0)
    """Smallest load, in shares of the capacity."""
    max_load: float = bounded(1.9, above=0)
    """Largest load, in shares of the capacity."""
    long_share: float | None = bounded(None, at_least=0, at_most=1)
    """Share of long jobs in `load`; drawn for each task when not given."""
    dominance: float | None = bounded(None, at_least=0, at_most=1)
    """Chance that resource 0 dominates a job in `load`; drawn for each task when not given."""
    num_arrivals: int = bounded(50, at_least=1)
    """Time steps in which jobs may arrive."""

    @property
    def has_classes(self) -> bool:
        """Whether this is the variant `classes`."""
        return self.variant == "classes"

    @property
    def max_time(self) -> int:
        """Largest number of time steps in an episode."""
        return (8 if self.has_classes else 4) * self.num_arrivals

    @property
    def episode_length(self) -> int:
        """Largest number of decisions in an episode: each lets time pass or places one of the jobs."""
        return self.max_time + self.num_arrivals

    @property
    def observation_size(self) -> int:
        return 119 if self.has_classes else 72

    @property
    def action_space(self) -> Discrete:
        return Discrete(NUM_VISIBLE + 1)

    def sample(self, key: jax.Array, split: str = "train") -> LoadTask | ClassTask:
        check_split(self, split)
        load_key, other_key = jax.random.split(key)
        low, high = self.min_load, self.max_load
        if split == "ood":
            low, high = high, 1.2 * high
        load = jax.random.uniform(load_key, (), jnp.float32, low, high)
        if self.has_classes:
            exponent = jax.random.uniform(other_key, (NUM_CLASSES,), maxval=jnp.log(LONGEST + 0.5))
            duration = jnp.round(jnp.exp(exponent)).astype(jnp.int32)
            return ClassTask(load, jnp.minimum(duration, LONGEST))
        long_key, dominance_key = jax.random.split(other_key)

        def drawn(value: float | None, key: jax.Array, low: float, high: float) -> jax.Array:
            if value is not None:
                return jnp.float32(value)
            return jax.random.uniform(key, (), jnp.float32, low, high)

        return LoadTask(
            load,
            drawn(self.long_share, long_key, 0.05, 0.4),
            drawn(self.dominance, dominance_key, 0.0, 1.0),
        )

    def reset(self, task: LoadTask | ClassTask, key: jax.Array) -> EnvState:
        jobs = self._draw_jobs(task, key)
        cluster = arrive(start(self.num_arrivals, NUM_VISIBLE), jobs)
        finished = jnp.zeros(NUM_CLASSES, jnp.int32)
        state = JobState(cluster, jobs, jnp.zeros((), jnp.float32), finished)
        return self._observe(task, state, jnp.zeros((), jnp.float32))

    def step(self, task: LoadTask | ClassTask, state: EnvState, action: jax.Array) -> EnvState:
        before: JobState = state.simulator
        cluster, jobs = before.cluster, before.jobs
        slot = jnp.minimum(action, NUM_VISIBLE - 1)
        job = cluster.visible[slot]
        begin, has_room = self._start_of(cluster, jobs, job)
        places = (action < NUM_VISIBLE) & (job >= 0) & has_room
        placed = place(cluster, jobs, slot, begin)
        passed, cost, finished = pass_time(cluster, jobs)
        after = jax.tree.map(lambda x, y: jnp.where(places, x, y), placed, passed)
        cost = jnp.where(places, 0.0, cost)
        finished = jnp.where(places, 0, finished)
        return self._observe(task, JobState(after, jobs, before.slowdown + cost, finished), -cost)

    def action_mask(self, task: Any, state: EnvState) -> jax.Array:
        """Returns the allowed actions `[11]` bool: visible jobs that have room, and void."""
        del task
        cluster, jobs = state.simulator.cluster, state.simulator.jobs
        _, has_room = jax.vmap(lambda job: self._start_of(cluster, jobs, job))(cluster.visible)
        return jnp.append((cluster.visible >= 0) & has_room, True)

    def action_features(self, observation: jax.Array) -> jax.Array:
        """What a scheduler knows of each job and of void: `[..., 11, 17]`, or `[..., 11, 11]` in `load`.

        Of a job whether it is there, its demands, the free slots that it would leave now, their sum, the sum of its
        demands, whether it fits now, and its class or its duration and 1/duration. Of void whether it is void, and the
        free slots.
        """
        seen = self.read(observation)
        is_there = (seen.demand[..., :1] > 0).astype(jnp.float32)
        free = jnp.broadcast_to(seen.free[..., :1, :], seen.demand.shape)
        left = is_there * (free - seen.demand)
        fits = is_there * jnp.all(left >= -1e-6, axis=-1, keepdims=True)
        if seen.classes is not None:
            kind = seen.classes
        else:
            assert seen.duration is not None
            duration = seen.duration[..., None]
            kind = jnp.concatenate(
                [duration, is_there / jnp.maximum(LONGEST * duration, 1.0)], axis=-1
            )
        sums = [left.sum(axis=-1, keepdims=True), seen.demand.sum(axis=-1, keepdims=True)]
        jobs = jnp.concatenate([is_there, seen.demand, left, *sums, fits, kind], axis=-1)
        jobs = jnp.concatenate([jobs, jnp.zeros_like(is_there)], axis=-1)
        void = jnp.zeros_like(jobs[..., :1, :])
        void = void.at[..., 3:5].set(free[..., :1, :]).at[..., -1].set(1.0)
        return jnp.concatenate([jobs, void], axis=-2)

    def oracle_action(self, task: Any, observation: jax.Array) -> jax.Array:
        """Shortest job first, with known durations, among the jobs that fit now; void if none fits."""
        seen = self.read(observation)
        if seen.classes is None:
            assert seen.duration is not None
            return best_job(seen, -seen.duration)
        return best_job(seen, -(seen.classes @ task.duration.astype(jnp.float32)))

    def oracle_observation(self, task: LoadTask | ClassTask) -> jax.Array:
        """Returns the load, and the share of long jobs and the dominance or the durations of the classes over 15."""
        if isinstance(task, ClassTask):
            return jnp.append(task.duration / LONGEST, task.load).astype(jnp.float32)
        return jnp.stack(task)

    def read(self, observation: jax.Array) -> Seen:
        """Returns the parts of observations `[..., O]`."""
        leading = observation.shape[:-1]
        horizon = 1 if self.has_classes else Cluster.HORIZON
        sizes = [
            2 * horizon,
            2 * NUM_VISIBLE,
            NUM_VISIBLE * (NUM_CLASSES if self.has_classes else 1),
        ]
        ends = [sum(sizes[: i + 1]) for i in range(3)]
        free, demand, kind, rest = jnp.split(observation, ends, axis=-1)
        free = free.reshape(*leading, horizon, 2)
        demand = demand.reshape(*leading, NUM_VISIBLE, 2)
        if self.has_classes:
            classes = kind.reshape(*leading, NUM_VISIBLE, NUM_CLASSES)
            return Seen(free, demand, None, classes, rest[..., 1 : 1 + NUM_CLASSES])
        return Seen(free, demand, kind, None, None)

    def render(self, task: Any, states: EnvState) -> Scene:
        """The slots in use now and, in `load`, in the next time steps, and the jobs that wait."""
        del task
        return draw_cluster(states.simulator.cluster, states.simulator.jobs, self.has_classes)

    def validate(self) -> None:
        if self.variant not in ("load", "classes"):
            raise UserError(f"env.variant={self.variant!r}: choose one of load, classes")
        if self.min_load > self.max_load:
            raise UserError(
                f"env.min_load={self.min_load} is above env.max_load={self.max_load}: choose a smaller one"
            )

    def _start_of(
        self, cluster: Cluster, jobs: Jobs, job: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """In how many time steps a job starts, `[]` int32, and whether it has room."""
        begin, has_room = earliest_start(cluster, jobs.duration[job], jobs.demand[job])
        return (begin, has_room & (begin == 0)) if self.has_classes else (begin, has_room)

    def _draw_jobs(self, task: LoadTask | ClassTask, key: jax.Array) -> Jobs:
        """Draws the jobs of an episode, one for each time step in which one may arrive."""
        count = self.num_arrivals
        keys = jax.random.split(key, 5)
        kind = jnp.zeros(count, jnp.int32)
        if isinstance(task, ClassTask):
            kind = jax.random.randint(keys[0], (count,), 0, NUM_CLASSES)
            duration, mean = task.duration[kind], task.duration.mean()
            dominance = jnp.float32(0.5)
        else:
            is_long = jax.random.bernoulli(keys[0], task.long_share, (count,))
            short, long = (
                jax.random.randint(k, (count,), low, high + 1)
                for k, (low, high) in zip(jax.random.split(keys[1]), (SHORT, LONG), strict=True)
            )
            duration = jnp.where(is_long, long, short)
            mean = (1 - task.long_share) * sum(SHORT) / 2 + task.long_share * sum(LONG) / 2
            dominance = task.dominance
        chance = jnp.minimum(task.load * Cluster.SLOTS / (mean * MEAN_DEMAND), 1.0)
        much = jax.random.randint(keys[2], (count,), 5, 11)
        little_key, dominant_key = jax.random.split(keys[3])
        little = jax.random.randint(little_key, (count,), 1, 3)
        is_first = jax.random.bernoulli(dominant_key, dominance, (count,))
        demand = jnp.stack(
            [jnp.where(is_first, much, little), jnp.where(is_first, little, much)], 1
        )
        return Jobs(jax.random.bernoulli(keys[4], chance, (count,)), duration, demand, kind)

    def _observe(self, task: Any, state: JobState, reward: jax.Array) -> EnvState:
        cluster, jobs = state.cluster, state.jobs
        is_there = (cluster.visible >= 0)[:, None]
        demand = jnp.where(is_there, jobs.demand[cluster.visible], 0) / Cluster.SLOTS
        backlog = (cluster.num_accepted - cluster.num_taken) / Cluster.BACKLOG
        if self.has_classes:
            free = cluster.free[:1]
            kind = jax.nn.one_hot(jobs.kind[cluster.visible], NUM_CLASSES) * is_there
            is_finished = (state.finished > 0).astype(jnp.float32)
            rest = jnp.stack([is_finished * task.duration / LONGEST, is_finished])
        else:
            free = cluster.free
            kind = jnp.where(is_there[:, 0], jobs.duration[cluster.visible], 0) / LONGEST
            rest = jnp.minimum(cluster.since_arrival, 10)[None] / 10
        parts = free / Cluster.SLOTS, demand, kind, backlog, rest
        observation = jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in parts])
        is_over = (cluster.time >= self.num_arrivals) & is_idle(cluster)
        metrics = {
            "slowdown": jnp.where(
                cluster.num_arrived > 0, state.slowdown / jnp.maximum(cluster.num_arrived, 1), 1.0
            ),
            "lost": (cluster.num_arrived - cluster.num_accepted).astype(jnp.float32),
        }
        done = is_over | (cluster.time >= self.max_time)
        return EnvState(observation, reward.astype(jnp.float32), done, state, metrics)


def best_job(seen: Seen, score: jax.Array) -> jax.Array:
    """Returns the action that starts the job with the greatest score `[..., 10]` among those that fit now, or void."""
    fits = jnp.all(seen.demand <= seen.free[..., :1, :] + 1e-6, axis=-1) & (seen.demand[..., 0] > 0)
    if seen.duration is not None:
        # It must fit for all of its duration.
        time = jnp.arange(Cluster.HORIZON) / LONGEST
        room = jnp.all(seen.demand[..., None, :] <= seen.free[..., None, :, :] + 1e-6, axis=-1)
        fits &= jnp.all(room | (time >= seen.duration[..., None] - 1e-6), axis=-1)
    best = jnp.argmax(jnp.where(fits, score, -jnp.inf), axis=-1)
    return jnp.where(fits.any(axis=-1), best, NUM_VISIBLE).astype(jnp.int32)
