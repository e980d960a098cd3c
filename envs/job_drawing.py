"""Drawings of a cluster: the slots in use, and the jobs that wait."""

from metarl_jax.core.scenes import Rectangle, Scene, Shape, Text
from metarl_jax.envs.job_cluster import Cluster, Jobs


def draw_cluster(cluster: Cluster, jobs: Jobs, has_classes: bool) -> Scene:
    """Draws an episode.

    Args:
      cluster, jobs: of each step, as numpy arrays `[T, ...]`.
      has_classes: show the class of a job, and slots in use now; else its duration, and slots in the next time steps.
    """
    horizon = 1 if has_classes else Cluster.HORIZON
    frames = []
    for t in range(len(cluster.time)):
        shapes: list[Shape] = [Text(0.0, 31.5, f"time {cluster.time[t]}", 1.4)]
        for resource in range(2):
            for ahead in range(horizon):
                used = Cluster.SLOTS - float(cluster.free[t, ahead, resource])
                x = 12.0 * resource + (0.0 if horizon == 1 else 0.5 * ahead)
                shapes.append(Rectangle(x, 19.0, 10.0 if horizon == 1 else 0.45, used, "agent"))
        for slot, job in enumerate(cluster.visible[t].tolist()):
            if job < 0:
                continue
            x = 2.3 * slot
            for resource, color in enumerate(("accent", "good")):
                demand = float(jobs.demand[t, job, resource])
                shapes.append(Rectangle(x + 0.9 * resource, 3.0, 0.8, demand, color))
            shown = jobs.kind[t, job] if has_classes else jobs.duration[t, job]
            shapes.append(Text(x, 1.2, str(shown), 1.4))
        backlog = int(cluster.num_accepted[t] - cluster.num_taken[t])
        shapes.append(Text(12.0, 31.5, f"backlog {backlog}", 1.4))
        frames.append(shapes)
    background = [
        Rectangle(0.0, 19.0, 10.0, Cluster.SLOTS, "ground"),
        Rectangle(12.0, 19.0, 10.0, Cluster.SLOTS, "ground"),
    ]
    label = "class" if has_classes else "duration"
    legend = Text(0.0, 14.5, f"waiting: demands and {label}", 1.4)
    names = [Text(12.0 * index, 17.2, f"resource {index + 1} in use", 1.2) for index in range(2)]
    return Scene((-0.5, 0.0, 23.5, 33.5), frames, [*background, *names, legend])
