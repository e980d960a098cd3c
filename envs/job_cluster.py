"""The cluster of `job_scheduling`: arrivals, placement and execution of jobs."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct


class Jobs(struct.PyTreeNode):
    """Jobs in the order in which they may arrive, one at each of J time steps.

    Attributes:
      arrives: `[J]` bool, whether there is one.
      duration: `[J]` int32 time steps.
      demand: `[J, 2]` int32 slots of each resource.
      kind: `[J]` int32, the class.
    """

    arrives: jax.Array
    duration: jax.Array
    demand: jax.Array
    kind: jax.Array


class Cluster(struct.PyTreeNode):
    """The state of the cluster and its two resources.

    Attributes:
      time: `[]` int32.
      free: `[H, 2]` int32, free slots of each resource now and in the next H − 1 time steps.
      running: `[H]`, Σ 1/duration over the placed jobs that are in the system now and in the next H − 1 time steps.
      finishing: `[H, C]` int32, how many placed jobs of each class finish in 1 to H time steps.
      waiting: `[]`, Σ 1/duration over the jobs that are visible, in the backlog, or lost.
      visible: `[V]` int32, indices of the visible jobs; −1 for an empty slot.
      queue: `[J]` int32, indices of the accepted jobs in their order.
      num_arrived, num_accepted, num_taken: `[]` int32, jobs that have arrived, that were not lost, and that have become
        visible. What was accepted and not taken is the backlog.
      since_arrival: `[]` int32, time steps since the last arrival.
    """

    HORIZON: ClassVar[int] = 20
    BACKLOG: ClassVar[int] = 60
    SLOTS: ClassVar[int] = 10
    NUM_CLASSES: ClassVar[int] = 8

    time: jax.Array
    free: jax.Array
    running: jax.Array
    finishing: jax.Array
    waiting: jax.Array
    visible: jax.Array
    queue: jax.Array
    num_arrived: jax.Array
    num_accepted: jax.Array
    num_taken: jax.Array
    since_arrival: jax.Array


def start(num_jobs: int, num_visible: int) -> Cluster:
    """Returns an idle cluster before the first arrival, for `num_jobs` jobs at most."""
    zero, horizon = jnp.zeros((), jnp.int32), Cluster.HORIZON
    return Cluster(
        time=zero,
        free=jnp.full((horizon, 2), Cluster.SLOTS, jnp.int32),
        running=jnp.zeros(horizon, jnp.float32),
        finishing=jnp.zeros((horizon, Cluster.NUM_CLASSES), jnp.int32),
        waiting=jnp.zeros((), jnp.float32),
        visible=jnp.full(num_visible, -1, jnp.int32),
        queue=jnp.full(num_jobs, -1, jnp.int32),
        num_arrived=zero,
        num_accepted=zero,
        num_taken=zero,
        since_arrival=zero,
    )


def earliest_start(
    cluster: Cluster, duration: jax.Array, demand: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns in how many time steps a job can start, `[]` int32, and whether there is room within the horizon.

    Args:
      cluster: its free slots.
      duration: `[]` int32 time steps, for all of which there must be room.
      demand: `[2]` int32 slots.
    """
    horizon = Cluster.HORIZON
    index = jnp.arange(horizon)
    has_room = jnp.all(cluster.free >= demand, axis=1)
    # From each time step on, the first one without room.
    blocked = jax.lax.cummin(jnp.where(has_room, horizon, index), reverse=True)
    fits = blocked - index >= duration
    return jnp.argmax(fits).astype(jnp.int32), fits.any()


def place(cluster: Cluster, jobs: Jobs, slot: jax.Array, begin: jax.Array) -> Cluster:
    """Returns the cluster once a visible job is placed, to start in `begin` time steps, and the backlog has moved
    up."""
    job = cluster.visible[slot]
    duration, demand = jobs.duration[job], jobs.demand[job]
    index = jnp.arange(Cluster.HORIZON)
    end = begin + duration
    occupied = (index >= begin) & (index < end)
    in_system = index < end
    moved = cluster.replace(
        free=cluster.free - occupied[:, None] * demand,
        running=cluster.running + in_system / duration,
        finishing=cluster.finishing.at[end - 1, jobs.kind[job]].add(1),
        waiting=cluster.waiting - 1.0 / duration,
        visible=cluster.visible.at[slot].set(-1),
    )
    return _take(moved)


def arrive(cluster: Cluster, jobs: Jobs) -> Cluster:
    """Returns the cluster once the job of this time step has arrived, if there is one."""
    num_jobs = len(jobs.arrives)
    job = jnp.minimum(cluster.time, num_jobs - 1)
    arrives = (cluster.time < num_jobs) & jobs.arrives[job]
    has_slot = jnp.any(cluster.visible < 0)
    is_kept = arrives & (has_slot | (cluster.num_accepted - cluster.num_taken < Cluster.BACKLOG))
    place_in_queue = jnp.where(is_kept, cluster.num_accepted, num_jobs)
    came = cluster.replace(
        waiting=cluster.waiting + arrives / jobs.duration[job],
        queue=cluster.queue.at[place_in_queue].set(job, mode="drop"),
        num_arrived=cluster.num_arrived + arrives,
        num_accepted=cluster.num_accepted + is_kept,
        since_arrival=jnp.where(arrives, 0, cluster.since_arrival),
    )
    return _take(came)


def pass_time(cluster: Cluster, jobs: Jobs) -> tuple[Cluster, jax.Array, jax.Array]:
    """Lets one time step pass, with what arrives at its end.

    Returns:
      The cluster, Σ 1/duration over the jobs in the system during the step `[]`, and how many jobs of each class
      finished at its end `[C]` int32.
    """
    cost = cluster.running[0] + cluster.waiting
    finished = cluster.finishing[0]

    def shifted(x: jax.Array, last: float) -> jax.Array:
        return jnp.concatenate([x[1:], jnp.full_like(x[:1], last)])

    later = cluster.replace(
        time=cluster.time + 1,
        free=shifted(cluster.free, Cluster.SLOTS),
        running=shifted(cluster.running, 0.0),
        finishing=shifted(cluster.finishing, 0),
        since_arrival=cluster.since_arrival + 1,
    )
    return arrive(later, jobs), cost, finished


def is_idle(cluster: Cluster) -> jax.Array:
    """Whether nothing runs and nothing waits, `[]` bool; lost jobs do not count."""
    is_empty = jnp.all(cluster.visible < 0) & (cluster.num_accepted == cluster.num_taken)
    return is_empty & ~cluster.finishing.any()


def _take(cluster: Cluster) -> Cluster:
    """Moves the first job of the backlog into the first empty slot, if there are both."""
    is_empty = cluster.visible < 0
    moves = is_empty.any() & (cluster.num_accepted > cluster.num_taken)
    slot = jnp.where(moves, jnp.argmax(is_empty), len(cluster.visible))
    job = cluster.queue[jnp.minimum(cluster.num_taken, len(cluster.queue) - 1)]
    return cluster.replace(
        visible=cluster.visible.at[slot].set(job, mode="drop"),
        num_taken=cluster.num_taken + moves,
    )
