"""Mistakes in a task distribution of one's own, each with the message that it gets."""

import dataclasses
import random
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Box, Discrete
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.contract import canonical
from metarl_jax.program.checks import check_env

LONG_TO_COMPILE = ("half_cheetah_dir", "half_cheetah_vel", "ant_dir", "hopper_ensemble")
LONG_TO_TRACE = ("half_cheetah_dir", "ant_dir")
OWN = [pytest.param(x, marks=pytest.mark.slow) if x in LONG_TO_TRACE else x for x in envs.names()]


@dataclasses.dataclass(frozen=True)
class Cart(TaskDistribution):
    """Push a cart to where the task says; `simulator` is the velocity."""

    name: ClassVar[str] = "cart"
    LIMIT = 10.0

    horizon: int = 20
    """Steps of an episode."""

    @property
    def episode_length(self) -> Any:
        return self.horizon

    @property
    def observation_size(self) -> Any:
        return 2

    @property
    def action_space(self) -> Any:
        return Box(1)

    def sample(self, key, split="train") -> Any:
        return {"goal": jax.random.uniform(key)}

    def reset(self, task, key) -> Any:
        return EnvState(np.zeros(2), 0.0, False, np.float64(0.0))  # pyright: ignore

    def step(self, task, state, action) -> Any:
        speed = state.simulator + 0.1 * jnp.clip(action[0], -1.0, 1.0)
        place = state.observation[0] + 0.1 * speed
        near = jnp.abs(place - task["goal"]) < 0.05
        reward = jnp.where(near, 1.0, -1.0)
        return EnvState(jnp.stack([place, speed]), reward, near, speed)


def mistaken(name: str, **attributes: Any) -> TaskDistribution:
    """A cart whose class has these attributes instead."""
    cls: Any = type(name, (Cart,), {"__module__": __name__, **attributes})
    return dataclasses.dataclass(frozen=True)(cls)()


def after(**fields: Any):
    """A `step` or `reset` whose answer has these fields instead; a function is given the right one."""

    def change(state):
        return state.replace(
            **{
                n: value(getattr(state, n)) if callable(value) else value
                for n, value in fields.items()
            }
        )

    return {
        "reset": lambda self, task, key: change(
            canonical(self, Cart.reset(self, task, key), "reset")
        ),
        "step": lambda self, task, state, action: change(Cart.step(self, task, state, action)),
    }


def step(**fields: Any):
    return {"step": after(**fields)["step"]}


def reset(**fields: Any):
    return {"reset": after(**fields)["reset"]}


def branching(self, task, state, action):
    if action[0] > 0:
        return state
    return Cart.step(self, task, state, action)


def floating(self, task, state, action):
    return Cart.step(self, task, state, action).replace(reward=float(action[0]))


def with_numpy(self, task, state, action):
    return Cart.step(self, task, state, action).replace(reward=np.sin(action[0]))


def mutating(self, task, key):
    self.horizon = 3
    return Cart.reset(self, task, key)


def remembering(self, task, key):
    object.__setattr__(self, "goal", 3)
    return Cart.reset(self, task, key)


class Handle:
    """Something that is no pytree."""


MISTAKES = {
    # What the dynamics return.
    "observation_of_another_size": (
        step(observation=jnp.zeros(3)),
        r"step returned an observation of shape \(3,\), expected \(2,\)",
    ),
    "observation_of_two_axes": (
        reset(observation=jnp.zeros((2, 1))),
        r"reset returned an observation of shape \(2, 1\)",
    ),
    "integer_observation": (
        step(observation=lambda x: x.astype(jnp.int32)),
        "step returned an observation that is an int32 array",
    ),
    "integer_reward": (
        step(reward=lambda x: x.astype(jnp.int32)),
        r"step returned a reward that is an int32 array.*float32",
    ),
    "half_reward": (
        step(reward=lambda x: x.astype(jnp.float16)),
        r"step returned a reward that is a float16 array.*float32",
    ),
    "reward_with_an_axis": (
        step(reward=lambda x: x[None]),
        r"step returned a reward .*shape \(1,\), expected shape \(\): take its entry",
    ),
    "float_done": (
        step(done=lambda x: x.astype(jnp.float32)),
        "step returned a done that is a float32 array.*expected a bool",
    ),
    "done_with_an_axis": (
        step(done=lambda x: x[None]),
        r"step returned a done that is a bool array of shape \(1,\)",
    ),
    "tuple_from_step": (
        {"step": lambda self, task, state, action: (state.observation, 0.0, False, {})},
        "step returned a tuple of 4, expected an EnvState",
    ),
    "nothing_from_reset": (
        {"reset": lambda self, task, key: None},
        "reset returned None, expected an EnvState",
    ),
    "simulator_with_another_structure": (
        step(simulator=lambda x: (x, x)),
        r"step: the state .*simulator",
    ),
    "simulator_with_another_dtype": (
        step(simulator=lambda x: x.astype(jnp.int32)),
        "step: the state has in .simulator an int32 array",
    ),
    "simulator_of_an_object": (
        after(simulator=Handle()),
        "reset returned a simulator in which the whole is a Handle",
    ),
    "nan_in_reset": (
        reset(observation=jnp.array([0.0, jnp.nan])),
        "reset returned an observation that is not finite .nan in entry 1",
    ),
    "nan_in_step": (
        step(observation=lambda x: x.at[0].set(jnp.log(-(x[1] ** 2) - 1e-3))),
        "step returned an observation at step 1 .*not finite",
    ),
    "infinite_reward": (
        step(reward=lambda x: x / 0.0),
        "step returned a reward at step 1 .*not finite .*division by zero",
    ),
    # Tasks.
    "task_of_an_object": (
        {"sample": lambda self, key, split="train": Handle()},
        "sample returned a task.*the whole is a Handle instance",
    ),
    "task_with_a_string": (
        {
            "sample": lambda self, key, split="train": {
                "goal": jax.random.uniform(key),
                "kind": "far",
            }
        },
        r"sample returned a task.*\['kind'\] is the str 'far'",
    ),
    "one_task": (
        {"sample": lambda self, key, split="train": {"goal": jnp.float32(0.3)}},
        "sample gave 64 equal tasks.*single_task",
    ),
    "nan_task": (
        {"sample": lambda self, key, split="train": {"goal": jnp.log(-jax.random.uniform(key))}},
        r"sample gave a task\['goal'\] that is not finite",
    ),
    "split_with_another_task": (
        {
            "sample": lambda self, key, split="train": {
                "goal": jax.random.uniform(key, (2,) if split == "test" else ())
            }
        },
        "sample: the task of split='test' has",
    ),
    "numpy_random_in_sample": (
        {
            "sample": lambda self, key, split="train": {
                "goal": jax.random.uniform(key) + np.random.default_rng().normal()
            }
        },
        "sample does something else each time",
    ),
    "numpy_random_in_reset": (
        {
            "reset": lambda self, task, key: Cart.reset(self, task, key).replace(
                simulator=np.random.default_rng().normal()
            )
        },
        "reset does something else each time",
    ),
    "random_in_step": (
        step(reward=lambda x: x * random.random()),
        "step does something else each time",
    ),
    # Code.
    "branch": (
        {"step": branching},
        r"step cannot run \(.*test_check_env.py:\d+, `if action\[0\] > 0:`\).*jnp.where",
    ),
    "float_of_a_tracer": (
        {"step": floating},
        r"step cannot run \(.*float\(action\[0\]\).*leave it an array",
    ),
    "numpy_function": ({"step": with_numpy}, r"step cannot run \(.*np.sin.*jax.numpy"),
    "error": (step(reward=lambda x: x.nothing), r"step cannot run \(.*x.nothing.*AttributeError"),
    "changes_a_field": (
        {"reset": mutating},
        "reset cannot run .*self.horizon = 3.*cannot change `self`",
    ),
    "keeps_something": ({"reset": remembering}, "a method of .* changes self.goal"),
    "sample_without_split": (
        {"sample": lambda self, key: 0.0},
        r"sample\(key\) cannot be called with \(key, split\): define it as",
    ),
    "reset_without_task": ({"reset": lambda self, key: None}, r"reset\(key\) cannot be called"),
    "step_without_task": (
        {"step": lambda self, state, action: None},
        r"step\(state, action\) cannot be called",
    ),
    "missing_step": (
        {"step": TaskDistribution.step},
        r"must define step: def step\(self, task, state, action\)",
    ),
    # Properties.
    "space_is_a_number": (
        {"action_space": property(lambda self: 2)},
        r"action_space is the int 2, expected an instance of Discrete or Box",
    ),
    "space_is_a_class": (
        {"action_space": property(lambda self: Box)},
        "action_space is the class Box, expected an instance",
    ),
    "space_is_a_method": (
        {"action_space": lambda self: Box(1)},
        "action_space is a method, expected a property",
    ),
    "space_of_a_float": (
        {"action_space": property(lambda self: Discrete(2.0))},
        "whose size is the float 2.0",
    ),  # pyright: ignore
    "float_length": (
        {"episode_length": property(lambda self: 20.0)},
        "episode_length is the float 20.0, expected an int",
    ),
    "no_length": ({"episode_length": property(lambda self: 0)}, "episode_length is the int 0"),
    "splits_of_a_string": ({"splits": "train"}, "splits is 'train', expected a tuple"),
    # The class.
    "field_without_annotation": ({"mass": 1.0}, "mass = 1.0 has no annotation.*mass: float = 1.0"),
    "field_of_a_base_without_annotation": (
        {"horizon": 5},
        "horizon = 5 has no annotation.*horizon: int = 5",
    ),
    "list_field": (
        {
            "__annotations__": {"sizes": list},
            "sizes": dataclasses.field(default_factory=lambda: [1, 2]),
        },
        r"sizes is a list.*tuple",
    ),
    "array_field": (
        {
            "__annotations__": {"goal": Any},
            "goal": dataclasses.field(default_factory=lambda: np.zeros(2)),
        },
        r"goal is a float64 NumPy array.*belongs to the task",
    ),
    "field_of_another_type": (
        {"__annotations__": {"mass": int}, "mass": 1.5},
        "mass=1.5 must be of type int",
    ),
    # What a class may define beside.
    "oracle_action_with_an_axis_too_many": (
        {"oracle_action": lambda self, task, observation: observation},
        r"oracle_action returned a float32 array of shape \(2,\), expected a float32 array of shape \(1,\)",
    ),
    "regret_of_an_array": (
        {"regret": lambda self, task: task["goal"]},
        r"regret\(task\) is a float32 array.*expected a function",
    ),
    "regret_with_an_axis": (
        {"regret": lambda self, task: lambda state, action: action},
        r"regret\(task\) returned .*shape \(1,\), expected shape \(\)",
    ),
    "ceiling_of_one_number": (
        {"bayes_optimal_value": lambda self, num_rounds: np.float64(1.0)},
        r"bayes_optimal_value\(2\) returned the np.float64 1.0, expected an array of shape \(2,\)",
    ),
    "oracle_observation_with_two_axes": (
        {"oracle_observation": lambda self, task: jnp.zeros((2, 2))},
        "oracle_observation returned a float32 array.*one axis",
    ),
    "at_of_another_class": ({"at": lambda self, step: Cart()}, "at returned a Cart instance"),
    "skill_of_floats": (
        {"skill": lambda self, task: task["goal"]},
        r"skill returned a float32 array of shape \(\), expected an int32",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake):
    attributes, message = MISTAKES[mistake]
    name = "".join(word.capitalize() for word in mistake.split("_"))
    with pytest.raises(UserError, match=message) as raised:
        check_env(mistaken(name, **attributes))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_class_must_be_a_frozen_dataclass_below_the_base():
    class Undecorated(Cart):
        pass

    for given, message in (
        (Undecorated(), "Undecorated is not a frozen dataclass"),
        (Cart, "Cart is a class: give an instance"),
        (Handle(), "Handle must be a subclass of metarl_jax.envs.base.TaskDistribution"),
    ):
        with pytest.raises(UserError, match=message):
            check_env(given)  # pyright: ignore


def test_python_numbers_numpy_and_weak_types_are_converted():
    env = Cart()
    check_env(env)
    task = env.sample(jax.random.key(0))
    start = canonical(env, env.reset(task, jax.random.key(0)), "reset")
    follows = canonical(env, env.step(task, start, jnp.zeros(1)), "step")
    for state in (start, follows):
        assert [(x.shape, x.dtype, x.aval.weak_type) for x in jax.tree.leaves(state)] == [
            ((2,), jnp.float32, False),
            ((), jnp.float32, False),
            ((), bool, False),
            ((), jnp.float32, False),
        ]
    for reward in (1, np.int64(1), np.float64(1.0), jnp.where(start.done, 1, 0)):
        assert canonical(env, start.replace(reward=reward), "step").reward.dtype == jnp.float32
    check_env(
        mistaken("Single", single_task=True, sample=lambda self, key, split="train": {"goal": 0.5})
    )


@pytest.mark.parametrize("name", OWN)
def test_the_environments_of_the_library_pass(name):
    check_env(envs.make(name), run=name not in LONG_TO_COMPILE)
