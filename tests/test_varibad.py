"""VariBAD: what its decoders are shown, what trains its encoder, and that a belief narrows."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax.config import RuntimeConfig
from metarl_jax.core.distributions import DiagonalGaussian
from metarl_jax.learners.varibad import Steps, VariBAD, divergence_from_previous, steps_of
from metarl_jax.program import build as programs
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.step import make_init, make_meta_batch, sample_tasks


@pytest.fixture
def collected(small_config):
    """`collected(**options)`: the program, its first meta-parameters and one trial on the point robot."""

    def make(**options):
        config = small_config("varibad", "point_robot", num_tasks=2, num_rounds=2)
        learner = VariBAD(hidden_size=8, encoder_sizes=(8,), **options)
        spec = programs.make_spec(dataclasses.replace(config, learner=learner))
        state = jax.jit(make_init(spec))(jax.random.key(0))
        batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(1), 2, "train"))
        trials = jax.jit(batch.collect)(state.meta.params, jax.random.key(2))
        return spec, state.meta.params, batch, jax.tree.map(lambda x: x[0], trials)

    return make


def norms(gradient):
    """The norm of the gradient of each part of the networks."""
    return {
        name: float(sum(jnp.sum(x**2) for x in jax.tree.leaves(part))) ** 0.5
        for name, part in gradient["params"].items()
    }


def test_the_policy_trains_the_encoder_only_if_asked(collected):
    for trains in (False, True):
        _, meta_params, batch, trial = collected(policy_trains_encoder=trains)

        def policy_loss(params, trial=trial, batch=batch):
            out = batch.replay(params, (), trial, 0)
            return jnp.sum(out.distribution.log_prob(trial.rollout.action)) + jnp.sum(out.value)

        found = norms(jax.jit(jax.grad(policy_loss))(meta_params))
        assert found["policy"] > 1e-4
        assert (found["core"] > 1e-6) == trains
        assert (found["posterior_head"] > 1e-6) == trains
        assert found["reward_decoder"] == 0.0


def test_the_variational_loss_trains_encoder_and_decoders(collected):
    spec, meta_params, batch, trial = collected(transition_coefficient=1.0)

    def loss(params):
        return batch.aux_loss(params, (), batch.replay(params, (), trial, 0), trial)[0]

    found = norms(jax.jit(jax.grad(loss))(meta_params))
    trained = ("core", "encoder", "posterior_head", "reward_decoder", "transition_decoder")
    assert all(found[name] > 1e-6 for name in trained)
    assert found["policy"] == found["policy_head"] == found["value_head"] == 0.0
    # What it trains is optimised apart, and nothing else is: the policy's update does not depend on its weight.
    (group,) = spec.learner.parameter_groups
    assert {name for name in found if re.search(group.pattern, f"params/{name}")} == {
        name for name, norm in found.items() if norm > 0
    }


def test_decoders_and_encoder_see_what_the_last_action_of_an_episode_led_to(collected):
    spec, _, _, trial = collected()
    steps = steps_of(spec.env, trial)
    num_steps = spec.env.episode_length
    assert steps.valid.shape == (2 * num_steps, 4)
    np.testing.assert_array_equal(
        steps.next_observation[: num_steps - 1], steps.observation[1:num_steps]
    )
    led_to = trial.last.observation  # [K, E, O]
    np.testing.assert_array_equal(steps.next_observation[num_steps - 1 :: num_steps], led_to)
    # Within an episode an action leads to the observation that is seen next; over its end, to another one.
    timestep = trial.rollout.timestep
    np.testing.assert_array_equal(timestep.outcome[:, 1:], timestep.observation[:, 1:])
    np.testing.assert_array_equal(timestep.outcome[1, 0], led_to[0])
    assert (timestep.outcome[1, 0] != timestep.observation[1, 0]).any()
    np.testing.assert_allclose(steps.reward[0], trial.rollout.reward[0, 0])


def test_divergence_of_a_belief_that_stays_is_that_from_the_prior():
    belief = DiagonalGaussian(jnp.full((3, 1, 2), 0.5), jnp.full((3, 1, 2), -1.0))
    kl = divergence_from_previous(belief)
    # ½ (σ² + μ² − 1) − log σ for each of two entries
    expected = 2 * (0.5 * (np.exp(-2.0) + 0.25 - 1.0) + 1.0)
    np.testing.assert_allclose(kl[:, 0], [expected, 0.0, 0.0], rtol=1e-5, atol=1e-6)


def test_the_loss_falls_as_the_belief_learns_to_predict(small_config):
    """Every lever pays what its probability says, so that a trial tells more and more of the rewards to come."""
    config = small_config("varibad", "bandit", num_tasks=64, num_rounds=8, num_episodes=1)
    config = dataclasses.replace(
        config,
        learner=VariBAD(hidden_size=16, encoder_sizes=(16,), policy_sizes=(16,)),
        outer=dataclasses.replace(config.outer, learning_rate=5e-3),
        num_meta_steps=60,
        runtime=RuntimeConfig(num_devices=1),
    )
    program = metarl_jax.build(config)
    state, step = jax.jit(program.init)(jax.random.key(0)), jax.jit(program.step)
    losses = []
    for _ in range(60):
        state, metrics = step(state)
        losses.append(float(metrics["reconstruction_loss"]))
    # Eight rewards of variance ¼ give 1 where only their mean is known.
    assert np.mean(losses[-5:]) < 1.0
    assert np.mean(losses[-5:]) < 0.9 * losses[0]


def test_a_bernoulli_head_is_read_at_the_outcome():
    """The logit of the state that a step led to, from the latent task alone; its cross entropy with r > 0."""
    learner = VariBAD(hidden_size=4, encoder_sizes=(4,), reward_head="bernoulli", latent_size=2)
    env = metarl_jax.envs.make("grid_navi", size=3)
    module, made = learner.make_policy(env), learner.make(env)
    meta_params = jax.jit(made.init)(jax.random.key(0))
    states = jnp.eye(9)
    latent = jax.random.normal(jax.random.key(1), (2,))

    def logits(observation, action):
        steps = Steps(observation, action, jnp.zeros(9), states, jnp.ones(9, bool))
        spread = jnp.broadcast_to(latent, (9, 2))
        return module.apply(meta_params, spread, steps, method="decode")[0]

    found = logits(states, jnp.ones((9, 5)))
    np.testing.assert_array_equal(found, logits(states[::-1], jnp.zeros((9, 5))))
    assert len(set(np.round(np.asarray(found), 5))) == 9

    # All posteriors at the same point: the error is that of nine steps, each decoded from it.
    posteriors = DiagonalGaussian(jnp.broadcast_to(latent, (9, 1, 2)), jnp.full((9, 1, 2), -30.0))
    reward = jnp.where(jnp.arange(9) == 4, 1.0, -0.1)[:, None]
    steps = Steps(states[:, None], jnp.ones((9, 1, 5)), reward, states[:, None], reward > -1.0)
    error = learner._reconstruction(module, meta_params, posteriors, steps, jax.random.key(2))
    chance = 1.0 / (1.0 + np.exp(-np.asarray(found, np.float64)))
    entropy = -np.log(np.where(np.arange(9) == 4, chance, 1.0 - chance)).sum()
    np.testing.assert_allclose(error, entropy, rtol=1e-4)


def test_a_bernoulli_head_wants_raw_observations(small_config):
    config = small_config("varibad", "grid_navi", normalize_observations=True)
    with pytest.raises(ValueError, match=r"reward_head='bernoulli' .* choose normalize_observ"):
        VariBAD(reward_head="bernoulli").validate(config)


def test_decoders_predict_rewards_as_they_are_read(collected):
    """With rewards a thousand times as large and a scale of 0.001, the losses are the same."""
    spec, meta_params, _, trial = collected()

    def loss(scale, factor):
        sizes = {"hidden_size": 8, "encoder_sizes": (8,), "reward_input_scale": scale}
        learner = VariBAD(**sizes).make(spec.env)
        rollout = trial.rollout
        timestep = rollout.timestep
        timestep = timestep.replace(previous_reward=factor * timestep.previous_reward)
        rollout = rollout.replace(timestep=timestep, reward=factor * rollout.reward)
        seen = trial.replace(rollout=rollout)
        out = replay_trial(learner, meta_params, (), seen)
        return learner.aux_loss(meta_params, (), out, seen)[0]

    losses = [float(jax.jit(loss)(*numbers)) for numbers in ((1.0, 1.0), (1e-3, 1e3))]
    assert losses[0] > 0.0
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
