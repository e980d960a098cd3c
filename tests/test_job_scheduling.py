"""Job scheduling against a simulator written out in plain Python, and the heuristics against their known figures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import baselines, envs
from metarl_jax.core.errors import UserError
from metarl_jax.envs.job_scheduling import best_job

HORIZON, VISIBLE, BACKLOG, SLOTS = 20, 10, 60, 10


@dataclasses.dataclass
class Job:
    duration: int
    demand: tuple[int, int]
    kind: int
    start: int | None = None


class PlainCluster:
    """The rules of the specification, with lists of jobs."""

    def __init__(self, arrivals, has_classes, max_time):
        self.arrivals, self.has_classes, self.max_time = arrivals, has_classes, max_time
        self.time, self.since = 0, 0
        self.visible = [None] * VISIBLE
        self.backlog, self.placed, self.lost, self.num_arrived = [], [], [], 0
        self.slowdown = 0.0
        self.finished = []
        self._arrive()

    def _arrive(self):
        job = self.arrivals[self.time] if self.time < len(self.arrivals) else None
        if job is None:
            return
        self.since = 0
        self.num_arrived += 1
        if None in self.visible:
            self.visible[self.visible.index(None)] = job
        elif len(self.backlog) < BACKLOG:
            self.backlog.append(job)
        else:
            self.lost.append(job)

    def free(self, ahead, resource):
        moment = self.time + ahead
        used = sum(
            job.demand[resource]
            for job in self.placed
            if job.start <= moment < job.start + job.duration
        )
        return SLOTS - used

    def start_of(self, job):
        """In how many steps a job can start, or None."""
        for ahead in range(1 if self.has_classes else HORIZON):
            if ahead + job.duration > HORIZON:
                return None
            fits = all(
                self.free(moment, r) >= job.demand[r]
                for moment in range(ahead, ahead + job.duration)
                for r in range(2)
            )
            if fits:
                return ahead
        return None

    def mask(self):
        return [job is not None and self.start_of(job) is not None for job in self.visible] + [True]

    def step(self, action):
        """The reward, and whether the episode is over."""
        self.finished = []
        job = self.visible[action] if action < VISIBLE else None
        ahead = None if job is None else self.start_of(job)
        if ahead is not None:
            job.start = self.time + ahead
            self.placed.append(job)
            self.visible[action] = self.backlog.pop(0) if self.backlog else None
            reward = 0.0
        else:
            waiting = [job for job in self.visible if job] + self.backlog + self.lost
            running = [j for j in self.placed if self.time < j.start + j.duration]
            reward = -sum(1 / job.duration for job in waiting + running)
            self.time += 1
            self.since += 1
            self.finished = [j for j in self.placed if j.start + j.duration == self.time]
            self._arrive()
        self.slowdown -= reward
        busy = any(self.visible) or any(self.time < j.start + j.duration for j in self.placed)
        return reward, (self.time >= 50 and not busy) or self.time >= self.max_time

    def observation(self):
        ahead = 1 if self.has_classes else HORIZON
        free = [self.free(h, r) / SLOTS for h in range(ahead) for r in range(2)]
        demand = [x / SLOTS for job in self.visible for x in (job.demand if job else (0, 0))]
        if self.has_classes:
            kind = [float(bool(job) and job.kind == c) for job in self.visible for c in range(8)]
            rest = [0.0] * 16
            for job in self.finished:
                rest[job.kind], rest[8 + job.kind] = job.duration / 15, 1.0
        else:
            kind = [job.duration / 15 if job else 0.0 for job in self.visible]
            rest = [min(self.since, 10) / 10]
        return free + demand + kind + [len(self.backlog) / BACKLOG] + rest


def compare(variant, num_episodes, **options):
    """Plays random episodes in both; returns how many decisions were compared."""
    env = envs.make("job_scheduling", variant=variant, **options)
    keys = jax.random.split(jax.random.key(3), num_episodes)

    @jax.jit
    @jax.vmap
    def play(key):
        task_key, reset_key, action_key = jax.random.split(key, 3)
        task = env.sample(task_key)
        start = env.reset(task, reset_key)

        def step(state, key):
            mask = env.action_mask(task, state)
            choose_key, any_key = jax.random.split(key)
            masked = jax.random.categorical(choose_key, jnp.where(mask, 0.0, -jnp.inf))
            # Every fourth action may be one that the mask forbids.
            anything = jax.random.randint(any_key, (2,), 0, jnp.array([11, 4]))
            action = jnp.where(anything[1] == 0, anything[0], masked)
            after = env.step(task, state, action)
            seen = (state.observation, mask, action, after.reward, after.done, after.metrics)
            return after, seen

        steps = jax.lax.scan(step, start, jax.random.split(action_key, env.episode_length))[1]
        return start.simulator.jobs, steps

    jobs, steps = jax.device_get(play(keys))
    compared = 0
    for i in range(num_episodes):
        arrives, duration, demand, kind = (np.asarray(x[i]) for x in jax.tree.leaves(jobs))
        arrivals = [
            Job(int(duration[t]), tuple(demand[t].tolist()), int(kind[t])) if arrives[t] else None
            for t in range(len(arrives))
        ]
        plain = PlainCluster(arrivals, variant == "classes", env.max_time)
        observation, mask, action, reward, done, metrics = jax.tree.map(lambda x, i=i: x[i], steps)
        for t in range(env.episode_length):
            np.testing.assert_allclose(observation[t], plain.observation(), atol=1e-6)
            assert mask[t].tolist() == plain.mask()
            expected, is_over = plain.step(int(action[t]))
            assert reward[t] == pytest.approx(expected, abs=1e-4)
            assert bool(done[t]) == is_over
            compared += 1
            if is_over:
                break
        assert is_over
        mean = plain.slowdown / plain.num_arrived if plain.num_arrived else 1.0
        assert metrics["slowdown"][t] == pytest.approx(mean, rel=1e-4)
        assert metrics["lost"][t] == len(plain.lost)
    return compared


@pytest.mark.parametrize("variant", ["load", "classes"])
def test_episodes_are_those_of_the_plain_simulator(variant):
    assert compare(variant, 15) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["load", "classes"])
def test_a_thousand_episodes_are_those_of_the_plain_simulator(variant):
    compare(variant, 1000)


def test_jobs_that_find_the_backlog_full_are_lost():
    assert compare("load", 2, num_arrivals=120, min_load=1.9, max_load=1.9) > 400


def test_jobs_are_drawn_as_specified():
    env = envs.make("job_scheduling", long_share=0.2, dominance=0.5, min_load=0.7, max_load=0.7)
    keys = jax.random.split(jax.random.key(0), 2000)
    jobs = jax.jit(jax.vmap(lambda key: env.reset(env.sample(key), key).simulator.jobs))(keys)
    duration, demand = np.asarray(jobs.duration), np.asarray(jobs.demand)
    assert sorted(np.unique(duration)) == [1, 2, 3, *range(10, 16)]
    assert (duration > 3).mean() == pytest.approx(0.2, abs=0.01)
    assert duration.mean() == pytest.approx(0.8 * 2 + 0.2 * 12.5, rel=0.02)
    large, small = demand.max(axis=-1), demand.min(axis=-1)
    assert sorted(np.unique(large)) == [5, 6, 7, 8, 9, 10]
    assert sorted(np.unique(small)) == [1, 2]
    # A load of 0.7 is 7 of 10 slots of each resource on average.
    offered = (np.asarray(jobs.arrives) * duration)[..., None] * demand
    assert offered.mean() == pytest.approx(7.0, rel=0.03)


def test_durations_of_classes_are_drawn_as_specified():
    env = envs.make("job_scheduling", variant="classes", min_load=0.5, max_load=0.5)
    tasks = jax.vmap(env.sample)(jax.random.split(jax.random.key(0), 4000))
    drawn = np.asarray(tasks.duration)
    low = np.log(np.arange(1, 16) - 0.5).clip(0)
    high = np.log(np.arange(1, 16) + 0.5)
    expected = (high - low) / np.log(15.5)
    found = np.bincount(drawn.ravel(), minlength=16)[1:] / drawn.size
    np.testing.assert_allclose(found, expected, atol=0.01)
    draw = jax.jit(jax.vmap(lambda key: env.reset(env.sample(key), key).simulator.jobs))
    jobs = draw(jax.random.split(jax.random.key(1), 500))
    for kinds, durations in zip(np.asarray(jobs.kind), np.asarray(jobs.duration), strict=True):
        for kind in range(8):
            assert len(set(durations[kinds == kind].tolist())) <= 1


def test_the_best_job_fits_for_all_of_its_duration():
    env = envs.make("job_scheduling")
    free = np.ones((20, 2))
    free[3:, 0] = 0.4  # room for three time steps
    demand = np.zeros((10, 2))
    duration = np.zeros(10)
    demand[0], duration[0] = (0.5, 0.1), 4 / 15
    demand[1], duration[1] = (0.5, 0.1), 3 / 15
    demand[2], duration[2] = (0.4, 0.1), 15 / 15
    observation = jnp.asarray([*free.ravel(), *demand.ravel(), *duration, 0.0, 0.0], jnp.float32)
    seen = env.read(observation)
    assert int(best_job(seen, jnp.arange(10, 0, -1.0))) == 1
    assert int(best_job(seen, jnp.arange(10.0))) == 2
    assert int(env.oracle_action(None, observation)) == 1
    busy = observation.at[:40].set(0.0)
    assert int(best_job(env.read(busy), jnp.arange(10.0))) == 10


def test_bad_options_and_strategies_are_refused():
    with pytest.raises(UserError, match=r"env\.variant='both': choose one of load, classes"):
        envs.make("job_scheduling", variant="both").validate()
    with pytest.raises(UserError, match=r"env\.min_load=1\.0 is above env\.max_load=0\.5"):
        envs.make("job_scheduling", min_load=1.0, max_load=0.5).validate()
    with pytest.raises(UserError, match="'sjf' needs to see durations"):
        baselines.make(envs.make("job_scheduling", variant="classes"), "sjf", 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "load", "known"),
    [
        (
            {"long_share": 0.2, "dominance": 0.5},
            0.7,
            {
                "sjf": (3.01, 0.13),
                "tetris": (2.98, 0.12),
                "packer": (4.83, 0.28),
                "first_fit": (4.69, 0.29),
            },
        ),
        (
            {"long_share": 0.2, "dominance": 0.5},
            1.3,
            {
                "sjf": (4.69, 0.19),
                "tetris": (4.52, 0.20),
                "packer": (12.38, 0.62),
                "first_fit": (12.19, 0.64),
            },
        ),
        (
            {"variant": "classes"},
            0.7,
            {
                "oracle": (2.30, 0.08),
                "bookkeeper": (2.51, 0.09),
                "packer": (3.44, 0.20),
                "first_fit": (3.62, 0.22),
            },
        ),
        (
            {"variant": "classes"},
            1.3,
            {
                "oracle": (4.05, 0.14),
                "bookkeeper": (4.74, 0.18),
                "packer": (9.06, 0.42),
                "first_fit": (8.91, 0.42),
            },
        ),
    ],
)
def test_heuristics_have_their_known_slowdowns(options, load, known):
    """Against another simulator's means and standard errors, within three standard errors of the difference."""
    from metarl_jax.baselines.measure import ControlsConfig, measure

    env = envs.make("job_scheduling", min_load=load, max_load=load, **options)
    report = measure(ControlsConfig(env=env, controls=tuple(known), num_tasks=400, num_rounds=1))
    for name, (mean, error) in known.items():
        found = report["controls"][name]["metrics"]["env/slowdown"]
        tolerance = 3 * np.hypot(error, found["se"][0])
        assert found["mean"][0] == pytest.approx(mean, abs=tolerance), name
