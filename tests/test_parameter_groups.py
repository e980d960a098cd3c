"""Learners with two losses, or with learned quantities of a legal range: neither loss starves the other, and no
parameters make a quantity illegal."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, learners
from metarl_jax.learners import fast_parameters
from metarl_jax.learners.base import ParameterGroup
from metarl_jax.learners.maml import CAVIA, MAML
from metarl_jax.learners.sequence import blank_timestep
from metarl_jax.outer.base import AdamOptions
from metarl_jax.outer.policy_gradient import PolicyGradient
from metarl_jax.program import build as programs
from metarl_jax.program.step import make_init, make_step

# Weights of the auxiliary losses, of which each learner has all.
TWO_LOSSES = {
    "varibad": {"elbo_coefficient": 1.0},
    "modular": {"balance_coefficient": 1.0, "sparsity_coefficient": 1.0},
}
SMALL = {"hidden_size": 8, "encoder_sizes": (8,)}


def path_of(path):
    return jax.tree_util.keystr(path, simple=True, separator="/")


@pytest.mark.parametrize("name", TWO_LOSSES)
def test_the_policy_makes_the_same_step_at_any_weight_of_the_other_loss(small_config, name):
    """Parameters outside the learner's groups; with a clip that every gradient exceeds."""

    config = small_config(name, "point_robot", num_tasks=2, num_rounds=2, num_episodes=2)
    outer = PolicyGradient(rounds="all", value_coefficient=0.5, max_gradient_norm=1e-3)

    def make_spec(weight):
        weights = {field: weight * value for field, value in TWO_LOSSES[name].items()}
        learner = dataclasses.replace(config.learner, **SMALL, **weights)
        return programs.make_spec(dataclasses.replace(config, learner=learner, outer=outer))

    state = jax.jit(make_init(make_spec(1.0)))(jax.random.key(0))

    @jax.jit
    def change(weight):
        after = make_step(make_spec(weight))(state)[0]
        return jax.tree.map(jnp.subtract, after.meta.params, state.meta.params)

    (group,) = make_spec(1.0).learner.parameter_groups
    alone, beside = (jax.tree_util.tree_leaves_with_path(change(x)) for x in (0.0, 1e4))
    apart = [bool(re.search(group.pattern, path_of(path))) for path, _ in alone]
    moved = [bool(jnp.any(x != y)) for (_, x), (_, y) in zip(alone, beside, strict=True)]
    assert any(apart)
    assert not all(apart)
    for (path, x), (_, y), inside in zip(alone, beside, apart, strict=True):
        if not inside:
            assert jnp.any(x != 0.0), path_of(path)
            np.testing.assert_allclose(y, x, rtol=1e-3, atol=1e-8, err_msg=path_of(path))
    assert any(m for m, inside in zip(moved, apart, strict=True) if inside)


def test_every_learner_with_an_auxiliary_loss_is_tested_above(small_config):
    """But for a tuned routing: its costs reach every parameter, through the inner steps."""
    with_loss = {
        name
        for name in learners.names()
        if learners.make(name).make(envs.make("bandit")).aux_loss is not None
    }
    assert with_loss == {*TWO_LOSSES, "tuned_modular"}


def test_a_group_has_a_clip_of_its_own():
    groups = (ParameterGroup("a", "^a$", None, 2.0), ParameterGroup("b", "^b$", 0.1))
    params = {"a": jnp.ones(4), "b": jnp.ones(4), "c": jnp.ones(4)}
    # Adam's first step forgets the scale of a gradient but for ε = 1e-5, which a clip to 1e-5 makes visible.
    optimizer = AdamOptions(learning_rate=1.0, max_gradient_norm=2e-5).make_optimizer(1, groups)
    update, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(update["a"], -1.0, rtol=1e-4)  # clipped to an entry of 1
    np.testing.assert_allclose(update["b"], -0.05, rtol=1e-4)  # to 1e-5, half of the step
    np.testing.assert_allclose(update["c"], -0.5, rtol=1e-4)


OPTIONS = {
    "maml": ("inner_lr", {"learn_inner_lr": "array"}),
    "varibad": ("belief", {}),
    "hypernetwork": ("generator", {}),
    "tuned_hypernetwork": ("generator", {}),
    "modular": ("routing", {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_rates_and_clips_of_groups_are_fields(name):
    """A step of exactly the group's rate, and of the outer method's everywhere else."""
    prefix, options = OPTIONS[name]
    fields = {f"{prefix}_learning_rate": 0.25, f"{prefix}_max_gradient_norm": 10.0}
    learner = learners.make(name, **options, **fields).make(envs.make("bandit"))
    (group,) = learner.parameter_groups
    assert (group.learning_rate, group.max_gradient_norm) == (0.25, 10.0)
    optimizer = AdamOptions(learning_rate=1.0).make_optimizer(1, learner.parameter_groups)

    @jax.jit
    def first_update(key):
        params = learner.init(key)
        gradient = jax.tree.map(jnp.ones_like, params)
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    update = first_update(jax.random.key(0))
    sizes = {path_of(path): x for path, x in jax.tree_util.tree_leaves_with_path(update)}
    inside = {path for path in sizes if re.search(group.pattern, path)}
    assert inside
    assert inside != set(sizes)
    for path, size in sizes.items():
        if size.size:
            wanted = 0.25 if path in inside else 1.0
            np.testing.assert_allclose(size, -wanted, rtol=0.02, err_msg=path)


def test_options_of_step_sizes_that_are_not_learned_are_refused(small_config):
    for field, value in {"num_learned_steps": 2, "inner_lr_learning_rate": 0.1}.items():
        with pytest.raises(ValueError, match=f"learner.{field}={value} has no effect"):
            MAML(**{field: value}).validate(small_config())


@pytest.mark.parametrize("kind", ["scalar", "layer", "array", "parameter"])
def test_step_sizes_may_be_learned_for_each_inner_step(kind):
    """Two steps have sizes of their own; the third takes those of the second."""
    env = envs.make("point_robot", horizon=3)
    config = CAVIA(context_size=2, hidden_sizes=(3,), learn_inner_lr=kind, num_learned_steps=2)
    learner = config.make(env)
    meta_params = jax.jit(learner.init)(jax.random.key(0))
    sizes = meta_params["inner_lr"]
    assert all(x.shape[0] == 2 for x in sizes.values())
    moved = {group: x.at[1].add(-0.5) for group, x in sizes.items()}
    for steps_taken, wanted in ((0, 1.0), (1, 0.5), (2, 0.5)):
        state = learner.begin(meta_params, (), jax.random.key(0), 1)
        state = state.replace(num_steps=jnp.int32(steps_taken))
        found = config._step_sizes({**meta_params, "inner_lr": moved}, state)
        for path, size in found.items():
            assert jnp.shape(size) in ((), state.fast[path].shape)
            np.testing.assert_allclose(size, wanted, rtol=0.05)
    assert learner.metrics is not None
    assert learner.metrics({**meta_params, "inner_lr": moved})["inner_lr_min"] < 0.6


@pytest.mark.parametrize("scale", [-30.0, 30.0])
@pytest.mark.parametrize("name", learners.names())
def test_no_parameters_make_a_learned_quantity_illegal(name, scale):
    """Deviations and step sizes are above zero, and what is recalled or routed has shares from 0 to 1."""
    env = envs.make("bandit") if name == "symmetric_rl2" else envs.make("point_robot")
    config = learners.make(name)
    learns_sizes = hasattr(config, "learn_inner_lr")
    if learns_sizes:
        config = dataclasses.replace(config, learn_inner_lr="array")
    learner = config.make(env)
    timestep = blank_timestep(env)

    @jax.jit
    def act(key):
        params = jax.tree.map(lambda x: x + scale, learner.init(key))
        memory = () if learner.init_memory is None else learner.init_memory()
        state = learner.begin(params, memory, key, 2)
        both = jax.tree.map(lambda x: jnp.concatenate([x, x]), timestep)
        return params, learner.act(params, state, both)[0]

    params, out = act(jax.random.key(0))
    if hasattr(out.distribution, "log_std"):
        deviation = jnp.exp(out.distribution.log_std)
        assert jnp.all(jnp.isfinite(deviation) & (deviation > 0.0))
    entropy = out.distribution.entropy()
    assert jnp.all(jnp.isfinite(entropy))
    if learns_sizes:
        assert learner.metrics is not None
        assert learner.metrics(params)["inner_lr_min"] > 0.0
    if name == "varibad":
        assert jnp.all(jnp.abs(out.latent.log_std) <= 5.0)
    if name == "episodic":
        assert jnp.all((out.latent.share >= 0.0) & (out.latent.share <= 1.0))
    if name in ("modular", "tuned_modular"):
        np.testing.assert_allclose(out.latent.sum(-1), 1.0, rtol=1e-5)
        assert jnp.all(out.latent >= 0.0)


def test_all_quantities_of_a_legal_range_keep_a_gradient():
    """Beyond a clip a quantity would stay for ever; step sizes and deviations return."""
    for value in (-30.0, -1.0):
        sizes = {"all": jnp.float32(value)}
        gradient = jax.grad(lambda x: fast_parameters.step_sizes("scalar", x, 0.1)["all"])(sizes)
        assert gradient["all"] > 0.0
