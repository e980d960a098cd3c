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
from metarl_jax.core.spaces import Array, Box, Discrete, Integers
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.contract import canonical
from metarl_jax.envs.wrapper import Wrapper
from metarl_jax.program.checks import check_env

ROBOTS = {name for name in envs.names() if envs.registry.entry(name).group == envs.ROBOTS}
DEAR = ROBOTS - {"hopper_params"}
"""Of the robots one is enough by default: they share a simulator, and are dear to trace."""
OWN = [pytest.param(x, marks=pytest.mark.slow) if x in DEAR else x for x in envs.names()]


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


@dataclasses.dataclass(frozen=True)
class Hall(TaskDistribution):
    """Walk along five places to where the task says, without leaving them; the first state is at the second place."""

    name: ClassVar[str] = "hall"
    num_skills: ClassVar[int] = 2

    @property
    def episode_length(self) -> int:
        return 6

    @property
    def observation_space(self) -> Any:
        return {"place": Integers((), 5), "clock": Array((1,))}

    @property
    def action_space(self) -> Any:
        return Discrete(2)

    def sample(self, key, split="train") -> Any:
        return jax.random.randint(key, (), 0, 5)

    def reset(self, task, key) -> Any:
        return self._state(task, jnp.int32(1), jnp.int32(0))

    def step(self, task, state, action) -> Any:
        place, clock = state.simulator
        return self._state(task, place + 2 * action - 1, clock + 1)

    def _state(self, task, place, clock) -> Any:
        seen = {"place": place, "clock": clock[None] / 6}
        near = place == task
        metrics = {"success": near, "distance": jnp.abs(place - task)}
        return EnvState(seen, near.astype(jnp.float32), False, (place, clock), metrics)  # pyright: ignore

    def action_mask(self, task, state) -> Any:
        place, _ = state.simulator
        return jnp.stack([place > 0, place < 4])

    def skill(self, task) -> Any:
        return (task > 1).astype(jnp.int32)


def mistaken(name: str, base: type = Cart, **attributes: Any) -> TaskDistribution:
    """A cart whose class has these attributes instead, or another environment."""
    cls: Any = type(name, (base,), {"__module__": __name__, **attributes})
    return dataclasses.dataclass(frozen=True)(cls)()


def space(value: Any):
    return {"observation_space": property(lambda self: value)}


def hall(method: str, **fields: Any):
    """`reset` or `step` of the hall, whose answer has these fields instead; a function is given the state."""

    def change(state):
        return state.replace(**{n: value(state) for n, value in fields.items()})

    if method == "reset":
        return {"reset": lambda self, task, key: change(Hall.reset(self, task, key))}
    return {"step": lambda self, task, state, action: change(Hall.step(self, task, state, action))}


def mask(of: Any):
    return {"action_mask": lambda self, task, state: of(state)}


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


HALL_MISTAKES = {
    # Observations.
    "space_of_nothing": (space(None), "observation_space is None, expected a pytree of Array"),
    "space_of_shapes": (space({"place": 3}), "observation_space has the int 3 in it, expected"),
    "space_with_an_int_for_a_shape": (
        space(Array(3)),  # pyright: ignore
        "shape is the int 3, expected a tuple of ints",
    ),
    "space_with_a_float_of_values": (
        space(Integers((), 5.0)),  # pyright: ignore
        "num_values is the float 5.0, expected an int",
    ),
    "space_without_an_entry": (
        space({"place": Integers((), 5)}),
        r"reset returned an observation that is a dict of \['clock'\], \['place'\], expected a dict of \['place'\]",
    ),
    "space_of_another_shape": (
        space({"place": Integers((), 5), "clock": Array((2,))}),
        r"reset returned an observation\['clock'\] of shape \(1,\), expected \(2,\), as observation_space is",
    ),
    "space_of_integers_for_floats": (
        space({"place": Integers((), 5), "clock": Integers((1,), 7)}),
        r"reset returned an observation\['clock'\] that is a float32 array.*expected integers below 7",
    ),
    "space_and_size_disagree": (
        {"observation_size": 2},
        r"observation_size is 2, but .* have 6 entries .*leave observation_size out",
    ),
    "integers_without_a_space": (
        {"observation_space": TaskDistribution.observation_space},
        r"reset: observation\['place'\] is int32: define observation_space, with Integers",
    ),
    "size_of_a_dict": (
        {"observation_size": 2, "observation_space": TaskDistribution.observation_space},
        "that is a dict of .*, expected one array, as observation_size is 2: correct it, or leave it out",
    ),
    "step_without_an_entry": (
        hall("step", observation=lambda s: {"place": s.observation["place"]}),
        r"step returned an observation that is a dict of \['place'\], expected a dict of \['clock'\], \['place'\]",
    ),
    "integer_too_great_in_reset": (
        hall("reset", observation=lambda s: s.observation | {"place": jnp.int32(5)}),
        r"reset returned an observation\['place'\] with a 5 in it, expected integers from 0 to 4",
    ),
    "integer_below_zero_in_step": (
        hall("step", observation=lambda s: s.observation | {"place": jnp.int32(-1)}),
        r"step returned an observation\['place'\] at step 1 .* with a -1 in it, expected integers from 0 to 4",
    ),
    # Masks.
    "mask_of_floats": (
        mask(lambda state: jnp.ones(2)),
        r"action_mask returned a float32 array of shape \(2,\), expected a bool array of shape \(2,\)",
    ),
    "mask_of_one": (
        mask(lambda state: state.simulator[0] > 0),
        r"action_mask returned a bool array of shape \(\), expected a bool array of shape \(2,\)",
    ),
    "mask_in_a_box": (
        {
            "action_space": property(lambda self: Box(1)),
            "step": lambda self, task, state, action: state,
        },
        "action_mask returned a bool array .*masks need Discrete actions, so leave action_mask out",
    ),
    "mask_without_a_state": (
        {"action_mask": lambda self, task: None},
        r"action_mask\(task\) cannot be called with \(task, state\)",
    ),
    "mask_without_an_action": (
        mask(lambda s: (s.simulator[1] < 2) & Hall.action_mask(Hall(), 0, s)),
        "action_mask allows no action in the state after step 2: .*let the step before return done",
    ),
    # What is reported.
    "metrics_with_an_axis": (
        hall("reset", metrics=lambda s: {"success": jnp.zeros(3)}),
        r"reset returned metrics\['success'\] that is a float32 array of shape \(3,\), expected shape \(\)",
    ),
    "metrics_of_a_string": (
        hall("reset", metrics=lambda s: {"success": "no"}),
        r"reset returned metrics\['success'\] that is the str 'no'",
    ),
    "metrics_from_reset_alone": (
        hall("step", metrics=lambda s: {"success": s.metrics["success"]}),
        r"step: the state lacks .metrics\['distance'\], as reset returned it",
    ),
    # What is told to training alone.
    "negative_regret": (
        {"regret": lambda self, task: lambda state, action: -state.reward - 0.1},
        r"regret\(task\) returned -.* for a random action, expected 0 or more",
    ),
    "skill_too_great": (
        {"skill": lambda self, task: task},
        r"skill returned [234], expected 0, …, 1, as num_skills is 2",
    ),
    "skills_of_a_float": ({"num_skills": 2.0}, "num_skills is the float 2.0, expected an int"),
    "render_without_states": (
        {"render": lambda self, task: None},
        r"render\(task\) cannot be called with \(task, states\)",
    ),
}
ALL_MISTAKES = [(Cart, m) for m in MISTAKES] + [(Hall, m) for m in HALL_MISTAKES]


@pytest.mark.parametrize(("base", "mistake"), ALL_MISTAKES)
def test_a_mistake_is_named(base, mistake):
    attributes, message = (MISTAKES if base is Cart else HALL_MISTAKES)[mistake]
    name = "".join(word.capitalize() for word in mistake.split("_"))
    with pytest.raises(UserError, match=message) as raised:
        check_env(mistaken(name, base, **attributes))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_random_actions_respect_masks_and_a_wrapper_passes():
    env = Hall()
    check_env(env)  # An action that is masked would leave the five places.
    check_env(Wrapper(env), run=False)
    start = canonical(env, env.reset(jnp.int32(1), jax.random.key(0)), "reset")
    assert start.metrics["success"] == 1.0
    assert {x.dtype for x in jax.tree.leaves(start.metrics)} == {jnp.dtype("float32")}


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
    single = {"single_task": True, "sample": lambda self, key, split="train": {"goal": 0.5}}
    check_env(mistaken("Single", **single))


@pytest.mark.parametrize("name", OWN)
def test_the_environments_of_the_library_pass(name):
    check_env(envs.make(name))
