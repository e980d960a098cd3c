"""Measures the controls of a task distribution: random policy, oracle, known strategies, and the ceiling."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from metarl_jax import learners, outer
from metarl_jax.baselines.evaluation import measure_control
from metarl_jax.baselines.policies import control_names, control_spec
from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.advantages import PLAIN_RETURNS
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.statistics import bootstrap_ci95
from metarl_jax.core.validation import bounded, check_fields
from metarl_jax.envs.base import TaskDistribution, check_split
from metarl_jax.program.build import build, make_spec
from metarl_jax.program.evaluation import RETURN


@dataclasses.dataclass(frozen=True)
class ControlsConfig:
    """Options of a measurement of controls."""

    env: TaskDistribution
    """Task distribution."""
    controls: tuple[str, ...] | None = None
    """Controls to run: `random`, `oracle`, or known strategies, whose fields may be set as in `ucb1:confidence=1`; all
    when not given."""
    num_rounds: int = bounded(10, at_least=1)
    """Number of rounds in a trial (K), of one episode each."""
    num_tasks: int = bounded(1000, at_least=2)
    """Number of tasks; all controls act in the same ones."""
    split: Literal["test", "train", "ood"] = "test"
    """Split of the tasks."""
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    """Seed of the tasks and of the draws in them."""


def measure(
    config: ControlsConfig, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Runs each control for one trial in each task.

    Returns:
      A report ready for JSON. Each of `controls` has `return_mean` by round, and of the sum over the rounds
      `total_mean`, its standard error `total_se` and its 95% bootstrap interval `total_ci95`, and in `metrics`, by name
      `env/NAME`, the `mean` and the standard error `se` by round of metrics of the environment. `bayes_optimal`, which
      is exact, has only means.

    Raises:
      UserError: naming the field, the value and the remedy.
    """
    check_fields(config)
    config.env.validate()
    check_split(config.env, config.split)
    names = control_names(config.env) if config.controls is None else config.controls
    if not names:
        raise UserError(f"controls=() is empty: choose from {', '.join(control_names(config.env))}")
    run = _run_config(config)
    for name in names:  # a bad one is told before anything is compiled
        control_spec(make_spec(run), name)
    program, controls = build(run), {}
    for name in names:
        progress(f"{name} in {config.num_tasks} tasks")
        evaluate = jax.jit(lambda key, name=name: measure_control(program, name, key, config.split))
        measured = jax.device_get(evaluate(make_key(config.seed)))
        returns = np.asarray(measured.pop(RETURN), np.float64)
        total = returns.sum(axis=1, keepdims=True)
        controls[name] = {
            "return_mean": returns.mean(axis=0).tolist(),
            "total_mean": float(total.mean()),
            "total_se": float(total.std(ddof=1) / np.sqrt(len(total))),
            "total_ci95": bootstrap_ci95(total)[:, 0].tolist(),
        }
        if measured:
            controls[name]["metrics"] = {
                reported: {
                    "mean": x.mean(axis=0).tolist(),
                    "se": (x.std(axis=0, ddof=1) / np.sqrt(len(x))).tolist(),
                }
                for reported, x in measured.items()
            }
    ceiling = None if config.split == "ood" else config.env.bayes_optimal_value(config.num_rounds)
    if ceiling is not None:
        controls["bayes_optimal"] = {
            "return_mean": ceiling.tolist(),
            "total_mean": float(ceiling.sum()),
        }
    sizes = {name: getattr(config, name) for name in ("split", "num_rounds", "num_tasks", "seed")}
    return {"env": type(config.env).name, **sizes, "controls": controls}


def _run_config(config: ControlsConfig) -> Config:
    """Returns the configuration of a run with these trials; its learner and outer method are not used."""
    learner: Any = learners.get("rl2")
    objective: Any = outer.get("policy_gradient")
    return Config(
        env=config.env,
        learner=learner(),
        outer=objective(rounds="all"),
        advantage=PLAIN_RETURNS,
        num_tasks=config.num_tasks,
        num_rounds=config.num_rounds,
        num_episodes=1,
        evaluation=EvaluationConfig(num_tasks=config.num_tasks, split=config.split),
        runtime=RuntimeConfig(),
    )
