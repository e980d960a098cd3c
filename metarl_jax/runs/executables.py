"""The functions of a run, or of all members of a sweep, compiled ahead of time for their devices."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from metarl_jax import baselines
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.types import Array, Device, Key, Metrics, PyTree, TrainState
from metarl_jax.program.build import Program
from metarl_jax.program.compilation import compiler_options
from metarl_jax.program.devices import replicated, select_devices, state_sharding
from metarl_jax.program.evaluation import Measured
from metarl_jax.program.step import take_steps
from metarl_jax.runs.processes import LostProcessError, are_several
from metarl_jax.runs.stopping import interruptible

Result = TypeVar("Result")
Values = dict[str, Array | np.ndarray]
"""Values of the swept fields by dotted name, of one member or `[M]` of all."""

TRAINING_EVALUATIONS = 0x7261_6365

REPORTS = 0x7265_706F
"""Streams of keys for held-out evaluation, apart from that of training. (`fold_in` by an index is
the same draw as that entry of `split`, so that streams need large names.) All evaluations while training are in the
same tasks: checkpoints differ by far less than samples of tasks do, and the best would else be the luckiest. What is
reported of the best, at the end of training and by `metarl eval`, is in the tasks of the other stream."""


class RunFunctions(NamedTuple):
    """The functions to compile. In a sweep all arrays, keys among them, have a leading axis `[M]` of members.

    Each takes `values` first. They are arguments, not constants, so that sweeps over other values of the same fields
    find their compiled program again.

    Attributes:
      init: key to the first `TrainState`.
      chunk: (state, number of meta-steps int32[], the greatest number) to (state, metrics `[greatest number, ...]`, of
        which the first are filled, one per meta-step).
      evaluate: (state, key, split, num_tasks) to measurements in held-out tasks, by name `[tasks, K]`.
      evaluate_control: (control, key, split, num_tasks, meta-steps done) to those of a control; the meta-steps are
        `[]`, or `[M]` in a sweep.
      key: of the seed of the configuration.
      values: of the swept fields, by name `[M]`; none in a single run.
      sharding: every device holds all of it.
      state_sharding: the state to the sharding of each of its arrays; `sharding` of all when not given.
      compiler_options: what XLA is told.
      donates_state: whether `chunk` may use the memory of its state again.
    """

    init: Callable[[Values, Key], TrainState]
    chunk: Callable[[Values, TrainState, Array, int], tuple[TrainState, Metrics]]
    evaluate: Callable[[Values, TrainState, Key, str, int], Measured]
    evaluate_control: Callable[[Values, str, Key, str, int, Array], Measured]
    key: Key
    values: Values
    sharding: Sharding
    compiler_options: dict[str, Any] | None
    donates_state: bool
    state_sharding: Callable[[TrainState], PyTree] | None = None


def run_functions(program: Program) -> RunFunctions:
    """Returns the functions of a single run, whose tasks are spread over the devices."""

    def of_values(function: Callable[..., Result]) -> Callable[..., Result]:
        return lambda _, *args: function(*args)

    def chunk(state: TrainState, num_steps: Array, length: int):
        return take_steps(program.step, state, num_steps, length)

    devices = select_devices(program.config)
    return RunFunctions(
        init=of_values(program.init),
        chunk=of_values(chunk),
        evaluate=of_values(program.measure),
        evaluate_control=of_values(partial(baselines.measure_control, program)),
        key=make_key(program.config.seed),
        values={},
        sharding=replicated(program.axis, devices),
        compiler_options=compiler_options(program.config, devices[0].platform),
        donates_state=program.config.runtime.donate,
        state_sharding=partial(state_sharding, program.outer, program.axis, devices),
    )


class Executables:
    """`init`, chunks of meta-steps and `evaluate`, each with the state on the devices of the run.

    Attributes:
      abstract_state: shapes, types and shardings of the `TrainState`.
      compile_seconds: time spent on tracing and compilation until now.
      num_compiled: how many executables were compiled until now.
    """

    def __init__(self, functions: RunFunctions):
        self._functions = functions
        self._chunks: dict[int, Callable[..., Any]] = {}
        self._evaluates: dict[tuple[str, int], Callable[..., Any]] = {}
        self._keys: dict[int, Key] = {}
        self.compile_seconds = 0.0
        self.num_compiled = 0
        shapes = jax.eval_shape(functions.init, functions.values, functions.key)
        if functions.state_sharding is None:
            self._state_sharding: PyTree = jax.tree.map(lambda _: functions.sharding, shapes)
        else:
            self._state_sharding = functions.state_sharding(shapes)
        self.abstract_state = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            shapes,
            self._state_sharding,
        )

    @property
    def devices(self) -> list[Device]:
        """Returns the devices in use."""
        return sorted(self._functions.sharding.device_set, key=lambda device: device.id)

    def init(self) -> TrainState:
        """Returns the state before the first meta-step, from the seed of the configuration."""
        init = jax.jit(self._functions.init, out_shardings=self._state_sharding)
        return _run(
            lambda: jax.block_until_ready(init(self._functions.values, self._functions.key))
        )

    def compile_chunk(self, length: int) -> None:
        """Compiles a chunk of at most `length` meta-steps, unless an equal or longer one is compiled."""
        if any(compiled >= length for compiled in self._chunks):
            return

        def chunk(values: Values, state: TrainState, num_steps: Array):
            return self._functions.chunk(values, state, num_steps, length)

        options = {
            "donate_argnames": "state" if self._functions.donates_state else None,
            "out_shardings": (self._state_sharding, self._functions.sharding),
        }
        number = self._abstract(np.int32(length))
        self._chunks[length] = self._compile(chunk, self.abstract_state, number, **options)

    def chunk(self, state: TrainState, num_steps: int) -> tuple[TrainState, PyTree, float]:
        """Runs `num_steps` meta-steps. `state` is donated: its arrays are invalid afterwards, unless
        `runtime.donate` is off.

        Returns:
          The next state, metrics `[num_steps, ...]` on the host, and the elapsed seconds.
        """
        self.compile_chunk(num_steps)
        compiled = self._chunks[min(length for length in self._chunks if length >= num_steps)]
        values, number = self._functions.values, np.int32(num_steps)
        started = time.perf_counter()
        state, metrics = _run(lambda: jax.block_until_ready(compiled(values, state, number)))
        filled = (slice(None),) * self._functions.key.ndim + (slice(num_steps),)
        metrics = jax.tree.map(lambda x: x[filled], jax.device_get(metrics))
        return state, metrics, time.perf_counter() - started

    def compile_evaluate(self, split: str, num_tasks: int) -> None:
        """Compiles `evaluate` for this split and number of tasks, unless it is compiled."""
        if (split, num_tasks) in self._evaluates:
            return

        def evaluate(values: Values, state: TrainState, key: Key):
            return self._functions.evaluate(values, state, key, split, num_tasks)

        key = self._abstract(self._functions.key)
        sharding = self._functions.sharding
        compiled = self._compile(evaluate, self.abstract_state, key, out_shardings=sharding)
        self._evaluates[split, num_tasks] = compiled

    def evaluate(
        self, state: TrainState, key: Key, split: str, num_tasks: int
    ) -> dict[str, np.ndarray]:
        """Returns measurements in held-out tasks, by name `[tasks, K]`, on the host. `state` is not changed."""
        self.compile_evaluate(split, num_tasks)
        compiled = self._evaluates[split, num_tasks]
        return _run(lambda: jax.device_get(compiled(self._functions.values, state, key)))

    def evaluate_control(
        self, control: str, key: Key, split: str, num_tasks: int, steps: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Returns measurements of a control or a known strategy, by name `[tasks, K]`, on the host. Tasks are drawn as
        after `steps` meta-steps (`[M]`).
        """
        step = jnp.asarray(steps, jnp.int32).reshape(self._functions.key.shape)

        def evaluate(values: Values, key: Key):
            return self._functions.evaluate_control(values, control, key, split, num_tasks, step)

        sharding = self._functions.sharding
        compiled = self._compile(evaluate, self._abstract(key), out_shardings=sharding)
        return _run(lambda: jax.device_get(compiled(self._functions.values, key)))

    def evaluation_key(self, stream: int) -> Key:
        """Returns the key of evaluations, from the seed and the stream alone: all evaluations of a stream share their
        tasks."""
        key = self._functions.key
        fold_in = jax.vmap(jax.random.fold_in, (0, None)) if key.ndim else jax.random.fold_in
        if stream not in self._keys:
            # `device_put` cannot place typed keys on devices of other processes.
            place = jax.jit(
                lambda key: fold_in(key, stream), out_shardings=self._functions.sharding
            )
            self._keys[stream] = place(key)
        return self._keys[stream]

    def choose(self, chosen: Sequence[bool], state: TrainState, other: TrainState) -> TrainState:
        """Returns `state` for the chosen members, and `other` for the rest."""
        if not self._functions.key.ndim:
            return state if chosen[0] else other
        mask = np.array(chosen)

        def leaf(x: Array, y: Array) -> Array:
            picked = jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, y)
            return jax.device_put(picked, y.sharding)

        return jax.tree.map(leaf, state, other)

    def by_member(self, tree: PyTree) -> list[PyTree]:
        """Splits arrays `[M, ...]` by member; in a single run, returns them whole."""
        if not self._functions.key.ndim:
            return [tree]
        return [jax.tree.map(itemgetter(i), tree) for i in range(self._functions.key.size)]

    def _abstract(self, tree: PyTree) -> PyTree:
        sharding = self._functions.sharding
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    def _compile(
        self, function: Callable[..., Any], *args: PyTree, **options: Any
    ) -> Callable[..., Any]:
        """Compiles `function` for the values and these abstract arguments; returns it unchanged under
        `jax.disable_jit()`."""
        if _jit_is_disabled():
            return function
        started = time.perf_counter()
        values = self._abstract(self._functions.values)
        lowered = jax.jit(function, **options).lower(values, *args)
        compiled = interruptible(lambda: lowered.compile(self._functions.compiler_options))
        self.compile_seconds += time.perf_counter() - started
        self.num_compiled += 1
        return compiled


def _jit_is_disabled() -> bool:
    """Whether compilation is disabled on this thread, by `jax.disable_jit()`, or in the whole process."""
    return jax.config.values["jax_disable_jit"]


def _run(call: Callable[[], Result]) -> Result:
    """Calls a compiled function and returns the result; under `jax.disable_jit()`, which is thread-local, calls it on
    this thread.

    Raises:
      UserError: if the devices do not have enough memory for the call.
      LostProcessError: if another process of the run has ended.
    """
    try:
        return call() if _jit_is_disabled() else interruptible(call)
    except jax.errors.JaxRuntimeError as error:
        message = str(error)
        if "RESOURCE_EXHAUSTED" not in message:
            if are_several():
                raise LostProcessError(error) from error
            raise
        raise UserError(
            f"the arrays of this run do not fit into memory ({message.splitlines()[0]}): choose a smaller num_tasks, "
            "num_rounds or num_episodes (or evaluation.num_tasks, or fewer members of a sweep), a "
            "runtime.collect_block or runtime.update_block, or runtime.remat"
        ) from error
