"""Held-out returns of controls, in the tasks in which a learner is evaluated."""

import jax.numpy as jnp

from metarl_jax.baselines.policies import control_spec
from metarl_jax.core.jax_settings import under_fixed_settings
from metarl_jax.core.types import Array, Key
from metarl_jax.program.build import Program, evaluation_sizes, make_spec
from metarl_jax.program.evaluation import RETURN, Measured, make_measure
from metarl_jax.program.step import make_init


def evaluate_control(
    program: Program,
    control: str,
    key: Key,
    split: str = "test",
    num_tasks: int | None = None,
    step: Array | int = 0,
) -> Array:
    """Returns the mean returns `[tasks, K]` of a control. The arguments are those of `measure_control`."""
    return measure_control(program, control, key, split, num_tasks, step)[RETURN]


@under_fixed_settings
def measure_control(
    program: Program,
    control: str,
    key: Key,
    split: str = "test",
    num_tasks: int | None = None,
    step: Array | int = 0,
) -> Measured:
    """Measures a control in the tasks of `program.measure` for the same key. Returns arrays `[tasks, K]` by name:
    `return` and, as `env/NAME`, the metrics of the environment.

    Args:
      program: of a run, from which tasks and sizes are taken.
      control: `random`, `oracle`, or a known strategy, whose fields may be set as in `ucb1:confidence=1`.
      key: of the tasks, and of all random draws in them.
      split: of the tasks.
      num_tasks: as in the configuration when not given.
      step: meta-steps done, for tasks that change while training goes on.

    Raises:
      UserError: for an unknown control, split or option.
    """
    config, spec = program.config, make_spec(program.config)
    sizes = evaluation_sizes(config)
    controlled = control_spec(spec, control, sizes["num_rounds"])
    state = make_init(controlled)(key).replace(step=jnp.asarray(step, jnp.int32))
    measure = make_measure(controlled, deterministic=False, **sizes)
    num_tasks = config.evaluation.num_tasks if num_tasks is None else num_tasks
    return measure(state, key, split, num_tasks)
