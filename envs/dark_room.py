"""Dark rooms, in which the agent sees only its own cell: find a hidden goal, or a hidden key and a hidden door."""

import dataclasses
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.scenes import Color, Scene
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import EnvState, Regret, TaskDistribution, check_split
from metarl_jax.envs.drawings import grid
from metarl_jax.envs.grid_cells import MOVES, move, next_move, observe_cell, regret_of


class RoomState(NamedTuple):
    """An episode in a room.

    Attributes:
      cell: `[2]` int32, where the agent is.
      time: `[]` int32, steps done.
      num_found: `[]` int32, the number of hidden cells found so far; they must be found in order.
    """

    cell: jax.Array
    time: jax.Array
    num_found: jax.Array


@dataclasses.dataclass(frozen=True)
class DarkRoomBase(TaskDistribution):
    """A square room with walls around it.

    The five actions are stay, up, right, down and left; walking into a wall means staying. The observation is the
    agent's cell, one-hot `[size²]`. An episode begins in the centre, or in a cell drawn at random.
    """

    note: ClassVar[str] = "test tasks are drawn from the same cells as train tasks"

    size: int = bounded(9, at_least=2)
    """Cells along a side."""
    horizon: int = bounded(20, at_least=1)
    """Steps per episode."""
    random_start: bool = False
    """Start episodes in a random cell instead of the centre."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def observation_size(self) -> int:
        return self.size**2

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    def reset(self, task: jax.Array, key: jax.Array) -> EnvState:
        del task
        cell = jnp.full(2, self.size // 2, jnp.int32)
        if self.random_start:
            cell = self._random_cells(key, 1)[0]
        zero = jnp.zeros((), jnp.int32)
        return self._observe(RoomState(cell, zero, zero), jnp.float32(0), jnp.zeros((), bool))

    def render(self, task: jax.Array, states: EnvState) -> Scene:
        """Draws the walk through the room, and the hidden cells: the goal, or the key and the door."""
        colors: tuple[Color, ...] = ("goal",) if task.ndim == 1 else ("accent", "goal")
        marks = list(zip(task.reshape(-1, 2), colors, strict=True))
        return grid(self.size, states.simulator.cell, marks)

    def _random_cells(self, key: jax.Array, count: int) -> jax.Array:
        """Draws cells `[count, 2]`, uniform and independent."""
        return jax.random.randint(key, (count, 2), 0, self.size, jnp.int32)

    def _observe(self, room: RoomState, reward: jax.Array, done: jax.Array) -> EnvState:
        return EnvState(observe_cell(room.cell, self.size), reward, done, room)


@dataclasses.dataclass(frozen=True)
class DarkRoom(DarkRoomBase):
    """Find the hidden goal of a dark room, then return to it in the next episodes.

    The task is the goal cell `[2]` (int32), uniform over all 9×9 cells. An episode lasts 20 steps. The reward is 1 for
    every step that ends on the goal, and 0 for any other. With `sparse` it is 1 once, and the episode ends there.

    A policy that is told the goal earns 20 if that is the centre, and 21 − d at distance d: 16.543 on average. One that
    is not told can earn as much in the fifth episode: four disjoint walks of 20 steps cover the room, and earn 2.593,
    6.667, 10.741, 14.815 and 16.543 on average, 51.358 in all. The Bayes-optimal sum is between that and 53.358, what
    20 new cells an episode would earn if the nearest could be seen first. It is not computed exactly: that would need a
    search over paths through 81 cells.

    References:
      Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", ICLR 2023.
    """

    name: ClassVar[str] = "dark_room"

    sparse: bool = False
    """Reward the goal once, and terminate the episode there."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return self._random_cells(key, 1)[0]

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        room: RoomState = state.simulator
        cell = move(room.cell, action, self.size)
        is_found = jnp.all(cell == task)
        after = RoomState(cell, room.time + 1, room.num_found + is_found)
        return self._observe(after, is_found.astype(jnp.float32), is_found & self.sparse)

    def oracle_action(self, task: jax.Array, observation: jax.Array) -> jax.Array:
        """Returns the next move of a shortest way: along x, then along y, then stay."""
        return next_move(task, observation, self.size)

    def regret(self, task: jax.Array) -> Regret:
        """V* = max(h − max(d, 1) + 1, 0) with h steps to go at distance d; with `sparse` 1 if d ≤ h, else 0."""

        def best(room: RoomState) -> jax.Array:
            left = self.horizon - room.time
            distance = jnp.maximum(jnp.abs(room.cell - task).sum(), 1)
            if self.sparse:
                return ((distance <= left) & (room.num_found == 0)).astype(jnp.float32)
            return jnp.maximum(left - distance + 1, 0).astype(jnp.float32)

        return regret_of(partial(self.step, task), best)


@dataclasses.dataclass(frozen=True)
class DarkRoomHard(DarkRoom):
    """Find the hidden goal of a large dark room, where it is rewarded once.

    `dark_room` with 17×17 cells and `sparse`. A policy that is told the goal earns 1 in every episode.

    References:
      Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", ICLR 2023.
    """

    name: ClassVar[str] = "dark_room_hard"

    size: int = bounded(17, at_least=2)
    """Cells along a side."""
    sparse: bool = True
    """Reward the goal once, and terminate the episode there."""


@dataclasses.dataclass(frozen=True)
class DarkKeyToDoor(DarkRoomBase):
    """Find a hidden key and then a hidden door in a dark room.

    The task is the cells of key and door `[2, 2]` (int32), each uniform over all 9×9 cells: 6,561 tasks. An episode
    lasts 50 steps. The reward is 1 for the first step that ends on the key, 1 for the first later step that ends on
    the door, and 0 for any other; nothing terminates. Whether the agent has the key is not observed.

    A policy that is told the task earns 2 in every episode: no way to key and door is longer than 24 steps. There is no
    oracle, because the right action depends on what was found before, which the observation does not tell. The
    Bayes-optimal value is not computed.

    References:
      Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", ICLR 2023.
    """

    name: ClassVar[str] = "dark_key_to_door"

    horizon: int = bounded(50, at_least=1)
    """Steps per episode."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return self._random_cells(key, 2)

    def step(self, task: jax.Array, state: EnvState, action: jax.Array) -> EnvState:
        room: RoomState = state.simulator
        cell = move(room.cell, action, self.size)
        wanted = task[jnp.minimum(room.num_found, 1)]
        is_found = jnp.all(cell == wanted) & (room.num_found < 2)
        after = RoomState(cell, room.time + 1, room.num_found + is_found)
        return self._observe(after, is_found.astype(jnp.float32), jnp.zeros((), bool))

    def regret(self, task: jax.Array) -> Regret:
        """V* is the reward that can still be collected: the key after max(d, 1) steps, then the door likewise from
        there."""

        def steps(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.maximum(jnp.abs(a - b).sum(), 1)

        def best(room: RoomState) -> jax.Array:
            left = self.horizon - room.time
            has_key = room.num_found > 0
            to_key = jnp.where(has_key, 0, steps(room.cell, task[0]))
            to_door = to_key + steps(jnp.where(has_key, room.cell, task[0]), task[1])
            key = (to_key <= left) & ~has_key
            door = (to_door <= left) & (room.num_found < 2)
            return key.astype(jnp.float32) + door.astype(jnp.float32)

        return regret_of(partial(self.step, task), best)
