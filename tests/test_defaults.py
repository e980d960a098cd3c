"""Defaults for every pair of a learner and an environment, and the public names."""

import dataclasses
import functools
import inspect

import jax
import pytest

import metarl_jax
from metarl_jax import envs, learners, outer
from metarl_jax.config import EvaluationConfig, RuntimeConfig
from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Discrete
from metarl_jax.defaults import default_config
from metarl_jax.envs.wrapper import Wrapper

COVERING = [
    ("anil", "random_mdp"),
    ("cavia", "rotated_point_robot"),
    ("episodic", "recurring_bandit"),
    ("hypernetwork", "point_robot_sparse"),
    ("key_value", "tabular_mdp"),
    ("maml", "bandit"),
    ("meta_sgd", "point_1d"),
    ("modular", "softmax_bandit"),
    ("rl2", "job_scheduling"),
    ("rl2", "point_robot"),
    ("symmetric_rl2", "bandit"),
    ("tuned_hypernetwork", "grid_navi"),
    ("tuned_modular", "point_robot"),
    ("varibad", "point_robot"),
    ("zero_order", "point_robot"),
]
"""Each learner once, and each family of environments whose simulator is quick to trace."""


def small(learner: str, env: str, method: str = "ppo"):
    """The default configuration at a size for a test; None where the pair makes no sense."""
    environment = envs.get(env)()
    if any(field.name == "horizon" for field in dataclasses.fields(environment)):
        environment = dataclasses.replace(environment, horizon=3)
    if not is_fitting(learner, env):
        return None
    config = default_config(learner, environment, method)
    return dataclasses.replace(
        config,
        num_meta_steps=2,
        num_tasks=4,
        num_rounds=2,
        num_episodes=min(config.num_episodes, 3),
        evaluation=EvaluationConfig(num_tasks=2),
        runtime=RuntimeConfig(num_devices=1),
    )


def is_fitting(learner: str, env: str) -> bool:
    """Whether the listing says that a learner fits an environment."""
    fits = learners.registry.entry(learner).fits
    return fits != learners.DISCRETE or envs.registry.entry(env).fits == envs.DISCRETE


def trace(config) -> None:
    """A meta-step and an evaluation, without compiling them."""
    program = metarl_jax.build(config)
    state = jax.eval_shape(program.init, jax.random.key(0))
    after, metrics = jax.eval_shape(program.step, state)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert metrics["episode_return"].shape == (2,)


@dataclasses.dataclass(frozen=True)
class TracedOnce(Wrapper):
    """An environment whose methods are traced once for all learners: physics takes seconds."""

    name = "traced_once"

    def reset(self, task, key):
        return _jitted(self.env, "reset")(task, key)

    def step(self, task, state, action):
        return _jitted(self.env, "step")(task, state, action)


@functools.cache
def _jitted(env, method):
    return jax.jit(getattr(env, method))


@pytest.mark.parametrize("env", envs.names())
def test_what_is_listed_of_an_environment_is_so(env):
    environment = envs.get(env)()
    is_discrete = isinstance(environment.action_space, Discrete)
    assert (envs.registry.entry(env).fits == envs.DISCRETE) == is_discrete
    for learner in learners.names():
        if is_fitting(learner, env):
            assert default_config(learner, env).name == f"{learner}-{env}"
        else:
            with pytest.raises(UserError, match="choose learner"):
                default_config(learner, env)


KINDS = {
    "bandit": "an episode is one step",
    "grid_navi": "discrete actions",
    "half_cheetah_vel": "a robot, whose state is a tree",
    "hopper_params": "a task that is a tree",
    "job_scheduling": "masked actions that have features",
    "jumanji": "another library's",
    "point_robot": "continuous actions, 100 steps",
    "recurring_bandit": "a distribution that changes with the meta-step",
    "xland": "observations that are integer grids",
}
"""An environment of every kind, which stands for those that differ from it in nothing that a program is made of."""


@pytest.mark.parametrize(
    "env",
    [x if x in KINDS else pytest.param(x, marks=pytest.mark.slow) for x in envs.names()],
)
def test_every_pair_is_traced(env):
    for learner in learners.names():
        config = small(learner, env)
        if config is not None:
            trace(dataclasses.replace(config, env=TracedOnce(config.env)))


@pytest.mark.parametrize("method", outer.names())
@pytest.mark.parametrize("learner", ["maml", "rl2"])
def test_every_outer_method_has_defaults(learner, method):
    if (learner, method) == ("rl2", "reptile"):
        with pytest.raises(UserError, match="choose learner 'maml'"):
            default_config(learner, "bandit", method)
        return
    assert default_config(learner, "bandit", method).outer.name == method


def test_the_covering_set_covers():
    assert sorted({learner for learner, _ in COVERING}) == learners.names()
    groups = {envs.registry.entry(env).group for _, env in COVERING}
    others = {envs.registry.entry(env).group for env in envs.names()} - groups
    assert others == {envs.ROBOTS, envs.LIBRARIES}


@pytest.mark.slow
@pytest.mark.parametrize(("learner", "env"), COVERING)
def test_a_step_and_an_evaluation(learner, env):
    program = metarl_jax.build(small(learner, env))
    state, metrics = jax.jit(program.step)(jax.jit(program.init)(jax.random.key(0)))
    returns = jax.jit(program.evaluate)(state, jax.random.key(1))
    assert jax.numpy.isfinite(returns).all()
    assert jax.numpy.isfinite(metrics["episode_return"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("env", ["point_robot", "grid_navi"])
@pytest.mark.parametrize("learner", ["rl2", "maml", "varibad", "hypernetwork", "key_value"])
def test_defaults_learn(learner, env, tmp_path):
    """Minutes each: the last round is above the first and above the random policy by more than its interval."""
    found = metarl_jax.train(default_config(learner, env), tmp_path / "run")
    low, first = found["ci95"][-1][0], found["ci95"][0][1]
    assert low > first
    assert low > found["controls"]["random"]["return_mean"][-1]


def test_options_of_ones_own_stay():
    config = default_config(learners.make("rl2", hidden_size=7), envs.make("bandit", num_arms=3))
    assert config.learner.hidden_size == 7
    assert config.env.num_arms == 3


def test_public_names_are_there_and_lazy():
    for name in metarl_jax.__all__:
        assert getattr(metarl_jax, name) is not None
    assert set(metarl_jax.__all__) == set(metarl_jax._SOURCES)
    source = inspect.getsource(metarl_jax)
    block = source[source.index("if TYPE_CHECKING:") : source.index("__all__ =")]
    for name in metarl_jax.__all__:
        assert f" {name}" in block, "editors and type checkers see it"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metarl_jax.nothing
