"""Mistakes in a learner and in an outer method of one's own, each with the message that it gets."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
import pytest

from metarl_jax import envs, learners, outer
from metarl_jax.core.distributions import DiagonalGaussian
from metarl_jax.core.errors import UserError
from metarl_jax.core.trees import where_leading
from metarl_jax.core.types import PolicyOut
from metarl_jax.learners.base import LearnerConfig, MetaLearner
from metarl_jax.outer.base import Outer, OuterConfig
from metarl_jax.testing import check_learner, check_outer

ROBOT = envs.make("point_robot")


@dataclasses.dataclass(frozen=True)
class Leaky(LearnerConfig):
    """A policy that is linear in a leaky sum of what it has seen."""

    name: ClassVar[str] = "leaky"

    leak: float = 0.5
    """Share that is kept from step to step."""

    def make(self, env) -> Any:
        return MetaLearner(**self.functions(env))

    def functions(self, env) -> dict[str, Any]:
        space = env.action_space

        def act(meta_params, inner_state, timestep):
            seen = self.leak * inner_state + timestep.observation
            inner_state = where_leading(timestep.valid, seen, inner_state)
            mean = inner_state @ meta_params["weights"]
            distribution = DiagonalGaussian(mean, jnp.zeros_like(mean))
            return PolicyOut(distribution, inner_state @ meta_params["value"]), inner_state

        def unroll(meta_params, inner_state, timesteps):
            def step(state, timestep):
                out, state = act(meta_params, state, timestep)
                return state, out

            inner_state, out = jax.lax.scan(step, inner_state, timesteps)
            return out, inner_state

        return {
            "init": lambda key: {
                "weights": 0.1 * jax.random.normal(key, (env.observation_size, space.size)),
                "value": jnp.zeros(env.observation_size),
            },
            "begin": lambda meta_params, memory, key, num_episodes: jnp.zeros(
                (num_episodes, env.observation_size)
            ),
            "act": act,
            "unroll": unroll,
            "adapt": lambda meta_params, inner_state, rollout: inner_state,
            "metrics": lambda meta_params: {"size": jnp.abs(meta_params["weights"]).mean()},
        }


def mistaken(name: str, **changes: Any) -> LearnerConfig:
    """A leaky learner, of whose functions some are another: each is made of the right one, and of all."""

    def make(self, env):
        functions = self.functions(env)
        return MetaLearner(
            **functions | {n: change(functions.get(n), functions) for n, change in changes.items()}
        )

    cls: Any = type(name, (Leaky,), {"__module__": __name__, "make": make})
    return dataclasses.dataclass(frozen=True)(cls)()


def answer(change):
    """A function whose answer (policy, state) is changed."""
    return lambda right, functions: lambda *args: change(*right(*args))


MISTAKES = {
    "value_with_an_axis": (
        {"act": answer(lambda out, s: (out.replace(value=out.value[..., None]), s))},
        r"act returned a value that is a float32 array of shape \(3, 1\), expected .*\(3,\).*take x\[..., 0\]",
    ),
    "begin_and_act_disagree": (
        {"begin": lambda right, functions: lambda p, m, k, n: jnp.zeros((n, 5))},
        r"act cannot run|act: the inner state has a float32",
    ),
    "state_of_another_dtype": (
        {"act": answer(lambda out, s: (out, s.astype(jnp.int32)))},
        "act: the inner state has an int32 array.*expected a float32 array.*as begin returned it",
    ),
    "state_first": (
        {"act": answer(lambda out, s: (s, out))},
        r"act returned a tuple of 2.*expected \(PolicyOut",
    ),
    "policy_alone": (
        {"act": answer(lambda out, s: out)},
        r"act returned a PolicyOut instance, expected \(PolicyOut",
    ),
    "mean_of_another_size": (
        {
            "act": answer(
                lambda out, s: (out.replace(distribution=DiagonalGaussian(s[:, :1], s[:, :1])), s)
            )
        },
        r"act returned a distribution whose samples are a float32 array of shape \(3, 1\), expected .*\(3, 2\)",
    ),
    "action_for_a_distribution": (
        {"act": answer(lambda out, s: (out.replace(distribution=out.distribution.mean), s))},
        "act returned a distribution that is a float32 array.*Categorical, DiagonalGaussian",
    ),
    "latent_without_episodes": (
        {"act": answer(lambda out, s: (out.replace(latent={"z": jnp.zeros(7)}), s))},
        r"act returned a latent\['z'\] that is a float32 array of shape \(7,\)",
    ),
    "unroll_differs_from_act": (
        {"unroll": answer(lambda out, s: (out.replace(value=out.value + 1.0), s))},
        "unroll returns other results than act step by step .in the value.",
    ),
    "unroll_leaves_another_state": (
        {"unroll": answer(lambda out, s: (out, s + 1.0))},
        "unroll returns another inner state than act",
    ),
    "invalid_steps_count": (
        {
            "unroll": lambda right, functions: None,
            "act": answer(lambda out, s: (out, s + 1.0)),
        },
        "act changes the inner state at an invalid step.*where_leading",
    ),
    "nan": (
        {"act": answer(lambda out, s: (out.replace(value=out.value / 0.0), s))},
        "act returned a distribution or a value.*not finite",
    ),
    "adapt_changes_the_structure": (
        {"adapt": lambda right, functions: lambda p, s, rollout: (s, s)},
        "adapt: the inner state .*as begin returned it",
    ),
    "adapt_without_rollout": (
        {"adapt": lambda right, functions: lambda p, s: s},
        r"adapt\(p, s\) cannot be called with \(meta_params, inner_state, rollout\)",
    ),
    "branch": (
        {"act": answer(lambda out, s: (out, s) if s.sum() > 0 else (out, -s))},
        r"act cannot run \(.*test_check_learner.py.*jnp.where",
    ),
    "integer_parameters": (
        {
            "init": lambda right, functions: (
                lambda key: right(key) | {"steps": jnp.zeros((), jnp.int32)}
            )
        },
        r"init returned meta-parameters in which \['steps'\] is an int32 array",
    ),
    "metrics_with_an_axis": (
        {"metrics": lambda right, functions: lambda p: {"size": p["weights"]}},
        r"metrics returned a metric 'size' that is a float32 array of shape \(2, 2\)",
    ),
    "loss_alone": (
        {"aux_loss": lambda right, functions: lambda p, m, out, trial: jnp.zeros(())},
        r"aux_loss returned a float32 array of shape \(\), expected \(loss, metrics\)",
    ),
    "memory_that_grows": (
        {
            "init_memory": lambda right, functions: lambda: jnp.zeros(3),
            "update_memory": lambda right, functions: lambda p, memory, trials: jnp.zeros(4),
        },
        r"update_memory: the memory has a float32 array of shape \(4,\), expected",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_learner_is_named(mistake):
    changes, message = MISTAKES[mistake]
    name = "".join(word.capitalize() for word in mistake.split("_"))
    with pytest.raises(UserError, match=message) as raised:
        check_learner(mistaken(name, **changes), ROBOT)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_right_learner_passes_and_one_without_make_does_not():
    check_learner(Leaky(), ROBOT)

    @dataclasses.dataclass(frozen=True)
    class Unmade(LearnerConfig):
        name: ClassVar[str] = "unmade"

    @dataclasses.dataclass(frozen=True)
    class MadeOfNothing(Leaky):
        name: ClassVar[str] = "made_of_nothing"

        def make(self, env) -> Any:
            del env

    with pytest.raises(UserError, match=r"Unmade must define make: def make\(self, env\)"):
        check_learner(Unmade(), ROBOT)
    with pytest.raises(
        UserError, match=r"MadeOfNothing.make returned None, expected a MetaLearner"
    ):
        check_learner(MadeOfNothing(), ROBOT)


@pytest.mark.parametrize("name", learners.names())
def test_the_learners_of_the_library_pass(name):
    from metarl_jax.program import checks

    # Their replays are in test_invariants.py.
    checks.check_learner(learners.make(name), ROBOT, run=False)


@dataclasses.dataclass(frozen=True)
class Climb(OuterConfig):
    """Steps of Adam along the parameters themselves."""

    name: ClassVar[str] = "climb"
    reads_advantages: ClassVar[bool] = False

    learning_rate: float = 0.1
    """Of Adam."""

    def make(self, num_meta_steps, parameter_groups=()) -> Any:
        optimizer = optax.adam(self.learning_rate)

        def update(key, meta_params, opt_state, batch):
            trials = batch.collect(meta_params, key)
            updates, opt_state = optimizer.update(meta_params, opt_state)
            meta_params = optax.apply_updates(meta_params, updates)
            return meta_params, opt_state, trials, {"mean_return": trials.episode_returns().mean()}

        return Outer(init=optimizer.init, update=update)


def outer_with(name: str, change: Any) -> OuterConfig:
    """`Climb`, the answer of whose update is changed."""

    def make(self, num_meta_steps, parameter_groups=()):
        right = Climb.make(self, num_meta_steps, parameter_groups)
        return Outer(init=right.init, update=lambda *args: change(*right.update(*args)))

    cls: Any = type(name, (Climb,), {"__module__": __name__, "make": make})
    return dataclasses.dataclass(frozen=True)(cls)()


OUTER_MISTAKES = {
    "lost_parameters": (
        lambda params, state, trials, metrics: ({}, state, trials, metrics),
        "update: the meta-parameters lacks? .*an update keeps structure",
    ),
    "parameters_of_another_dtype": (
        lambda params, state, trials, metrics: (
            jax.tree.map(lambda x: x.astype(jnp.float16), params), state, trials, metrics),
        "update: the meta-parameters has in .* a float16 array of shape",
    ),
    "state_that_grows": (
        lambda params, state, trials, metrics: (params, (state, state), trials, metrics),
        "update: the state of the optimizer .*as init returned it",
    ),
    "three_answers": (
        lambda params, state, trials, metrics: (params, state, metrics),
        r"update returned a tuple of 3, expected \(meta_params, opt_state, trials, metrics\)",
    ),
    "metrics_by_task": (
        lambda params, state, trials, metrics: (params, state, trials, {"returns": trials.episode_returns()}),
        "update returned a metric 'returns' that is a float32 array of shape",
    ),
    "no_trials": (
        lambda params, state, trials, metrics: (params, state, None, metrics),
        "update returned trials that are None, expected the Trial",
    ),
    "infinite_parameters": (
        lambda params, state, trials, metrics: (jax.tree.map(lambda x: x / 0.0, params), state, trials, metrics),
        "update returned meta-parameters in which .* is not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", OUTER_MISTAKES)
def test_a_mistake_in_an_outer_method_is_named(mistake):
    change, message = OUTER_MISTAKES[mistake]
    name = "".join(word.capitalize() for word in mistake.split("_"))
    with pytest.raises(UserError, match=message) as raised:
        check_outer(outer_with(name, change), Leaky(), ROBOT)
    assert name in str(raised.value)


def test_a_right_outer_method_passes_and_one_without_make_does_not():
    check_outer(Climb(), Leaky())

    @dataclasses.dataclass(frozen=True)
    class Unmade(OuterConfig):
        name: ClassVar[str] = "unmade"

    @dataclasses.dataclass(frozen=True)
    class WithoutGroups(Climb):
        name: ClassVar[str] = "without_groups"

        def make(self, num_meta_steps) -> Any:  # pyright: ignore
            return super().make(num_meta_steps)

    with pytest.raises(UserError, match="Unmade must define make"):
        check_outer(Unmade())
    with pytest.raises(
        UserError, match=r"WithoutGroups.make\(num_meta_steps\).* cannot be called with"
    ):
        check_outer(WithoutGroups())


@pytest.mark.parametrize("name", [name for name in outer.names() if name != "trpo"])
def test_the_outer_methods_of_the_library_pass(name):
    from metarl_jax.defaults import default_config
    from metarl_jax.program import checks

    adapts = name == "reptile"  # which moves towards what the learner adapted to
    config = default_config("maml" if adapts else "rl2", "point_robot", name)
    if not adapts:
        config = dataclasses.replace(config, learner=Leaky())
    checks.check_outer(config, run=False)
