"""Robots of MuJoCo Playground, behind the part of the interface of Brax that `BraxFamily` uses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from brax.base import Transform
from brax.envs.base import State
from flax import struct

from metarl_jax.envs.adapters.library import require


class PipelineState(struct.PyTreeNode):
    """The state of the simulator.

    Attributes:
      data: of MJX.
      x: poses of the L links in the world's frame, `pos` `[L, 3]` m and `rot` `[L, 4]`.
    """

    data: Any
    x: Transform


class System(NamedTuple):
    """What drawings need to know of a robot."""

    mj_model: Any


class PlaygroundRobot:
    """An environment of MuJoCo Playground on MJX, as its maintainers ship it.

    Its physics, observation and initial state are used. Its reward, termination, wrappers and automatic resets are not.

    References:
      Zakka et al., "MuJoCo Playground", 2025.
    """

    def __init__(self, name: str, dt: float):
        """Loads the environment.

        Args:
          name: in `mujoco_playground.registry`; those of dm_control need no download.
          dt: seconds of a step, which is divided into the substeps of the environment.

        Raises:
          UserError: if the library is not installed.
        """
        self._library = require("mujoco_playground", "playground", "env.backend='playground'")
        # Playground's default, Warp, compiles kernels for a minute and more on a CPU.
        options = {"impl": "jax", "ctrl_dt": dt}
        self._env = self._library.registry.load(name, config_overrides=options)
        self.sys = System(self._env.mj_model)
        self.dt = self._env.dt
        self.action_size = self._env.action_size

    def reset(self, key: jax.Array) -> State:
        """Begins an episode."""
        return self._state(self._env.reset(key))

    def step(self, state: State, action: jax.Array) -> State:
        """Takes one step; only the pipeline state of `state` is read."""
        zero = jnp.zeros((), jnp.float32)
        before: Any = state.pipeline_state
        inner = self._library.State(before.data, state.obs, zero, zero, {}, {})
        return self._state(self._env.step(inner, action))

    def _state(self, inner: Any) -> State:
        from mujoco import mjx

        # MJX leaves the poses of bodies one substep behind the positions of joints.
        moved: Any = mjx.kinematics(self._env.mjx_model, inner.data)
        x = Transform(pos=moved.xpos[1:], rot=moved.xquat[1:])  # The first body is the world.
        zero = jnp.zeros((), jnp.float32)
        pipeline_state: Any = PipelineState(inner.data, x)
        return State(pipeline_state, inner.obs, zero, zero)
