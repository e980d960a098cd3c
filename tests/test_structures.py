"""Structures: what a code does to a network, and what a modular learner tells of itself."""

import dataclasses
import json
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax
from metarl_jax import envs, learners
from metarl_jax.analysis.modules import learned_structure, mutual_information, skill_information
from metarl_jax.cli.main import main
from metarl_jax.core.spaces import Box, Discrete
from metarl_jax.envs.rotated_point_robot import RotatedPointRobot, RotatedTask
from metarl_jax.learners.hypernetwork import Hypernetwork, TunedHypernetwork
from metarl_jax.learners.modular import Modular, TunedModular, connection_gates
from metarl_jax.learners.sequence import blank_timestep
from metarl_jax.networks.structures import GeneratedPolicy, HyperInit, ModularPolicy
from metarl_jax.networks.structures.modular import connection_strength, route
from metarl_jax.program.build import make_spec
from metarl_jax.program.step import make_init, make_meta_batch, sample_tasks
from metarl_jax.runs.train import train


def generated(generation="full", hyper_init="bias", space=None):
    return GeneratedPolicy(
        action_space=space or Discrete(3),
        code_size=4,
        hidden_sizes=(8, 6),
        activation="tanh",
        log_std_init=0.0,
        generation=generation,
        hyper_init=hyper_init,
        has_value=True,
    )


def modular(routing="soft", num_active=2, discrete=False):
    return ModularPolicy(
        action_space=Box(2, -1.0, 1.0),
        num_layers=3,
        num_modules=4,
        module_size=5,
        activation="tanh",
        log_std_init=0.0,
        routing=routing,
        num_active=num_active,
        discrete_connections=discrete,
        has_value=True,
    )


GENERATIONS = ("full", "chunked", "low_rank", "film", "concat")
STRUCTURES = {name: generated(name) for name in GENERATIONS}
STRUCTURES |= {"modular": modular(), "top_k": modular("top_k")}


def perturbed(params):
    return jax.tree.map(
        lambda x, e: x + 0.3 * e, params, optax.tree.random_like(jax.random.key(9), params)
    )


def init(structure):
    code = structure.init_code(jax.random.key(0))
    return code, structure.init(jax.random.key(1), code, jnp.zeros((1, 5)))


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_code_for_all_steps_is_that_code_at_each(name, trees_close):
    structure = STRUCTURES[name]
    code, params = init(structure)
    params, observation = perturbed(params), jax.random.normal(jax.random.key(2), (7, 3, 5))
    together = structure.apply(params, code, observation)
    each = structure.apply(params, jnp.broadcast_to(code, (7, 3, len(code))), observation)
    trees_close(together, each, atol=1e-5)
    codes = code + jax.random.normal(jax.random.key(3), (7, 3, len(code)))
    own = structure.apply(params, codes, observation)
    one = structure.apply(params, codes[4, 1], observation[4, 1])
    trees_close(jax.tree.map(lambda x: x[4, 1], own), one, atol=1e-5)
    assert np.abs(own.value - together.value).max() > 1e-3


@pytest.mark.parametrize("name", GENERATIONS)
def test_bias_hyper_init_starts_from_an_ordinary_policy(name):
    """Whatever the code; each layer keeps the scale of its inputs, as an orthogonal one does."""
    observation = jax.random.normal(jax.random.key(2), (50, 5))
    codes = 3.0 * jax.random.normal(jax.random.key(3), (2, 4))
    for hyper_init, same in (("bias", True), ("normal", False)):
        structure = generated(name, hyper_init)
        _, params = init(structure)
        first, second = (structure.apply(params, code, observation) for code in codes)
        for one, other in ((first.value, second.value), (logits(first), logits(second))):
            assert (np.abs(one - other).max() < 1e-6) == same
    kernel = init(generated(name))[1]["params"]
    first = next(
        layer["kernel"] for key, layer in sorted(kernel.items()) if key.endswith("Dense_0")
    )
    np.testing.assert_allclose(first @ first.T, 2.0 * np.eye(5), atol=1e-4)


def logits(out):
    return out.distribution.logits


def test_route_keeps_the_largest_and_the_gradient_of_the_softmax():
    logits = jnp.array([0.3, -0.2, 1.0, 0.1])
    weights = route(logits, "top_k", 2)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(weights) > 1e-6), [0, 2])
    np.testing.assert_allclose(weights[2] / weights[0], np.exp(0.7), rtol=1e-4)

    def picked(routing):
        return jax.grad(lambda x: route(x, routing, 2) @ jnp.arange(4.0))(logits)

    np.testing.assert_allclose(picked("top_k"), picked("soft"), rtol=1e-5)


def test_a_cut_connection_passes_nothing():
    structure = modular()
    code, params = init(structure)
    params, observation = perturbed(params), jax.random.normal(jax.random.key(2), (6, 5))
    gates = init(structure)[1]["params"]["gates"]
    assert (connection_strength(gates) > 0).all()
    slope = jax.grad(lambda g: connection_strength(g).sum())(gates)
    assert (slope > 0.05).all(), "the policy must be able to move them"
    params["params"]["gates"] = gates.at[0, 1].set(-9.0)  # module 1 of the first layer reaches none
    before = structure.apply(params, code, observation).value
    params["params"]["kernels_0"] = params["params"]["kernels_0"].at[1].add(1.0)
    np.testing.assert_array_equal(structure.apply(params, code, observation).value, before)
    params["params"]["kernels_0"] = params["params"]["kernels_0"].at[0].add(1.0)
    assert np.abs(structure.apply(params, code, observation).value - before).max() > 1e-3


@pytest.mark.parametrize("name", ["tuned_hypernetwork", "tuned_modular"])
def test_only_the_code_moves_in_a_new_task(name):
    env = envs.make("point_robot")
    config = learners.get(name)()
    learner = config.make(env)
    meta_params = learner.init(jax.random.key(0))
    begun = learner.begin(meta_params, (), jax.random.key(1), 2).fast
    assert list(begun) == ["params/code"]
    assert config.num_adapted(env) == begun["params/code"].size == (25 if "hyper" in name else 8)
    assert sum(x.size for x in jax.tree.leaves(meta_params)) > 1000


@pytest.mark.parametrize(("name", "adapted"), [("rl2", 0), ("hypernetwork", 25), ("modular", 8)])
def test_an_inferred_code_counts_as_what_a_task_moves(name, adapted):
    assert learners.get(name)().num_adapted(envs.make("grid_navi")) == adapted


def test_maml_moves_all_and_anil_the_head():
    env = envs.make("point_robot")
    everything = learners.get("maml")().num_adapted(env)
    assert everything == (2 * 64 + 64) + (64 * 64 + 64) + (64 * 2 + 2) + 2
    assert learners.get("anil")().num_adapted(env) == (64 * 2 + 2) + 2


def collected(config):
    """A state, noisy meta-parameters, the meta-batch, and the trial of its first task."""
    spec = make_spec(config)
    state = jax.jit(make_init(spec))(jax.random.key(0))
    meta_params = perturbed(state.meta.params)  # a generator that starts at zero would hide much
    batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(1), 8, "train"))
    trials = jax.jit(batch.collect)(meta_params, jax.random.key(2))
    return state, meta_params, batch, jax.tree.map(lambda x: x[0], trials)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("modular", {"routing": "top_k"}),
        ("hypernetwork", {"generation": "chunked"}),
        pytest.param("tuned_modular", {"routing": "top_k"}, marks=pytest.mark.slow),
        pytest.param("hypernetwork", {"generation": "low_rank"}, marks=pytest.mark.slow),
        pytest.param("tuned_hypernetwork", {"generation": "film"}, marks=pytest.mark.slow),
    ],
)
def test_options_keep_the_ratio_of_replay_to_record_at_one(small_config, name, option):
    config = small_config(name, "point_robot")
    config = dataclasses.replace(config, learner=dataclasses.replace(config.learner, **option))
    state, meta_params, batch, trial = collected(config)
    out = jax.jit(lambda params: batch.replay(params, state.meta.memory, trial, 0))(meta_params)
    log_ratio = out.distribution.log_prob(trial.rollout.action) - trial.rollout.log_prob
    valid = trial.rollout.timestep.valid
    np.testing.assert_allclose(np.where(valid, log_ratio, 0.0), 0.0, atol=2e-4)


def test_balance_pushes_routing_away_from_modules_that_all_tasks_use(small_config):
    config = small_config("modular", "grid_navi", num_episodes=1)
    learner = config.learner.make(config.env)
    state, _, _, trial = collected(config)
    out = trial.rollout.policy
    weights = jnp.full_like(out.latent, 0.25)

    def imbalance(weights, load):
        answer = out.replace(latent=weights)
        return learner.aux_loss(state.meta.params, load, answer, trial)[1]["imbalance"]

    even = learner.init_memory()
    np.testing.assert_allclose(imbalance(weights, even), 1.0, rtol=1e-6)
    load = jnp.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    gradient = jax.grad(imbalance)(weights, load).sum(axis=(0, 1, 2))
    assert gradient[0, 0] > gradient[0, 1] > 0
    np.testing.assert_allclose(gradient[1], gradient[1, 0])


def test_the_memory_of_a_modular_run_is_its_mean_routing(small_config):
    config = small_config("modular", "grid_navi", num_episodes=1)
    program = metarl_jax.build(config)
    state = jax.jit(program.init)(jax.random.key(0))
    state, _ = jax.jit(program.step)(state)
    np.testing.assert_allclose(state.meta.memory.sum(axis=-1), 1.0, rtol=1e-5)
    assert np.abs(state.meta.memory - 0.25).max() > 1e-5


def test_sparsity_cost_closes_gates(small_config):
    config = small_config("modular", "grid_navi", num_episodes=1)
    config = dataclasses.replace(config, learner=Modular(sparsity_coefficient=10.0))
    program = metarl_jax.build(config)
    state = jax.jit(program.init)(jax.random.key(0))
    before = connection_gates(state.meta.params)
    state, _ = jax.jit(program.step)(state)
    assert (connection_gates(state.meta.params) < before).all()


def test_discrete_connections_are_cut_or_whole_and_learn_no_more(small_config):
    gates = jnp.array([-0.5, -0.11, -0.1, 0.0, 0.08, 0.5])
    np.testing.assert_array_equal(connection_strength(gates) > 0, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(connection_strength(gates, True), [0, 0, 1, 1, 1, 1])
    structure = modular(discrete=True)
    code, params = init(structure)
    observation = jax.random.normal(jax.random.key(2), (6, 5))

    def value(params):
        return structure.apply(params, code, observation).value.sum()

    gradient = jax.grad(value)(perturbed(params))["params"]
    assert not gradient["gates"].any()
    assert gradient["kernels_1"].any()

    config = small_config("modular", "grid_navi", num_episodes=1)
    learner = Modular(discrete_connections=True)
    program = metarl_jax.build(dataclasses.replace(config, learner=learner))
    state = jax.jit(program.init)(jax.random.key(0))
    after, _ = jax.jit(program.step)(state)
    before = connection_gates(state.meta.params)
    np.testing.assert_array_equal(connection_gates(after.meta.params), before)
    assert (learned_structure(program, after, num_tasks=4).strength == 1).all()
    with pytest.raises(ValueError, match=r"sparsity_coefficient=0.1 has no effect .*: choose 0"):
        Modular(discrete_connections=True, sparsity_coefficient=0.1).validate(small_config())


def test_learned_step_sizes_of_a_code_are_in_units_of_the_first(small_config, trees_close):
    """An optimizer moves all numbers by as much; step sizes of 10 would hardly change."""
    fixed = TunedModular(inner_lr=10.0)
    learned = dataclasses.replace(fixed, learn_inner_lr="parameter")
    config = dataclasses.replace(small_config("tuned_modular", "point_robot"), learner=learned)
    _, meta_params, _, trial = collected(config)
    learner, fixed = (options.make(config.env) for options in (learned, fixed))
    np.testing.assert_array_equal(
        learner.init(jax.random.key(0))["inner_lr"]["params/code"], np.ones(8)
    )
    sizes = jnp.ones(8)
    meta_params["inner_lr"]["params/code"] = sizes
    rollout = jax.tree.map(lambda x: x[0], trial.rollout)

    def adapted(learner, meta_params):
        begun = learner.begin(meta_params, (), trial.key, rollout.reward.shape[-1])
        after = learner.adapt(meta_params, begun, rollout)
        return after.fast["params/code"] - begun.fast["params/code"]

    moved = adapted(learner, meta_params)
    assert np.abs(moved).max() > 1e-4
    trees_close(moved, adapted(fixed, {"policy": meta_params["policy"]}), atol=1e-6)
    meta_params["inner_lr"]["params/code"] = sizes.at[0].set(3.0)
    trees_close(adapted(learner, meta_params), moved.at[0].multiply(3.0), atol=1e-6)


@pytest.mark.parametrize("hyper_init", get_args(HyperInit))
def test_inferred_codes_are_short_at_first_whatever_the_generator(hyper_init):
    env = envs.make("grid_navi")
    learner = Hypernetwork(hyper_init=hyper_init).make(env)
    meta_params = learner.init(jax.random.key(0))
    state = learner.begin(meta_params, (), jax.random.key(1), 1)
    timestep = blank_timestep(env)
    for key in jax.random.split(jax.random.key(2), 10):
        observation = jax.random.normal(key, timestep.observation.shape)
        out, state = learner.act(meta_params, state, timestep.replace(observation=observation))
    assert 0.02 < np.linalg.norm(out.latent) < 0.5


def test_more_active_modules_than_there_are_is_an_error(small_config):
    config = small_config("modular", "grid_navi")
    config = dataclasses.replace(config, learner=Modular(routing="top_k", num_active=5))
    with pytest.raises(ValueError, match=r"learner.num_active=5 .* choose 4 or fewer"):
        metarl_jax.build(config)


def test_mutual_information_of_known_pairs():
    x = np.repeat(np.arange(4), 4)
    assert mutual_information(x, x, 4) == pytest.approx(2.0)
    assert mutual_information(x, np.tile(np.arange(4), 4), 4) == pytest.approx(0.0)
    assert mutual_information(x // 2, x, 2) == pytest.approx(1.0)


def test_routing_that_knows_the_skill_tells_more_than_shuffled_skills():
    skill = np.random.default_rng(0).integers(0, 4, 200)
    routing = np.zeros((200, 2, 4))
    routing[:, 0, 0] = 1.0  # a layer that tells nothing
    routing[np.arange(200), 1, skill] = 1.0
    found = skill_information(routing, skill)
    assert found["skill_information"] == pytest.approx(found["skill_entropy"])
    assert found["shuffled_information"] < 0.2


@pytest.mark.parametrize("skill", range(4))
def test_the_oracle_of_the_rotated_robot_walks_straight(skill):
    env = RotatedPointRobot()
    task = RotatedTask(jnp.int32(skill), jnp.array([0.32, -0.45]))
    state, total = env.reset(task, jax.random.key(0)), 0.0
    for _ in range(env.episode_length):
        action = env.oracle_action(task, state.observation)
        state = env.step(task, state, action)
        total += float(state.reward)
    np.testing.assert_allclose(state.observation, [0.32, -0.45, 0.0, 0.0], atol=1e-6)
    left = np.maximum(np.array([[0.32, 0.45]]) - 0.1 * np.arange(1, 21)[:, None], 0.0)
    assert total == pytest.approx(-np.linalg.norm(left, axis=-1).sum(), abs=1e-4)
    moved = env.step(task, env.reset(task, jax.random.key(0)), jnp.array([0.1, 0.0]))
    expected = [[0.1, 0.0], [0.0, 0.1], [-0.1, 0.0], [0.0, -0.1]][skill]
    np.testing.assert_allclose(moved.observation[:2], expected, atol=1e-6)


def test_metarl_structure_prints_saves_and_draws(small_config, tmp_path, capsys):
    config = small_config("modular", "rotated_point_robot", num_meta_steps=1, num_episodes=1)
    train(config, tmp_path / "run")
    assert main(["structure", str(tmp_path / "run"), "--num-tasks", "6"]) == 0
    printed = capsys.readouterr().out
    assert "checkpoint last, step 1" in printed
    assert "16 of 16 connections" in printed
    assert "bits of the skill" in printed
    for name in ("structure.json", "modules.png", "routing.png"):
        assert (tmp_path / "run" / name).stat().st_size > 100
    saved = json.loads((tmp_path / "run" / "structure.json").read_text())
    np.testing.assert_allclose(np.sum(saved["routing"], axis=-1), 1.0, rtol=1e-4)
    evaluation = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert evaluation["parameters"]["adapted"] == 8
    assert evaluation["parameters"]["all"] > 10_000


def test_metarl_structure_wants_modules(small_config, tmp_path, capsys):
    config = small_config("rl2", "grid_navi", num_meta_steps=1, num_episodes=1)
    train(config, tmp_path / "run")
    assert main(["structure", str(tmp_path / "run")]) == 2
    assert "learner='rl2' has no modules" in capsys.readouterr().err


def test_a_tuned_code_can_start_anywhere():
    """Its start is a meta-parameter: with the generator at zero a code of zeros could never move."""
    learner = TunedHypernetwork().make(envs.make("point_robot"))
    begun = learner.begin(learner.init(jax.random.key(0)), (), jax.random.key(1), 2)
    assert np.abs(begun.fast["params/code"]).max() > 0.1


def test_the_source_of_hypernetworks_keeps_actor_and_critic_apart():
    """Each has generated layers of its own on one shared embedding, and the code is bounded."""
    env = envs.make("point_robot")
    options = {"policy_sizes": (5, 4), "hidden_size": 8, "code_size": 3, "encoder_sizes": (4,)}
    learner = Hypernetwork(**options, embedding_size=6, separate_value=True, bounded_code=True)
    made = learner.make(env)
    params = jax.tree.map(lambda x: x + 0.3, jax.jit(made.init)(jax.random.key(0)))
    state = made.begin(params, (), jax.random.key(0), 1)

    def outputs(params):
        out, _ = made.act(params, state, blank_timestep(env))
        return out.distribution.mean.sum(), out.value.sum(), out.latent

    assert np.abs(outputs(params)[2]).max() < 1.0
    of_mean, of_value = jax.jit(jax.jacrev(lambda p: outputs(p)[:2]))(params)

    def moved(gradient):
        layers = gradient["params"]["structure"]
        return {name for name, part in layers.items() if any(map(jnp.any, jax.tree.leaves(part)))}

    hidden = {f"FullDense_{index}" for index in range(6)}
    assert moved(of_mean) & moved(of_value) == {"Dense_0"}
    assert (moved(of_mean) | moved(of_value)) - {"Dense_0"} == hidden
    assert params["params"]["structure"]["Dense_0"]["kernel"].shape == (2, 6)


def test_a_tuned_hypernetwork_has_no_value_to_keep_apart(small_config):
    learner = learners.make("tuned_hypernetwork", separate_value=True)
    with pytest.raises(ValueError, match=r"separate_value=True has no effect .* leave it out"):
        learner.validate(small_config("tuned_hypernetwork"))
