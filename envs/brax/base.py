"""The base of task distributions on Brax robots: physics, episodes, divergence."""

import contextlib
import copy
import dataclasses
import functools
import importlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.errors import UserError
from metarl_jax.core.registry import suggestion
from metarl_jax.core.scenes import Mark, Scene
from metarl_jax.core.spaces import Array, Box
from metarl_jax.core.trees import strongly_typed
from metarl_jax.envs.base import CPU_LIBRARY, EnvState, Task, TaskDistribution
from metarl_jax.envs.brax.drawing import draw_robot

BACKENDS = ("spring", "generalized", "positional", "mjx")
PLAYGROUND = "playground"
_PLAYGROUND_DT = 0.05  # s, of a step


class Robot(NamedTuple):
    """A Brax environment, of which only the physics and the observation are used.

    Attributes:
      environment: `"module:class"` in Brax, imported when the physics is first needed.
      observation_size: O.
      action_size: A.
      options: arguments of the Brax environment.
      is_planar: whether it moves in the plane of x and z alone.
      playground: the environment of MuJoCo Playground with such a robot, and the same observation and action; empty for
        none.
    """

    environment: str
    observation_size: int
    action_size: int
    options: tuple[tuple[str, Any], ...] = ()
    is_planar: bool = True
    playground: str = ""


class Torso(NamedTuple):
    """The root link after a step, in the world's frame, for rewards and termination.

    Attributes:
      position: `[3]` m.
      velocity: `[3]` m/s, the mean over the step, (position after - position before)/dt.
      rotation: `[4]`, a unit quaternion (w, x, y, z).
    """

    position: jax.Array
    velocity: jax.Array
    rotation: jax.Array

    @property
    def pitch(self) -> jax.Array:
        """The pitch in rad, `[]`, of a robot that moves in the plane."""
        return 2.0 * jnp.arctan2(self.rotation[2], self.rotation[0])

    def has_left(self, low: float, high: float) -> jax.Array:
        """Returns whether the height is outside [low, high] m, `[]` bool."""
        height = self.position[2]
        return (height < low) | (height > high)


class Physics(NamedTuple):
    """The raw environment and the seconds that one of its steps simulates."""

    env: Any
    dt: float

    def replace(
        self,
        *,
        mass: jax.Array | None = None,
        inertia: jax.Array | None = None,
        damping: jax.Array | None = None,
        armature: jax.Array | None = None,
        friction: jax.Array | None = None,
    ) -> "Physics":
        """Returns a copy with other bodies and joints, for the backends `generalized` and `mjx`.

        The arrays may be traced and differ between tasks, so that a new physics needs no compilation. What Brax derives
        from the nominal body to regularise its constraint solver stays as it is.

        Args:
          mass: `[L]` kg, of each link.
          inertia: `[L, 3]` kg·m², the principal moments of each link.
          damping, armature: `[V]`, of each degree of freedom: N·m·s/rad and kg·m².
          friction: `[G, 3]`, sliding, torsional and rolling friction of each geometry.
        """
        system, leaves = self.env.sys, {}
        # `generalized` reads the entries with a dot, and `mjx` the others, whose first body is the world.
        if mass is not None:
            leaves |= {"link.inertia.mass": mass, "body_mass": system.body_mass.at[1:].set(mass)}
        if inertia is not None:
            leaves |= {
                "link.inertia.i": jax.vmap(jnp.diag)(inertia),
                "body_inertia": system.body_inertia.at[1:].set(inertia),
            }
        if damping is not None:
            leaves |= {"dof.damping": damping, "dof_damping": damping}
        if armature is not None:
            leaves |= {"dof.armature": armature, "dof_armature": armature}
        if friction is not None:
            leaves |= {"geom_friction": friction}
        env = copy.copy(self.env)
        env.sys = system.tree_replace(leaves)
        return Physics(env, self.dt)

    @property
    def inertia(self) -> jax.Array:
        """The principal moments of inertia of each link, `[L, 3]` kg·m²."""
        return jax.vmap(jnp.diag)(self.env.sys.link.inertia.i)


@functools.cache
def make_physics(robot: Robot, backend: str) -> Physics:
    """Builds the environment, once for each robot and backend.

    Brax is imported here, quietly, so that every later import of it finds it loaded.
    The first call may come from inside a trace, so the constants are made eagerly: as tracers they
    would leak into the cache and break every later use.

    Raises:
      UserError: if the backend is `playground` and MuJoCo Playground is not installed.
    """
    module, cls = robot.environment.split(":")
    with _quiet(), jax.ensure_compile_time_eval():
        if backend == PLAYGROUND:
            from metarl_jax.envs.brax.playground import PlaygroundRobot

            env = PlaygroundRobot(robot.playground, _PLAYGROUND_DT)
            return Physics(env, float(env.dt))
        env = getattr(importlib.import_module(module), cls)(backend=backend, **dict(robot.options))
        return Physics(env, float(env.dt))


@dataclasses.dataclass(frozen=True)
class BraxFamily(TaskDistribution):
    """Tasks that share a Brax robot and differ in the reward or in the physics.

    A subclass sets `robot` and defines `sample` and `reward`, `terminates` where an episode can end
    early, and `physics_of` where tasks differ in physics. The initial state is Brax's, as in Gym: for
    the half-cheetah and the ant joint positions + U[-0.1, 0.1], velocities + 0.1·N(0, 1). A step of
    theirs is 0.05 s of simulated time on all backends. Brax's rewards, wrappers, `info` and `metrics`
    are not used; `EnvState.simulator` is the bare pipeline state.

    A simulation that diverges, because the physics exploded or because the action was not finite,
    terminates (`done`) with reward 0 and stays at its last finite state, so that one bad episode
    cannot poison a batch.

    Brax's physics is not MuJoCo's, whatever the backend: raw returns do not compare with published
    ones. Compare (return - random)/(oracle - random), all three measured in the same environment.

    References:
      Freeman et al., "Brax: A Differentiable Physics Engine for Large Scale Rigid Body Simulation",
      NeurIPS Datasets and Benchmarks 2021.
    """

    robot: ClassVar[Robot]
    backends: ClassVar[tuple[str, ...]] = BACKENDS
    """Backends that can simulate the differences between the tasks."""

    horizon: int = 200
    """Steps per episode, of 0.05 s each."""

    backend: str = "spring"
    """The physics: `spring` (the fastest on a CPU), `positional`, `generalized` or `mjx`; half-cheetahs also run on
    `playground`, MuJoCo's maintained simulator (pip install 'metarl_jax[playground]')."""

    @property
    def episode_length(self) -> int:
        return self.horizon

    @property
    def observation_space(self) -> Array:
        return Array((self.robot.observation_size,))

    @property
    def action_space(self) -> Box:
        return Box(self.robot.action_size, -1.0, 1.0)

    @property
    def physics(self) -> Physics:
        """The Brax environment, shared by all instances of the same robot and backend."""
        return make_physics(self.robot, self.backend)

    def physics_of(self, task: Task) -> Physics:
        """Returns the physics of a task; by default, all tasks share one."""
        del task
        return self.physics

    def compiler_options(self, platform: str) -> dict[str, Any]:
        # XLA:CPU hands the many 3×3 products of rigid bodies to a library for large matrices; compiled in
        # line they take a third less time.
        return {CPU_LIBRARY: ""} if platform == "cpu" else {}

    def reward(self, task: Task, torso: Torso, action: jax.Array) -> jax.Array:
        """Returns the reward `[]` of a step that ended with this torso, after the clipped action `[A]`."""
        raise TypeError(f"{type(self).__name__} must define reward")

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the robot has fallen, bool `[]`; by default, never."""
        del torso
        return jnp.zeros((), bool)

    def reset(self, task: Task, key: jax.Array) -> EnvState:
        start = self.physics_of(task).env.reset(key)
        simulator = strongly_typed(start.pipeline_state)
        observation = start.obs.astype(jnp.float32)
        return EnvState(observation, jnp.zeros((), jnp.float32), jnp.zeros((), bool), simulator)

    def step(self, task: Task, state: EnvState, action: jax.Array) -> EnvState:
        physics = self.physics_of(task)
        simulator, observation, torso, action = _simulate(physics, state.simulator, action)
        reward = self.reward(task, torso, action).astype(jnp.float32)
        finite = jnp.isfinite(reward) & jnp.all(jnp.isfinite(observation))

        def keep(new, old):
            return jnp.where(finite, new, old)

        return EnvState(
            observation=keep(observation, state.observation),
            reward=keep(reward, jnp.zeros_like(reward)),
            done=~finite | self.terminates(torso),
            simulator=jax.tree.map(keep, simulator, state.simulator),
        )

    def render(self, task: Task, states: EnvState) -> Scene:
        """The robot, in three dimensions and in the plane, with the task in words and its marks on the ground.

        It is seen from the side, or obliquely from above where it moves in both directions.
        """
        links = states.simulator.x
        return draw_robot(
            self.physics.env.sys,
            links,
            is_planar=self.robot.is_planar,
            marks=self.marks(task, np.asarray(links.pos, np.float64)[:, 0, :2]),
            label=self.describe(task),
        )

    def marks(self, task: Task, path: np.ndarray) -> Sequence[Mark]:
        """Returns what a task asks for, for a drawing; by default nothing.

        Args:
          path: `[T, 2]` m, where the torso is at each step.
        """
        del task, path
        return ()

    def describe(self, task: Task) -> str:
        """Returns the task in words, for a drawing: its numbers, where they are few."""
        numbers = np.ravel(self.oracle_observation(task))
        return "task " + ", ".join(f"{x:.2f}" for x in numbers) if len(numbers) <= 4 else ""

    def validate(self) -> None:
        if self.horizon < 1:
            raise UserError(f"env.horizon={self.horizon} must be at least 1")
        check_choice("backend", self.backend, self.backends)
        if self.backend == PLAYGROUND:
            _ = self.physics  # A missing library is told before anything is compiled.


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `UserError` that names the field, the value, the choices and the nearest of them."""
    if value not in choices:
        hint = suggestion(value, list(choices))
        raise UserError(f"env.{field}={value!r}: choose one of {', '.join(choices)}{hint}")


def _simulate(
    physics: Physics, before: Any, action: jax.Array
) -> tuple[Any, jax.Array, Torso, jax.Array]:
    """One step of physics: pipeline state, observation `[O]`, torso, clipped action `[A]`."""
    env, dt = physics
    from brax.envs.base import State

    action = jnp.clip(action, -1.0, 1.0)
    zero = jnp.zeros((), jnp.float32)
    # Brax's reward, done and metrics are dropped, so the compiler removes them.
    after = env.step(State(before, zero, zero, zero), action)
    position, rotation = after.pipeline_state.x.pos[0], after.pipeline_state.x.rot[0]
    torso = Torso(position, (position - before.x.pos[0]) / dt, rotation)
    simulator = strongly_typed(after.pipeline_state)
    return simulator, after.obs.astype(jnp.float32), torso, action


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the messages that Brax and MuJoCo print at every import, and nothing else.

    That is: jaxopt and Brax's environments are no longer maintained (warnings), Warp is not
    installed (printed), and `settotalmass` in Brax's half-cheetah is deprecated (MuJoCo's own log,
    with a file in the working folder).
    """
    import mujoco

    def pass_on(message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(message, stacklevel=2)

    # MuJoCo's type stubs lack the two functions.
    set_handler = getattr(mujoco, "set_mju_user_warning")  # noqa: B009
    handler = getattr(mujoco, "get_mju_user_warning")()  # noqa: B009
    printed = io.StringIO()
    try:
        set_handler(pass_on)
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
            warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
            yield
    finally:
        set_handler(handler)
        for line in printed.getvalue().splitlines():
            if not line.startswith(("Failed to import warp", "Failed to import mujoco_warp")):
                print(line)
