"""The checks of an outer method: one update, on short trials of random observations and rewards."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import Config
from metarl_jax.core.advantages import make_estimator
from metarl_jax.core.declarations import check_declaration, check_values
from metarl_jax.core.describe import describe
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.target import Target
from metarl_jax.core.task_axis import TaskAxis
from metarl_jax.core.types import Trial
from metarl_jax.core.validation import check_fields
from metarl_jax.envs.contract import arrays
from metarl_jax.envs.told_task import as_observed
from metarl_jax.outer.base import Outer, OuterConfig
from metarl_jax.program.checks.calls import (
    check_defined,
    check_signature,
    explained,
    mismatch,
    run_once,
    trace,
    unchanged,
)
from metarl_jax.program.checks.learner import check_metrics
from metarl_jax.program.checks.standin import StandIn
from metarl_jax.program.step import StepSpec, make_init, make_meta_batch, sample_tasks

NUM_META_STEPS = 4
NUM_ROUNDS, NUM_EPISODES = 2, 2
"""Sizes of the run and trials in which an outer method is checked. The number of tasks is twice its `task_group`, or
that of the run if the method keeps a state per task."""
FUNCTIONS = {
    "init": (("meta_params",), "init(meta_params)"),
    "update": (
        ("key", "meta_params", "opt_state", "batch"),
        "update(key, meta_params, opt_state, batch)",
    ),
}
"""Signature of each function of an `Outer`, for messages."""


@under_fixed_settings
def check_outer(config: Config, *, run: bool = True) -> None:
    """Checks that the outer method of a configuration fulfils the contract of the library.

    Its update is traced, and then run once, with the learner and advantages of the configuration on short trials of
    random observations and rewards.

    Args:
      config: a configuration with this outer method; nothing is simulated.
      run: False only traces.

    Raises:
      UserError: for the first mistake, naming class, function, what it returned, what was expected and the remedy.
    """
    outer = config.outer
    check_outer_declared(outer)
    name = type(outer).__name__
    with unchanged(outer):
        with explained(f"{name}.validate"):
            outer.validate(config.learner, config.advantage)
        group = outer.task_group
        if not isinstance(group, int | np.integer) or group < 1:
            raise UserError(f"{name}.task_group is {describe(group)}, expected an int of 1 or more")
        env = as_observed(config.env)
        learner = config.learner.make(env)
        with explained(f"{name}.make"):
            made = outer.make(NUM_META_STEPS, learner.parameter_groups)
        if not isinstance(made, Outer):
            raise UserError(
                f"{name}.make returned {describe(made)}, expected an Outer(init, update)"
            )
        for function, (arguments, example) in FUNCTIONS.items():
            check_signature(f"{name}.{function}", getattr(made, function), [arguments], example)
        spec = StepSpec(
            target=Target(),
            env=StandIn(env),
            learner=learner,
            outer=made,
            advantages=make_estimator(config.advantage),
            axis=TaskAxis(),
            num_meta_steps=NUM_META_STEPS,
            num_tasks=2 * group if made.sharded is None else config.num_tasks,
            num_rounds=NUM_ROUNDS,
            num_episodes=NUM_EPISODES,
            num_steps=None,
            num_segments=1,
            normalize_observations=False,
            collect_block=None,
            update_block=None,
            remat=False,
        )
        _check_update(name, spec)
        if run:
            _run_update(name, spec)


def check_outer_declared(outer: OuterConfig) -> None:
    """Checks the class, the fields and the methods of an outer method, without building it."""
    check_declaration(outer, OuterConfig)
    check_values(outer)
    name = type(outer).__name__
    check_fields(outer, f"{name}.")
    make = "make(self, num_meta_steps, parameter_groups=())"
    check_defined(outer, OuterConfig, "make", make)
    calls = [("num_meta_steps",), ("num_meta_steps", "parameter_groups")]
    check_signature(f"{name}.make", outer.make, calls, make)


def _check_update(name: str, spec: StepSpec) -> None:
    """Traces `init` and `update`."""
    params = jax.eval_shape(spec.learner.init, make_key(0))

    def optimizer_state(answer: Any) -> Any:
        return arrays(f"{name}.init returned a state in which", answer)

    opt_state = trace(f"{name}.init", spec.outer.init, params, read=optimizer_state).read
    state = jax.eval_shape(make_init(spec), make_key(0))
    found = trace(f"{name}.update", lambda state: _update(spec, state), state).returned
    expected = "(meta_params, opt_state, trials, metrics)"
    if not isinstance(found, tuple) or len(found) != 4:
        raise UserError(f"{name}.update returned {describe(found)}, expected {expected}")
    new_params, new_opt_state, trials, metrics = found
    if wrong := mismatch(params, _abstract(new_params)):
        raise UserError(
            f"{name}.update: the meta-parameters {wrong}, as they were: an update keeps structure, shapes and dtypes"
        )
    if wrong := mismatch(opt_state, _abstract(new_opt_state)):
        raise UserError(
            f"{name}.update: the state of the optimizer {wrong}, as init returned it: an update keeps structure, "
            "shapes and dtypes"
        )
    if not isinstance(trials, Trial):
        raise UserError(
            f"{name}.update returned trials that are {describe(trials)}, expected the Trial that batch.collect returned"
        )
    check_metrics(f"{name}.update", metrics)


def _update(spec: StepSpec, state: Any) -> Any:
    tasks = sample_tasks(spec, make_key(1), spec.num_tasks, "train")
    batch = make_meta_batch(spec, state, tasks)
    return spec.outer.update(make_key(2), state.meta.params, state.opt_state, batch)


def _run_update(name: str, spec: StepSpec) -> None:
    """Runs one update, and checks that meta-parameters stay finite."""

    def update(key: jax.Array) -> Any:
        return _update(spec, make_init(spec)(key))[:2]

    for what, tree in zip(
        ("meta-parameters", "a state"), run_once(f"{name}.update", update, make_key(0)), strict=True
    ):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(leaf).all():
                raise UserError(
                    f"{name}.update returned {what} in which {jax.tree_util.keystr(path)} is not finite after one "
                    "update on random rewards"
                )


def _abstract(tree: Any) -> Any:
    """Returns the tree with `jax.ShapeDtypeStruct` instead of numbers."""
    return jax.tree.map(
        lambda x: (
            x if isinstance(x, jax.ShapeDtypeStruct) else jax.eval_shape(lambda: jnp.asarray(x))
        ),
        tree,
    )
