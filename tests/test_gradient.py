"""The inner gradient step: its derivative against autodiff and finite differences, for all that adapts and how."""

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, experiments
from metarl_jax.config import evaluated_learner
from metarl_jax.core.advantages import PLAIN_RETURNS, AdvantageConfig, make_estimator
from metarl_jax.core.types import MetaState
from metarl_jax.learners.gradient_step import gradient_step
from metarl_jax.learners.hypernetwork import TunedHypernetwork
from metarl_jax.learners.maml import MAML
from metarl_jax.learners.surrogates import loaded_dice_surrogate, make_surrogate
from metarl_jax.outer.trpo import TRPO
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.rollout import collect_trial


def loss(fast, slow, data):
    x, y = data
    hidden = jnp.tanh(x @ slow["w"] + fast["b"])
    return jnp.mean((hidden @ fast["v"] - y) ** 2)


def problem():
    keys = jax.random.split(jax.random.key(0), 5)
    slow = {"w": jax.random.normal(keys[0], (3, 4))}
    fast = {"b": jax.random.normal(keys[1], (4,)), "v": jax.random.normal(keys[2], (4,))}
    data = jax.random.normal(keys[3], (20, 3)), jax.random.normal(keys[4], (20,))
    return fast, slow, data


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("per_parameter", [False, True])
def test_derivative_is_that_of_plain_autodiff(trees_close, num_steps, per_parameter):
    fast, slow, data = problem()
    shape = jnp.shape if per_parameter else lambda _: ()
    inner_lr = jax.tree.map(lambda p: jnp.full(shape(p), 0.3), fast)

    def plain(fast, slow, inner_lr):
        gradient = jax.grad(loss)(fast, slow, data)
        return jax.tree.map(lambda p, lr, g: p - lr * g, fast, inner_lr, gradient)

    def after(step):
        def adapted_loss(fast, slow, inner_lr):
            for _ in range(num_steps):
                fast = step(fast, slow, inner_lr)
            return loss(fast, slow, data)

        return jax.grad(adapted_loss, argnums=(0, 1, 2))

    ours = after(lambda f, s, lr: gradient_step(loss, f, s, lr, data))(fast, slow, inner_lr)
    theirs = after(plain)(fast, slow, inner_lr)
    trees_close(ours, theirs, rtol=1e-4, atol=1e-5)


ADAPTS = {
    "all": {},
    "head": {"adapts": "head"},
    "context": {"adapts": "context", "context_size": 2},
    "first layer": {"adapts": "Dense_0/kernel"},
}


@pytest.fixture(scope="module")
def trial():
    """A record of four rounds; to a replay, data like any other."""
    env = envs.make("point_robot", horizon=3)
    learner = MAML(hidden_sizes=(4, 3)).make(env)

    @jax.jit
    def collect(key):
        init_key, key = jax.random.split(key)
        return collect_trial(
            env,
            learner,
            make_estimator(AdvantageConfig(baseline="none")),
            MetaState(learner.init(init_key)),
            jnp.array([0.3, -0.2]),
            key,
            num_rounds=4,
            num_episodes=2,
        )

    return collect(jax.random.key(1))


def combinations():
    """Everything that adapts with every kind of step size; slow but for a row and a column of the table."""
    for adapts in ADAPTS:
        for kind in ("none", "scalar", "layer", "array", "parameter"):
            default = adapts == "all" or kind == "array"
            yield pytest.param(adapts, kind, marks=() if default else pytest.mark.slow)


@pytest.mark.parametrize(("adapts", "learn_inner_lr"), combinations())
def test_meta_gradient_is_that_of_finite_differences(trial, adapts, learn_inner_lr):
    """After 1, 2 and 3 inner steps of a replay; in double precision, where differences are sharp."""
    config = MAML(
        hidden_sizes=(4, 3), inner_lr=0.5, learn_inner_lr=learn_inner_lr, **ADAPTS[adapts]
    )
    learner = config.make(envs.make("point_robot", horizon=3))
    meta_params = jax.jit(learner.init)(jax.random.key(0))
    with jax.enable_x64(True):
        meta_params, trial = jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, (meta_params, trial)
        )
        flat, unravel = jax.flatten_util.ravel_pytree(meta_params)

        def objective(flat):
            """The likelihood of the recorded actions after each number of steps `[3]`."""
            out = replay_trial(learner, unravel(flat), (), trial)
            return out.distribution.log_prob(trial.rollout.action)[1:].sum((1, 2))

        def values_and_gradients(flat):
            values, pull = jax.vjp(objective, flat)
            return values, jax.vmap(pull)(jnp.eye(3))[0]

        # Compiled for its numbers alone, in half the time.
        quick = {"xla_backend_optimization_level": 0}
        compiled = jax.jit(values_and_gradients, compiler_options=quick)
        direction = jax.random.normal(jax.random.key(9), flat.shape, flat.dtype)
        step = 1e-5 * direction
        difference = (compiled(flat + step)[0] - compiled(flat - step)[0]) / 2e-5
        derivative = compiled(flat)[1] @ direction
        assert np.abs(difference).min() > 1e-3
        np.testing.assert_allclose(derivative, difference, rtol=1e-5)


def test_a_context_begins_at_zero():
    """A context begins every trial at zero, wherever training has taken it."""
    env = envs.make("point_robot", horizon=3)
    learner = MAML(adapts="context", context_size=2).make(env)
    meta_params = learner.init(jax.random.key(0))
    path = "params/context"
    meta_params["policy"]["params"]["context"] += 1.0
    fast = learner.begin(meta_params, (), jax.random.key(0), 1).fast
    assert list(fast) == [path]
    np.testing.assert_array_equal(fast[path], 0.0)


@pytest.mark.parametrize("adapts", ["no_such_layer", "("])
def test_a_pattern_that_selects_nothing_is_refused(adapts):
    with pytest.raises(ValueError, match=r"learner.adapts=.*params/PolicyHead_0"):
        MAML(adapts=adapts).make(envs.make("point_robot"))


def test_a_context_needs_entries(small_config):
    with pytest.raises(ValueError, match="context_size=0"):
        MAML(adapts="context").validate(small_config())


def test_loaded_dice_lies_between_lvc_and_dice():
    """All surrogates share the gradient where they were recorded; λ = 0 has LVC's Hessian, λ = 1 that of DiCE."""
    env = envs.make("grid_navi", horizon=4)
    learner = MAML(hidden_sizes=(3,)).make(env)
    meta_params = learner.init(jax.random.key(0))
    collect = partial(collect_trial, env, learner, num_rounds=1, num_episodes=3)
    estimator = make_estimator(PLAIN_RETURNS)
    task, key = env.sample(jax.random.key(3)), jax.random.key(1)
    trial = jax.jit(lambda p: collect(estimator, MetaState(p), task, key))(meta_params)
    rollout = jax.tree.map(lambda x: x[0], trial.rollout)
    flat, unravel = jax.flatten_util.ravel_pytree(meta_params)

    def log_prob(flat):
        out, _ = learner.unroll(
            unravel(flat), learner.begin(unravel(flat), (), None, 3), rollout.timestep
        )
        return out.distribution.log_prob(rollout.action)

    @partial(jax.jit, static_argnums=0)
    def derivatives(surrogate):
        def value(flat):
            return surrogate(log_prob(flat), rollout)

        return jax.grad(value)(flat), jax.hessian(value)(flat)

    lvc = derivatives(make_surrogate("likelihood_ratio", 0.0))
    dice = derivatives(make_surrogate("dice", 0.0))
    plain = derivatives(make_surrogate("log_likelihood", 0.0))
    for weight, expected in ((0.0, lvc), (1.0, dice)):
        found = derivatives(lambda lp, r, w=weight: loaded_dice_surrogate(lp, r, w))
        np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    for other in (dice, plain):
        np.testing.assert_allclose(other[0], lvc[0], atol=1e-5)
        assert np.abs(other[1] - lvc[1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["scalar", "layer", "array", "parameter"])
@pytest.mark.parametrize("make", [MAML, partial(TunedHypernetwork, policy_sizes=(4,))])
def test_learned_step_sizes_begin_at_the_inner_lr_and_stay_above_zero(kind, make):
    """All but those of Meta-SGD, which means its signs; and their range is among the metrics."""
    env = envs.make("point_robot", horizon=3)
    learner = make(inner_lr=0.03, learn_inner_lr=kind).make(env)
    meta_params = learner.init(jax.random.key(0))
    assert learner.metrics is not None
    for name, value in learner.metrics(meta_params).items():
        np.testing.assert_allclose(value, 0.03, rtol=1e-6, err_msg=name)
    moved = {**meta_params, "inner_lr": dict(meta_params["inner_lr"])}
    path = min(moved["inner_lr"])
    moved["inner_lr"][path] -= 2.0
    metrics = learner.metrics(moved)
    assert (metrics["inner_lr_min"] > 0.0) == (kind != "parameter")
    assert metrics["inner_lr_min"] < 0.01
    gradient = jax.grad(lambda p: learner.metrics(p)["inner_lr_mean"])(meta_params)
    unit = 0.03 if make is not MAML else 1.0
    total = sum(x.sum() for x in gradient["inner_lr"].values())
    np.testing.assert_allclose(
        total, unit, rtol=0.03
    )  # an optimizer moves them as it would the sizes


def test_step_sizes_that_stay_above_zero_cannot_begin_there(small_config):
    with pytest.raises(ValueError, match=r"inner_lr=0.0 cannot be the initial value .* choose 0.1"):
        MAML(inner_lr=0.0, learn_inner_lr="array").validate(small_config())
    MAML(inner_lr=0.0, learn_inner_lr="parameter").validate(small_config())


def test_step_sizes_follow_their_factors(trial, trees_close):
    """The last factor holds for all later steps, in a replay as in every other use of `adapt`."""
    env = envs.make("point_robot", horizon=3)
    options = {"hidden_sizes": (4, 3), "inner_lr": 0.5}
    plain = MAML(**options).make(env)
    scheduled = MAML(**options, inner_lr_factors=(1.0, 0.5)).make(env)
    meta_params = plain.init(jax.random.key(0))
    rollout = jax.tree.map(lambda x: x[0], trial.rollout)

    def steps(learner):
        """What is added to the fast part in each of three steps on the same data."""
        state = learner.begin(meta_params, (), trial.key, 2)
        for _ in range(3):
            after = learner.adapt(meta_params, state, rollout)
            yield state.fast, jax.tree.map(jnp.subtract, after.fast, state.fast)
            state = after

    for (fast, moved), factor in zip(steps(scheduled), (1.0, 0.5, 0.5), strict=True):
        begun = plain.begin(meta_params, (), trial.key, 2).replace(fast=fast)
        after = plain.adapt(meta_params, begun, rollout).fast
        wanted = jax.tree.map(lambda x, y, f=factor: f * (x - y), after, fast)
        trees_close(moved, wanted, rtol=1e-4, atol=1e-7)


def test_the_preset_of_the_paper_has_its_protocol():
    """`maml_trpo_point.py` and `test_maml_point.py` of cbfinn/maml_rl."""
    config = experiments.get("maml-point-robot-finn17")
    learner, outer, evaluation = config.learner, config.outer, config.evaluation
    assert isinstance(learner, MAML)
    assert (learner.hidden_sizes, learner.activation) == ((100, 100), "relu")
    assert (learner.inner_lr, learner.learn_inner_lr) == (0.5, "none")
    assert learner.surrogate == "log_likelihood"
    assert isinstance(outer, TRPO)
    assert (outer.max_kl, outer.num_cg_steps, outer.damping) == (0.01, 10, 1e-5)
    assert (outer.backtrack, outer.num_backtracks) == (0.8, 15)
    assert (config.num_tasks, config.num_episodes, config.num_rounds) == (20, 20, 2)
    assert config.num_meta_steps == 100
    assert (config.advantage.discount, config.advantage.gae_lambda) == (0.99, 1.0)
    assert (evaluation.num_episodes, evaluation.num_rounds) == (40, 4)
    evaluated = evaluated_learner(config)
    assert isinstance(evaluated, MAML)
    assert evaluated.inner_lr_factors == (1.0, 0.5)


def test_a_schedule_has_at_least_one_factor(small_config):
    with pytest.raises(ValueError, match=r"inner_lr_factors=\(\)"):
        MAML(inner_lr_factors=()).validate(small_config())
