"""The functions of a run, compiled ahead of time for the devices that it runs on."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from metarl_jax.program import Program, select_devices
from metarl_jax.signals import interruptible
from metarl_jax.types import Key, PyTree, TrainState

TRAINING_EVALUATIONS = 0x7261_6365
REPORTS = 0x7265_706F
"""Streams of keys for held-out evaluation, apart from that of training. (`fold_in` by an index is
the same draw as that entry of `split`, so that streams need large names.)"""


class Executables:
    """`init`, chunks of meta-steps and `evaluate`, each with the state replicated over the devices.

    Attributes:
      abstract_state: shapes, types and shardings of the `TrainState`.
      compile_seconds: time spent on tracing and compilation until now.
    """

    def __init__(self, program: Program):
        self._program = program
        self._sharding = _replicated(program)
        self._chunks: dict[int, jax.stages.Compiled] = {}
        self._evaluates: dict[tuple[str, int], jax.stages.Compiled] = {}
        self.compile_seconds = 0.0
        platform = next(iter(self._sharding.device_set)).platform
        self._compiler_options = program.env.compiler_options(platform)
        shapes = jax.eval_shape(program.init, jax.random.key(program.config.seed))
        self.abstract_state = self._abstract(shapes)

    def init(self) -> TrainState:
        """The state before the first meta-step, from the seed of the configuration."""
        init = jax.jit(self._program.init, out_shardings=self._sharding)
        key = jax.random.key(self._program.config.seed)
        return interruptible(lambda: jax.block_until_ready(init(key)))

    def compile_chunk(self, num_steps: int) -> None:
        """Compiles a chunk of so many meta-steps, unless it is compiled."""
        if num_steps in self._chunks:
            return

        def chunk(state: TrainState):
            step = self._program.step
            return jax.lax.scan(lambda state, _: step(state), state, length=num_steps)

        jitted = jax.jit(chunk, donate_argnums=0, out_shardings=(self._sharding, self._sharding))
        self._chunks[num_steps] = self._compile(lambda: jitted.lower(self.abstract_state))

    def chunk(self, state: TrainState, num_steps: int) -> tuple[TrainState, PyTree, float]:
        """Runs so many meta-steps. `state` is donated: its arrays are gone afterwards.

        Returns:
          The next state, metrics `[num_steps, ...]` on the host, and the seconds that it took.
        """
        self.compile_chunk(num_steps)
        compiled = self._chunks[num_steps]
        started = time.perf_counter()
        state, metrics = interruptible(lambda: jax.block_until_ready(compiled(state)))
        return state, jax.device_get(metrics), time.perf_counter() - started

    def compile_evaluate(self, split: str, num_tasks: int) -> None:
        """Compiles `evaluate` for this split and number of tasks, unless it is compiled."""
        if (split, num_tasks) in self._evaluates:
            return

        def evaluate(state: TrainState, key: Key):
            return self._program.evaluate(state, key, split, num_tasks)

        key = self._abstract(jax.eval_shape(jax.random.key, 0))
        jitted = jax.jit(evaluate)
        compiled = self._compile(lambda: jitted.lower(self.abstract_state, key))
        self._evaluates[split, num_tasks] = compiled

    def evaluate(self, state: TrainState, key: Key, split: str, num_tasks: int) -> np.ndarray:
        """Held-out returns `[tasks, K]` on the host. `state` stays as it is."""
        self.compile_evaluate(split, num_tasks)
        compiled = self._evaluates[split, num_tasks]
        return interruptible(lambda: np.asarray(compiled(state, key)))

    def evaluate_control(self, control: str, key: Key, split: str, num_tasks: int) -> np.ndarray:
        """The same for the `random` or `oracle` policy."""

        def evaluate(key: Key):
            return self._program.evaluate_control(control, key, split, num_tasks)

        jitted = jax.jit(evaluate)
        compiled = self._compile(lambda: jitted.lower(self._abstract(key)))
        return interruptible(lambda: np.asarray(compiled(key)))

    def evaluation_key(self, stream: int, step: int) -> Key:
        """The key of an evaluation, from the seed, the stream and the meta-step alone."""
        key = jax.random.fold_in(jax.random.key(self._program.config.seed), stream)
        return jax.device_put(jax.random.fold_in(key, step), self._sharding)

    def _abstract(self, tree: PyTree) -> PyTree:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._sharding), tree
        )

    def _compile(self, lower: Callable[[], Any]) -> jax.stages.Compiled:
        started = time.perf_counter()
        lowered = lower()
        compiled = interruptible(lambda: lowered.compile(self._compiler_options))
        self.compile_seconds += time.perf_counter() - started
        return compiled


def _replicated(program: Program) -> Sharding:
    """Every device holds all of the state."""
    if program.axis.mesh is None:
        return SingleDeviceSharding(select_devices(program.config)[0])
    return NamedSharding(program.axis.mesh, PartitionSpec())
