"""Dark rooms against a room written out in plain Python, and what a policy that is told the task can earn."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs

MOVES = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]


def walk(cell, action, size):
    return tuple(min(max(c + m, 0), size - 1) for c, m in zip(cell, MOVES[action], strict=True))


class PlainRoom:
    """The rules of Laskin et al. (2023), for one episode: `targets` have to be found in their order."""

    def __init__(self, size, targets, *, always, ends):
        self.size, self.targets, self.always, self.ends = size, targets, always, ends
        self.cell, self.found = (size // 2, size // 2), 0

    def step(self, action):
        self.cell = walk(self.cell, action, self.size)
        if self.always:
            return float(self.cell == self.targets[0]), False
        if self.found < len(self.targets) and self.cell == self.targets[self.found]:
            self.found += 1
            return 1.0, self.ends
        return 0.0, False


CASES = {
    "dark_room": {"always": True, "ends": False},
    "dark_room_hard": {"always": False, "ends": True},
    "dark_key_to_door": {"always": False, "ends": False},
}


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_the_plain_room(name):
    env = envs.make(name, size=4, horizon=60)
    keys = jax.random.split(jax.random.key(0), 50)
    tasks = jax.vmap(env.sample)(keys)
    actions = jax.random.randint(jax.random.key(1), (50, 60), 0, 5)

    def episode(task, key, actions):
        def step(state, action):
            state = env.step(task, state, action)
            return state, (state.observation, state.reward, state.done)

        return jax.lax.scan(step, env.reset(task, key), actions)[1]

    observation, reward, done = jax.device_get(jax.jit(jax.vmap(episode))(tasks, keys, actions))
    earned = 0.0
    for i, task in enumerate(np.asarray(tasks)):
        targets = [tuple(cell) for cell in task.reshape(-1, 2).tolist()]
        room = PlainRoom(4, targets, **CASES[name])
        for t, action in enumerate(np.asarray(actions[i])):
            expected, ends = room.step(action)
            assert reward[i, t] == expected
            assert done[i, t] == ends
            assert observation[i, t].argmax() == room.cell[0] * 4 + room.cell[1]
            assert observation[i, t].sum() == 1.0
            earned += expected
            if ends:
                break
    assert earned > 20


@pytest.mark.parametrize("name", ["dark_room", "dark_key_to_door"])
def test_tasks_and_starts(name):
    env = envs.make(name, random_start=True)
    keys = jax.random.split(jax.random.key(0), 4000)
    cells = np.asarray(jax.vmap(env.sample)(keys)).reshape(-1, 2)
    starts = np.asarray(jax.vmap(lambda key: env.reset(None, key).simulator.cell)(keys))
    for drawn in (cells, starts):
        counts = np.bincount(drawn[:, 0] * 9 + drawn[:, 1], minlength=81)
        expected = len(drawn) / 81
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    centre = envs.make(name).reset(None, keys[0])
    assert centre.observation.argmax() == 4 * 9 + 4


def test_the_optimum_of_a_dark_room():
    """The oracle earns, over all 81 goals, what the shortest ways allow: 16.543 (20 in the centre, else 21 − d)."""
    env = envs.make("dark_room")
    goals = jnp.array(list(itertools.product(range(9), range(9))), jnp.int32)

    def episode(goal):
        def step(state, _):
            state = env.step(goal, state, env.oracle_action(goal, state.observation))
            return state, state.reward

        return jax.lax.scan(step, env.reset(goal, jax.random.key(0)), length=20)[1].sum()

    returns = np.asarray(jax.jit(jax.vmap(episode))(goals))
    distance = np.abs(np.asarray(goals) - 4).sum(axis=1)
    np.testing.assert_array_equal(returns, np.where(distance == 0, 20, 21 - distance))
    assert returns.mean() == pytest.approx(16.543, abs=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_regrets_are_those_of_dynamic_programming(name):
    """V* − Q* of every cell, number of things found, time and action, by recursion over the plain rules."""
    size, horizon = 3, 5
    env = envs.make(name, size=size, horizon=horizon)
    rules = CASES[name]
    task = env.sample(jax.random.key(3))
    targets = [tuple(cell) for cell in np.asarray(task).reshape(-1, 2).tolist()]

    def step(cell, found, action):
        room = PlainRoom(size, targets, **rules)
        room.cell, room.found = cell, found
        reward, ends = room.step(action)
        return reward, ends, room.cell, room.found

    @functools.cache
    def action_value(cell, found, time, action):
        reward, ends, after, now_found = step(cell, found, action)
        return reward if ends else reward + value(after, now_found, time + 1)

    def value(cell, found, time):
        if time == horizon:
            return 0.0
        return max(action_value(cell, found, time, action) for action in range(5))

    start = env.reset(task, jax.random.key(0))
    states = [
        (cell, found, time)
        for cell in itertools.product(range(size), repeat=2)
        for found in range(1 if rules["always"] or rules["ends"] else len(targets) + 1)
        for time in range(horizon)
    ]

    def regrets(cell, found, time):
        room = start.simulator._replace(cell=cell, num_found=found, time=time)
        state = start.replace(simulator=room)
        return jax.vmap(lambda action: env.regret(task)(state, action))(jnp.arange(5))

    columns = [jnp.array(column, jnp.int32) for column in zip(*states, strict=True)]
    found = jax.jit(jax.vmap(regrets))(*columns)
    expected = [[value(*s) - action_value(*s, action) for action in range(5)] for s in states]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.max(expected) >= 1.0


def test_a_search_finds_every_goal_in_four_episodes():
    """Four disjoint walks of 20 steps, turned by a quarter each, cover the room: the fifth episode earns 16.543."""
    quarter = [(x, y) for x in range(1, 5) for y in (range(5) if x % 2 else range(4, -1, -1))]
    walks = [quarter]
    for _ in range(3):
        walks.append([(y, -x) for x, y in walks[-1]])
    room = set(itertools.product(range(-4, 5), repeat=2))
    assert {cell for walk in walks for cell in walk} == room - {(0, 0)}
    for path in walks:
        steps = zip([(0, 0), *path], path, strict=False)
        assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in steps)

    def shortest(goal, length):
        x, y = goal
        along_x = [(i * (1 if x > 0 else -1), 0) for i in range(1, abs(x) + 1)]
        along_y = [(x, j * (1 if y > 0 else -1)) for j in range(1, abs(y) + 1)]
        way = [*along_x, *along_y] or [goal]
        return way + [goal] * (length - len(way))

    earned = np.zeros(5)
    for goal in room:
        is_known = False
        for episode in range(5):
            # What four walks have not found is where they began.
            path = shortest(goal, 20) if is_known or episode == 4 else list(walks[episode])
            if not is_known and goal in path:
                at = path.index(goal)
                path = path[:at] + [goal] * (20 - at)
                is_known = True
            earned[episode] += path.count(goal)
    found = [(330 * k + 210) / 81 for k in range(4)] + [1340 / 81]
    np.testing.assert_allclose(earned / 81, found)
    assert sum(found) == pytest.approx(51.358, abs=1e-3)

    # At most 20 new cells an episode, and those nearest to the start first: no search earns more.
    worth = sorted(
        (20 if goal == (0, 0) else 21 - sum(map(abs, goal)) for goal in room), reverse=True
    )
    bound = [(sum(worth[: 20 * k]) + 210) / 81 for k in range(4)] + [sum(worth) / 81]
    assert all(a <= b for a, b in zip(found, bound, strict=True))
    assert sum(bound) == pytest.approx(53.358, abs=1e-3)
