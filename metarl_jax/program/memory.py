"""The memory of a meta-step, estimated from shapes before compilation, and blocks of tasks that fit into it."""

import math
from typing import NamedTuple

import jax

from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.sizes import parse_bytes, show_bytes
from metarl_jax.core.trees import largest_divisor
from metarl_jax.core.types import Key, PyTree, TrainState, Trial
from metarl_jax.learners.base import rematerialized
from metarl_jax.outer.objective import ReplayObjective
from metarl_jax.program.devices import inner_state_bytes
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.step import StepSpec, make_init, sample_tasks

MARGIN = 1.5
"""Factor of what is counted by task, for temporary arrays. Compiled for a CPU, three presets took 1.34, 0.71 and 1.41
times what is counted (docs/guide/accelerators.md)."""


class Blocks(NamedTuple):
    """The tasks of a device, and how many of them are simulated, and differentiated, side by side."""

    all: int
    collected: int
    updated: int


class Need(NamedTuple):
    """Bytes that a meta-step needs on a device, by what they grow with.

    Attributes:
      fixed: the state before and after the meta-step, and a gradient.
      per_task: the record of a trial, of every task of the device.
      per_simulated: the inner state before and after a step, of every task of a block that is simulated.
      per_differentiated: what a replay keeps for its backward pass, of every task of a block that is differentiated.
    """

    fixed: int
    per_task: int
    per_simulated: int
    per_differentiated: int

    def total(self, blocks: Blocks) -> int:
        """Returns the bytes for these tasks of a device."""
        kept = self.fixed + blocks.all * self.per_task
        return kept + max(
            blocks.collected * self.per_simulated, blocks.updated * self.per_differentiated
        )


def estimate(config: Config, spec: StepSpec) -> Need:
    """Returns what a meta-step needs, from the shapes of its arrays; nothing is computed.

    It counts the state and, with `MARGIN` for temporary arrays of the program, inner states, the record of the trials
    and the residuals of a replay's derivative. What the compiler saves by computing again or in place is not known.
    """
    key = make_key(0)
    state = jax.eval_shape(make_init(spec), key)
    trial = jax.eval_shape(lambda state, key: _trial(spec, state, key), state, key)
    learner = rematerialized(spec.learner) if spec.remat else spec.learner
    first_round = 0
    if isinstance(config.outer, ReplayObjective):
        first_round, _ = config.outer.counted_rounds(trial.rollout.reward.shape[0])

    def residuals(state: TrainState, trial: Trial) -> PyTree:
        """What the derivative of a replay keeps; it is itself a pytree of arrays."""

        def answers(params):
            return replay_trial(learner, params, state.meta.memory, trial, first_round)

        return jax.vjp(answers, state.meta.params)[1]

    params = _bytes(state.meta.params)
    kept = _bytes(jax.eval_shape(residuals, state, trial))
    return Need(
        fixed=2 * _bytes(state) + params,
        per_task=_with_margin(_bytes(trial) / spec.num_segments),
        per_simulated=_with_margin(2 * inner_state_bytes(spec.learner, spec.num_episodes)),
        # Of the parameters too, which the tasks of a block share.
        per_differentiated=_with_margin(max(0, kept - params) / spec.num_segments),
    )


def fit(config: Config, spec: StepSpec) -> StepSpec:
    """Returns the meta-step with blocks of tasks that fit into `runtime.memory_limit`, no larger than those it has, or
    of one task where nothing fits (`check` refuses that)."""
    limit = config.runtime.memory_limit
    if limit is None:
        return spec
    size, need = parse_bytes("runtime.memory_limit", limit), estimate(config, spec)
    blocks = blocks_of(config, spec)
    if need.total(blocks) <= size:
        return spec
    room = size - need.fixed - blocks.all * need.per_task
    collected, updated = room // max(1, need.per_simulated), room // max(1, need.per_differentiated)
    return spec._replace(
        collect_block=largest_divisor(blocks.collected, max(1, collected)),
        update_block=largest_divisor(blocks.updated, max(1, updated)),
    )


def check(config: Config, spec: StepSpec) -> None:
    """Raises `UserError` if `runtime.memory_limit` is too small even for tasks one after another (see `fit`)."""
    limit = config.runtime.memory_limit
    if limit is None:
        return
    size, need = parse_bytes("runtime.memory_limit", limit), estimate(config, spec)
    blocks = blocks_of(config, spec)
    if need.total(blocks) <= size:
        return
    one = need.total(Blocks(1, 1, 1))
    most = max(0, 1 + (size - one) // need.per_task) * spec.axis.num_devices
    raise UserError(
        f"runtime.memory_limit={limit!r} is too small for num_tasks={config.num_tasks}: a device needs about "
        f"{show_bytes(need.total(blocks))} for its {blocks.all} tasks one after another, and {show_bytes(one)} for a "
        "single task: "
        + (
            f"choose num_tasks={most}, which would fit, or"
            if most
            else "choose shorter episodes, or"
        )
        + " a larger limit"
    )


def blocks_of(config: Config, spec: StepSpec) -> Blocks:
    """Returns the tasks of a device and the blocks in which it takes them; those of an update are of a minibatch."""
    local = config.num_tasks // spec.axis.num_devices
    of_update = local // config.outer.task_group
    return Blocks(
        local,
        largest_divisor(local, spec.collect_block or local),
        largest_divisor(of_update, spec.update_block or of_update),
    )


def _trial(spec: StepSpec, state: TrainState, key: Key) -> Trial:
    """Collects a trial in one task."""
    tasks = sample_tasks(spec, key, 1, "train")
    return collect_trial(
        spec.env,
        spec.learner,
        spec.advantages,
        state.meta,
        jax.tree.map(lambda x: x[0], tasks),
        key,
        num_rounds=spec.num_rounds,
        num_episodes=spec.num_episodes,
        num_steps=spec.num_steps,
    )


def _with_margin(size: float) -> int:
    return math.ceil(MARGIN * size)


def _bytes(tree: PyTree) -> int:
    """Bytes of the arrays of a pytree of shapes. Keys count as what they are made of."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
