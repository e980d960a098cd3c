"""The checks of the optional methods of a task distribution: masks, oracle, regret, skills, ceilings."""

from typing import Any

import jax
import numpy as np

from metarl_jax.core.declarations import is_foreign
from metarl_jax.core.describe import describe
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.spaces import Discrete
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.contract import arrays, canonical_mask, numbers, scalar
from metarl_jax.envs.optional import has_action_mask, has_oracle, knows_regret
from metarl_jax.envs.wrapper import Wrapper
from metarl_jax.program.checks.calls import check_signature, explained, filled, mismatch, trace

OPTIONAL = {
    "at": (("step",), "at(self, step)"),
    "action_mask": (("task", "state"), "action_mask(self, task, state)"),
    "action_features": (("observation",), "action_features(self, observation)"),
    "render": (("task", "states"), "render(self, task, states)"),
    "render_trial": (
        ("task", "states", "actions", "rewards"),
        "render_trial(self, task, states, actions, rewards)",
    ),
    "skill": (("task",), "skill(self, task)"),
    "oracle_observation": (("task",), "oracle_observation(self, task)"),
    "oracle_action": (("task", "observation"), "oracle_action(self, task, observation)"),
    "regret": (("task",), "regret(self, task)"),
    "bayes_optimal_value": (("num_rounds",), "bayes_optimal_value(self, num_rounds)"),
    "compiler_options": (("platform",), "compiler_options(self, platform)"),
}
"""Signature of each method, for messages."""


def check_privileged(env: TaskDistribution, task: Any, state: EnvState) -> None:
    """Checks the optional methods that the class defines.

    Args:
      env: an instance whose properties are checked.
      task, state: as `jax.ShapeDtypeStruct`.

    Raises:
      UserError: naming the class, the method, what it returned and what was expected.
    """
    for method, (arguments, example) in OPTIONAL.items():
        if _defines(env, method):
            where = f"{type(env).__name__}.{method}"
            check_signature(where, getattr(env, method), [arguments], example)
    if _defines(env, "at"):
        _check_at(env, task)
    if has_action_mask(env):
        where = f"{type(env).__name__}.action_mask"
        trace(where, env.action_mask, task, state, read=lambda x: canonical_mask(env, x))
    if _defines(env, "skill") or env.num_skills:
        _check_skill(env, task)
    if _defines(env, "oracle_observation"):
        _check_oracle_observation(env, task)
    if has_oracle(env):
        _check_oracle_action(env, task, state)
    if knows_regret(env):
        _check_regret(env, task, state)
    if _defines(env, "bayes_optimal_value") and is_foreign(env):
        _check_ceiling(env)


def _defines(env: TaskDistribution, method: str) -> bool:
    """Whether the class itself defines a method; a wrapper that merely forwards it does not."""
    bases = getattr(TaskDistribution, method), getattr(Wrapper, method)
    return getattr(type(env), method) not in bases


def _check_at(env: TaskDistribution, task: Any) -> None:
    where = f"{type(env).__name__}.at"

    def sample(step: jax.Array) -> Any:
        later = env.at(step)
        if type(later) is not type(env):
            raise UserError(
                f"{where} returned {describe(later)}, expected {type(env).__name__}: use dataclasses.replace"
            )
        return arrays(f"{where}(step).sample returned a task in which", later.sample(make_key(0)))

    step = jax.ShapeDtypeStruct((), np.int32)
    if wrong := mismatch(task, trace(where, sample, step, read=lambda x: x).read):
        raise UserError(f"{where}(step).sample: the task {wrong}, as without `at`")


def _check_skill(env: TaskDistribution, task: Any) -> None:
    where = f"{type(env).__name__}.skill"
    subject = f"{where} returned a skill in which"
    found = trace(where, env.skill, task, read=lambda x: arrays(subject, x)).read
    if jax.tree.structure(found) != jax.tree.structure(0) or found.shape or found.dtype != np.int32:
        raise UserError(f"{where} returned {describe(found)}, expected an int32 array of shape ()")


def _check_oracle_observation(env: TaskDistribution, task: Any) -> None:
    where = f"{type(env).__name__}.oracle_observation"
    subject = f"{where} returned what"
    found = trace(where, env.oracle_observation, task, read=lambda x: numbers(subject, x)).read
    if len(found.shape) != 1:
        raise UserError(f"{where} returned {describe(found)}, expected one axis: use jnp.ravel")


def _check_oracle_action(env: TaskDistribution, task: Any, state: EnvState) -> None:
    where, space = f"{type(env).__name__}.oracle_action", env.action_space
    answer = trace(where, env.oracle_action, task, state.observation).returned
    if answer is None:
        raise UserError(f"{where} returned None: return an action, or leave the method out")
    found = jax.eval_shape(lambda: arrays(f"{where} returned an action that", filled(answer)))
    shape, kinds = ((), "iu") if isinstance(space, Discrete) else ((space.size,), "f")
    if not hasattr(found, "shape") or found.shape != shape or found.dtype.kind not in kinds:
        wanted = f"{'an int32' if kinds == 'iu' else 'a float32'} array of shape {shape}"
        raise UserError(f"{where} returned {describe(answer)}, expected {wanted}")


def _check_regret(env: TaskDistribution, task: Any, state: EnvState) -> None:
    where, space = f"{type(env).__name__}.regret", env.action_space

    def regret(task: Any, state: EnvState, action: jax.Array) -> Any:
        of_state: Any = env.regret(task)
        example = "regret(self, task), which returns a function of (state, action)"
        check_signature(f"{where}(task)", of_state, [("state", "action")], example)
        assert of_state is not None
        return of_state(state, action)

    is_discrete = isinstance(space, Discrete)
    shape = () if is_discrete else (space.size,)
    action = jax.ShapeDtypeStruct(shape, np.int32 if is_discrete else np.float32)
    subject = f"{where}(task) returned for a state and an action what"
    trace(where, regret, task, state, action, read=lambda x: scalar(subject, x))


def _check_ceiling(env: TaskDistribution) -> None:
    where, num_rounds = f"{type(env).__name__}.bayes_optimal_value", 2
    with explained(where):
        values = env.bayes_optimal_value(num_rounds)
    if values is not None and np.shape(values) != (num_rounds,):
        raise UserError(
            f"{where}({num_rounds}) returned {describe(values)}, expected an array of shape ({num_rounds},), the value "
            "of each round, or None"
        )
