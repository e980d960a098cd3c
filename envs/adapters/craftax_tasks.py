"""Craftax, whose tasks are worlds."""

import dataclasses
import functools
import importlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.ranges import Range
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.trees import strongly_typed
from metarl_jax.core.validation import bounded
from metarl_jax.envs.adapters.library import check_id, draw_step_keys, require, step_key
from metarl_jax.envs.adapters.vary import check_vary, read_ranges, sample_values, with_values
from metarl_jax.envs.base import EnvState, TaskDistribution, check_split

IDS = ("Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1")
"""The environments of Craftax that do not draw pixels."""


@dataclasses.dataclass(frozen=True)
class CraftaxTasks(TaskDistribution):
    """Survive, gather and craft in a world that stays the same for a trial.

      metarl train rl2 --env craftax --env.horizon 200 --env.vary spawn_zombie_base_chance=0..0.2

    The task is a dictionary: `world`, the key from which the world is generated, `[2]` uint32, and the varied
    parameters of Craftax, `[]` float32 each. All episodes of a trial begin in the same place of the same world; what
    its creatures do differs. The `ood` split draws parameters of an interval from the half interval above it; worlds
    are new in all splits.

    The observation is Craftax's: the map around the player one-hot, and what the player has, `[1345]` in the classic
    game and `[8268]` in the full one. The reward is Craftax's, 1 for each achievement that is new in the episode (more
    for hard ones in the full game) and 0.1 for each point of health. `done` is the end of a life, and not the time
    limit; automatic resets are not used. The metric `achievements` counts those of the episode so far.

    References:
      Matthews et al., "Craftax: A Lightning-Fast Benchmark for Open-Ended Reinforcement Learning", ICML 2024.
    """

    name: ClassVar[str] = "craftax"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    note: ClassVar[str] = "worlds are new in all splits; `ood` moves the parameters of env.vary"
    horizon_is_task: ClassVar[bool] = False

    id: str = IDS[0]
    """`Craftax-Classic-Symbolic-v1` or `Craftax-Symbolic-v1`."""
    vary: tuple[str, ...] = ()
    """Parameters that differ between tasks, each as NAME=LOW..HIGH, NAME=LOW..HIGH:log, or NAME=A,B,C."""
    horizon: int = bounded(500, at_least=1)
    """Steps of an episode."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def action_space(self) -> Discrete:
        return Discrete(int(load(self.id)[0].num_actions))

    @property
    def ranges(self) -> dict[str, Range]:
        """The varied parameters by name."""
        return read_ranges(self.vary)

    def sample(self, key: jax.Array, split: str = "train") -> dict[str, jax.Array]:
        check_split(self, split)
        world_key, values_key = jax.random.split(key)
        world = jax.random.bits(world_key, (2,), jnp.uint32)
        return {"world": world, **sample_values(self.ranges, values_key, outside=split == "ood")}

    def reset(self, task: dict[str, jax.Array], key: jax.Array) -> EnvState:
        env, params = self._of(task)
        observation, world = env.reset_env(jax.random.wrap_key_data(task["world"]), params)
        carried = (world, draw_step_keys(key, self.horizon), jnp.zeros((), jnp.int32))
        return _episode(observation, jnp.float32(0), jnp.zeros((), bool), carried)

    def step(self, task: dict[str, jax.Array], state: EnvState, action: jax.Array) -> EnvState:
        env, params = self._of(task)
        world, keys, time = state.simulator
        key = step_key(keys, time)
        observation, world, reward, done, _ = env.step_env(key, world, action, params)
        return _episode(observation, reward, done, (world, keys, time + 1))

    def oracle_observation(self, task: dict[str, jax.Array]) -> jax.Array:
        """The varied parameters, in the order of `vary`; nothing of the world, which is seen."""
        return jnp.stack([task[name] for name in self.ranges] or [jnp.zeros(())])

    def validate(self) -> None:
        check_vary(self.vary, load(self.id)[1], self.id)

    def _of(self, task: dict[str, jax.Array]) -> tuple[Any, Any]:
        """The environment, and the parameters of a task."""
        env, params = load(self.id)
        return env, with_values(params, {name: task[name] for name in self.ranges})


def _episode(observation: jax.Array, reward: jax.Array, done: jax.Array, carried: Any) -> EnvState:
    """The state of an episode; the world is the first that is carried."""
    metrics = {"achievements": carried[0].achievements.sum().astype(jnp.float32)}
    numbers = observation.astype(jnp.float32), jnp.asarray(reward, jnp.float32)
    return EnvState(*numbers, done, strongly_typed(carried), metrics)


@functools.cache
def load(name: str) -> tuple[Any, Any]:
    """Returns an environment of Craftax without automatic resets, and its parameters without a time limit.

    Raises:
      UserError: if Craftax is not installed, or has no such environment.
    """
    check_id("id", name, list(IDS))
    # Craftax makes constants when it is imported, and the first call may be inside a trace.
    with jax.ensure_compile_time_eval():
        require("craftax", "craftax")
        make = importlib.import_module("craftax.craftax_env").make_craftax_env_from_name
        env = make(name, auto_reset=False)
        return env, env.default_params.replace(max_timesteps=jnp.iinfo(jnp.int32).max)
