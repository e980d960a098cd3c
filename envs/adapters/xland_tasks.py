"""XLand-MiniGrid, whose tasks are rulesets."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Discrete, Integers
from metarl_jax.core.trees import strongly_typed
from metarl_jax.core.validation import bounded
from metarl_jax.envs.adapters.library import check_id, require
from metarl_jax.envs.adapters.xland_drawing import draw_room
from metarl_jax.envs.adapters.xland_rulesets import Rulesets, find
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split

_NUM_SHAPES, _NUM_COLORS = 13, 12
_HELD_OUT = 10
"""One ruleset of so many is held out for the test split."""


class Ruleset(NamedTuple):
    """One task: `goal` `[5]`, `rules` `[R, 7]` and `init_tiles` `[T, 2]`, uint8, in the library's encoding."""

    goal: jax.Array
    rules: jax.Array
    init_tiles: jax.Array


class Room(NamedTuple):
    """The state of an episode.

    Attributes:
      grid: `[H, W, 2]` uint8, shape and colour of each cell.
      agent: the library's: position, direction, and what it holds.
      time: `[]` int32.
    """

    grid: jax.Array
    agent: Any
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class XLand(TaskDistribution):
    """Find out by which rules tiles become others, and reach a hidden goal, in a grid that is partly seen.

      metarl train rl2 --env xland --env.benchmark small

    A task is a ruleset: the hidden goal and rules, and the tiles of the grid, which lie elsewhere in each episode. The
    agent sees the 5×5 cells in front of it, shape and colour of each, and its direction. Its six actions are forward,
    turn right, turn left, pick up, put down, and toggle. The reward is 1 − 0.9 t/T at the goal in step t, which ends
    the episode, and 0 otherwise. Every tenth ruleset is held out for `test`.

    References:
      Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", NeurIPS 2024, whose
        simulator runs inside the meta-step. Its auto-reset is not used.
    """

    name: ClassVar[str] = "xland"
    encoder: ClassVar[str] = "grid"

    id: str = "XLand-MiniGrid-R1-9x9"
    """Name of the grid in the library."""
    benchmark: str = "trivial"
    """Rulesets: `trivial`, `small`, `medium` or `high`, drawn by the published recipes, or a file of rulesets."""
    num_rulesets: int = bounded(21_000, at_least=_HELD_OUT)
    """Number of rulesets to draw; a file has its own."""
    benchmark_seed: int = bounded(0, at_least=0)
    """Seed of the rulesets. It is part of the task distribution, and not of the run."""
    horizon: int | None = bounded(None, at_least=1)
    """Steps T of an episode; three times the cells of the grid when not given."""

    @property
    def episode_length(self) -> int:
        return self.horizon or int(load(self.id)[1].max_steps)

    @property
    def action_space(self) -> Discrete:
        env, params = load(self.id)
        return Discrete(env.num_actions(params))

    @property
    def observation_space(self) -> dict[str, Integers]:
        view = load(self.id)[1].view_size
        return {
            "direction": Integers((), 4),
            "tiles": Integers((view, view, 2), _NUM_SHAPES, "uint8"),
        }

    @property
    def rulesets(self) -> Rulesets:
        """The table of rulesets."""
        return find(self.benchmark, self.num_rulesets, self.benchmark_seed)

    def sample(self, key: jax.Array, split: str = "train") -> Ruleset:
        check_split(self, split)
        tables = self.rulesets
        num_held_out = len(tables.goals) // _HELD_OUT
        low, high = (0, num_held_out) if split == "test" else (num_held_out, len(tables.goals))
        index = jax.random.randint(key, (), low, high)
        return Ruleset(*(jnp.asarray(table)[index] for table in tables))

    def reset(self, task: Ruleset, key: jax.Array) -> EnvState:
        env, params = load(self.id)
        ruleset = _library().types.RuleSet(*task)
        start = env.reset(params.replace(ruleset=ruleset), key)
        room = Room(start.state.grid, start.state.agent, jnp.zeros((), jnp.int32))
        return _episode(start, room, jnp.zeros((), bool))

    def step(self, task: Ruleset, state: EnvState, action: jax.Array) -> EnvState:
        env, params = load(self.id)
        room: Room = state.simulator
        types = _library().types
        before = types.State(
            key=jnp.zeros(2, jnp.uint32),
            step_num=room.time,
            grid=room.grid,
            agent=room.agent,
            goal_encoding=task.goal,
            rule_encoding=task.rules,
            carry=types.EnvCarry(),
        )
        timestep = types.TimeStep(before, types.StepType.MID, 0.0, 1.0, None)
        limit = params.replace(max_steps=self.episode_length)
        after = env.step(limit, timestep, action)
        room = Room(after.state.grid, after.state.agent, room.time + 1)
        return _episode(after, room, after.discount == 0)

    def oracle_observation(self, task: Ruleset) -> jax.Array:
        """Returns the goal and the rules, each number one-hot."""
        codes = jnp.concatenate([jnp.ravel(task.goal), jnp.ravel(task.rules)])
        return jax.nn.one_hot(codes, 16, dtype=jnp.float32).ravel()

    def render(self, task: Ruleset, states: EnvState) -> Scene:
        """Draws the grid, the agent, and what it holds."""
        del task
        room: Room = states.simulator
        return draw_room(room.grid, room.agent.position, room.agent.direction, room.agent.pocket)

    def validate(self) -> None:
        load(self.id)
        if len(self.rulesets.goals) < _HELD_OUT:
            raise UserError(
                f"env.benchmark={self.benchmark!r} has {len(self.rulesets.goals)} rulesets: name a file of "
                f"{_HELD_OUT} or more"
            )


def _episode(timestep: Any, room: Room, done: jax.Array) -> EnvState:
    agent = room.agent.replace(direction=jnp.asarray(room.agent.direction, jnp.int32))
    room = strongly_typed(room._replace(agent=agent))
    seen = {"direction": agent.direction, "tiles": timestep.observation.astype(jnp.uint8)}
    reward = jnp.asarray(timestep.reward, jnp.float32)
    return EnvState(seen, reward, done, room, {"success": done.astype(jnp.float32)})


def _library() -> Any:
    return require("xminigrid", "xland")


@functools.cache
def load(name: str) -> tuple[Any, Any]:
    """Returns an environment of the library and its parameters. Made eagerly: the library makes constants when it is
    imported, and the first call may be inside a trace.

    Raises:
      UserError: if the library is not installed, or has no such grid of rulesets.
    """
    with jax.ensure_compile_time_eval():
        library = _library()
        known = [x for x in library.registered_environments() if x.startswith("XLand")]
        check_id("id", name, known)
        return library.make(name)
