"""What `metarl render` records of trials: episodes by steps, whole trials, and what learners say of themselves."""

import dataclasses

import jax
import numpy as np
import pytest

import metarl_jax
from metarl_jax.core.errors import UserError
from metarl_jax.core.scenes import Circle, Rectangle
from metarl_jax.viewer.episodes import record

SAID = {
    "maml": {},
    "rl2": {"recurrent state": 128},
    "varibad": {"belief, mean": 5, "belief, deviation": 5},
    "modular": {"routing, layer 1": 4, "routing, layer 2": 4},
    "tuned_modular": {"routing, layer 1": 4, "routing, layer 2": 4},
    "key_value": {"usage of slots": 16, "recurrent state": 128},
    "episodic": {
        "recall, familiarity": 1,
        "recall, share of the state": 1,
        "recurrent state": 128,
    },
    "symmetric_rl2": {},
}
"""Number of entries of what a learner says of itself, by name."""


def one_trial(program, state):
    key = jax.random.key(1)
    return program.trial(state, program.env.sample(key), key, record_states=True)


@pytest.mark.parametrize("learner", SAID)
def test_what_learners_say_of_themselves(small_config, learner):
    program = metarl_jax.build(
        small_config(learner, "bandit" if learner == "symmetric_rl2" else "grid_navi")
    )
    state = jax.eval_shape(program.init, jax.random.key(0))
    trial = jax.eval_shape(lambda state: one_trial(program, state), state)
    shape = trial.rollout.reward.shape
    expected = {name: (*shape, entries) for name, entries in SAID[learner].items()}
    assert {name: x.shape for name, x in trial.described.items()} == expected


def test_nothing_is_said_unless_states_are_recorded(small_config):
    program = metarl_jax.build(small_config("rl2", "bandit"))
    state = jax.eval_shape(program.init, jax.random.key(0))
    key = jax.random.key(0)
    trial = jax.eval_shape(lambda s: program.trial(s, program.env.sample(key), key), state)
    assert trial.described is None
    assert trial.env_states is None


def test_a_belief_is_that_of_its_step(small_config):
    config = small_config("varibad", "grid_navi", num_rounds=2, num_episodes=2)
    program = metarl_jax.build(config)
    trial = jax.jit(lambda: one_trial(program, program.init(jax.random.key(0))))()
    latent = trial.rollout.policy.latent
    np.testing.assert_array_equal(trial.described["belief, mean"], latent.mean)
    np.testing.assert_allclose(
        trial.described["belief, deviation"], np.exp(latent.log_std), rtol=1e-6
    )


def test_the_trial_of_a_bandit_is_one_picture(small_config):
    config = small_config("rl2", "bandit", num_rounds=6, num_episodes=2)
    program = metarl_jax.build(config)
    ((trial,),) = record(program, program.init(jax.random.key(0)), num_tasks=1)
    assert trial.title("episode") == "trial"
    assert len(trial.rewards) == len(trial.scene.frames) == 6
    assert trial.total == pytest.approx(sum(trial.rewards))
    pulls = [s for s in trial.scene.background if isinstance(s, Circle)]
    assert len(pulls) == 6
    if len(set(trial.rewards)) > 1:
        assert [s.color == "good" for s in pulls] == [reward > 0 for reward in trial.rewards]
    bars = [s for s in trial.scene.background if isinstance(s, Rectangle)][1:]
    assert [s.color == "goal" for s in bars].count(True) == 1
    assert trial.described["recurrent state"].shape == (6, 128)


def test_episodes_of_a_trial_by_steps_are_drawn_one_by_one(small_config):
    """12 steps of episodes of 5: two whole ones, and the beginning of a third."""
    config = small_config("rl2", "grid_navi", num_rounds=4, num_steps=12, num_episodes=2)
    program = metarl_jax.build(config)
    state = program.init(jax.random.key(0))
    ((*episodes,),) = record(program, state, num_tasks=1)
    assert [(e.round, len(e.rewards), len(e.scene.frames)) for e in episodes] == [
        (1, 5, 5),
        (2, 5, 5),
        (3, 2, 2),
    ]
    for episode in episodes:
        agent = next(s for s in episode.scene.frames[0] if isinstance(s, Circle))
        assert (agent.x, agent.y) == (0.5, 0.5)  # every episode begins in the corner
    with pytest.raises(UserError, match=r"rounds=4: a trial of num_steps=12 began 3 episodes only"):
        record(program, state, num_tasks=1, rounds=[4])


def test_episodes_are_those_of_the_trial(small_config):
    """By rounds: those asked for, the first of the parallel episodes, in the order that was asked for."""
    config = small_config("rl2", "grid_navi", num_episodes=2)
    config = dataclasses.replace(
        config, evaluation=dataclasses.replace(config.evaluation, deterministic=True)
    )
    program = metarl_jax.build(config)
    state = program.init(jax.random.key(0))
    (every,) = record(program, state, num_tasks=1)
    (some,) = record(program, state, num_tasks=1, rounds=[3, 1])
    assert [e.round for e in every] == [1, 2, 3]
    assert [e.round for e in some] == [3, 1]
    for shown, whole in zip(some, (every[2], every[0]), strict=True):
        assert shown.scene == whole.scene
        assert shown.rewards == whole.rewards
        for name, values in shown.described.items():
            np.testing.assert_allclose(values, whole.described[name], atol=1e-5)
