"""Many runs in one program: seeds and float hyperparameters are an axis `M` of members.

A member is a whole run. Its meta-step is `build(config).step` with tracers in the place of the fields that differ, and
the members are mapped over the devices as tasks are in a single run: each device trains members of its own, the tasks
of a member stay together, and no device waits for another within a chunk.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import baselines
from metarl_jax.config import Config, validate
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.sizes import parse_bytes
from metarl_jax.core.task_axis import MEMBERS, TaskAxis, make_task_axis
from metarl_jax.core.types import Array, Key, PyTree, TrainState
from metarl_jax.program.build import Program, build
from metarl_jax.program.compilation import compiler_options
from metarl_jax.program.devices import allowed_devices, replicated
from metarl_jax.program.evaluation import Measured
from metarl_jax.program.step import take_steps
from metarl_jax.runs.executables import RunFunctions, Values
from metarl_jax.sweeps.grid import check_field, set_field

LONGEST_LABEL = 120
"""Largest number of bytes of a folder's name without the seed; file systems allow at least 143 for a whole name."""

Point = Mapping[str, float]
"""A value for each swept field, by dotted name."""


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
      name: of its folder: `inner_lr=0.1,seed=2`, or `point=3,seed=2` if values would make it too long.
      values: its values of the swept fields, by dotted name.
      config: its own configuration, with these values and its seed.
    """

    name: str
    values: Point
    config: Config


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Points in the space of float hyperparameters, each trained with every seed."""

    config: Config
    """The configuration of all members. Seeds count up from its seed, over `num_seeds` members."""
    points: Sequence[Point] = ({},)
    """Values of the same fields, by dotted name. `grid_points` makes every combination of some values; any other list
    works too, as from a random search."""
    num_seeds: int = 1
    """Number of seeds per point."""
    group_size: int | None = None
    """Number of members that a device trains side by side; when not given, one on a CPU, and all on an accelerator."""
    names: Sequence[str] = ()
    """Names of the points in those of the members' folders; their values when not given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(dict(point) for point in self.points))
        object.__setattr__(self, "names", tuple(self.names))

    def fields(self) -> dict[str, tuple[float, ...]]:
        """Returns the distinct values of each field at the points."""
        return {name: tuple(dict.fromkeys(p[name] for p in self.points)) for name in self.points[0]}

    def members(self) -> list[Member]:
        """Returns all members: the seeds of the first point, then those of the second, and so on."""
        members = []
        labels = [[name] for name in self.names] or _labels(self.points)
        for label, values in zip(labels, self.points, strict=True):
            config = self.config
            for name, value in values.items():
                config = set_field(config, name, value)
            for seed in range(config.seed, config.seed + self.num_seeds):
                name = ",".join([*label, f"seed={seed}"])
                members.append(Member(name, values, dataclasses.replace(config, seed=seed)))
        return members

    def validate(self) -> None:
        """Checks the points, and the configuration of every member.

        Raises:
          UserError: naming the field, the value and the remedy.
        """
        for name in ("num_seeds", "group_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value} must be at least 1")
        if not self.points:
            raise UserError("points=() has no point: give one or more")
        if self.names and len(self.names) != len(self.points):
            raise UserError(f"names={self.names} must be one for each of {len(self.points)} points")
        for point in self.points:
            if point.keys() != self.points[0].keys():
                raise UserError(
                    f"points={point} has other fields than {self.points[0]}: give all of them everywhere"
                )
        for name in self.points[0]:
            check_field(self.config, name)
        for member in self.members():
            validate(member.config)
        folders = [member.name for member in self.members()]
        if len(set(folders)) < len(folders):
            raise UserError(
                "two points agree in six digits: choose their values farther apart"
                if not self.names
                else f"names={self.names} has a name twice: give each once"
            )


def sweep_functions(sweep: Sweep) -> RunFunctions:
    """Returns the functions of all members together: those of a run, with a leading axis `[M]` everywhere.

    States lie on every device between two calls, because `M` need not be a multiple of the devices. States are small:
    most memory holds trials, of `group_size` members at a time on each device.
    """
    members = sweep.members()
    devices = allowed_devices(sweep.config)[: len(members)]
    axis = make_task_axis(devices, MEMBERS)
    swept: Values = {
        name: np.array([m.values[name] for m in members], np.float32) for name in sweep.fields()
    }
    group_size = sweep.group_size or (1 if devices[0].platform == "cpu" else len(members))
    layout = _layout(len(members), len(devices), group_size)

    def over_members(
        fn: Callable[..., Any], values: Values, *args: PyTree, shared: PyTree = ()
    ) -> PyTree:
        """Maps `fn(program, shared, ...)` over the members."""

        def one(shared: PyTree, values: Values, *args):
            return fn(_member_program(sweep.config, values, layout.block), shared, *args)

        return map_members(axis, layout, one, shared, values, *args)

    def init(values: Values, keys: Key) -> TrainState:
        return over_members(lambda program, _, key: program.init(key), values, keys)

    def chunk(values: Values, states: TrainState, num_steps: Array, length: int):
        def train(program: Program, num_steps: Array, state: TrainState):
            return take_steps(program.step, state, num_steps, length)

        return over_members(train, values, states, shared=num_steps)

    def evaluate(
        values: Values, states: TrainState, keys: Key, split: str, num_tasks: int
    ) -> Measured:
        def one(program: Program, _, state: TrainState, key: Key):
            return program.measure(state, key, split, num_tasks)

        return over_members(one, values, states, keys)

    def measure_control(
        values: Values, control: str, keys: Key, split: str, num_tasks: int, steps: Array
    ) -> Measured:
        def one(program: Program, _, key: Key, step: Array):
            return baselines.measure_control(program, control, key, split, num_tasks, step)

        return over_members(one, values, keys, steps)

    return RunFunctions(
        init=init,
        chunk=chunk,
        evaluate=evaluate,
        evaluate_control=measure_control,
        key=jnp.stack([make_key(member.config.seed) for member in members]),
        values=swept,
        sharding=replicated(axis, devices),
        compiler_options=compiler_options(sweep.config, devices[0].platform),
        donates_state=sweep.config.runtime.donate,
    )


class Layout(NamedTuple):
    """The placement of members on devices.

    Attributes:
      places: `[M′]` the member at each place; surplus places repeat the last one.
      num_members: M.
      block: the number of members that a device trains side by side.
    """

    places: np.ndarray
    num_members: int
    block: int


def map_members(
    axis: TaskAxis, layout: Layout, fn: Callable, shared: PyTree, *args: PyTree
) -> PyTree:
    """Maps `fn(shared, ...)` over the members: `args` `[M, ...]` to results `[M, ...]`, for any number of devices."""
    if len(layout.places) > layout.num_members:
        args = jax.tree.map(lambda x: x[layout.places], args)
    results = axis.map(fn, shared, *args, block=layout.block)
    return jax.tree.map(lambda x: x[: layout.num_members], results)


def _layout(num_members: int, num_devices: int, group_size: int) -> Layout:
    """Returns groups of equal size, so that each device has the same number of members."""
    local = -(-num_members // num_devices)
    num_groups = -(-local // group_size)
    block = -(-local // num_groups)
    places = np.arange(num_devices * num_groups * block)
    return Layout(np.minimum(places, num_members - 1), num_members, block)


def _member_program(config: Config, values: Values, num_members: int) -> Program:
    """Builds the functions of one member, on one device that it shares with so many."""
    for name, value in values.items():
        config = set_field(config, name, value)
    limit = config.runtime.memory_limit
    if limit is not None:
        limit = f"{parse_bytes('runtime.memory_limit', limit) // num_members}B"
    runtime = dataclasses.replace(config.runtime, num_devices=1, memory_limit=limit)
    return build(dataclasses.replace(config, runtime=runtime))


def _labels(points: Sequence[Point]) -> list[list[str]]:
    """Returns names of the points for folders: their values, or their numbers if names get too long."""
    short = _short_names(list(points[0]))
    labels = [[f"{short[n]}={x:g}" for n, x in values.items()] for values in points]
    if max(len(",".join(label).encode()) for label in labels) <= LONGEST_LABEL:
        return labels
    digits = len(str(len(points)))
    return [[f"point={i:0{digits}}"] for i in range(1, len(points) + 1)]


def _short_names(names: list[str]) -> dict[str, str]:
    """Returns the last part of each dotted name, or all of it if two agree."""
    last = [name.rpartition(".")[2] for name in names]
    return {n: short if last.count(short) == 1 else n for n, short in zip(names, last, strict=True)}
