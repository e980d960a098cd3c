"""The task that a learner predicts at every step, as a loss beside the policy's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import envs, presets
from metarl_jax.config import validate
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.envs.told_task import task_size
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.symmetric import SymmetricRL2
from metarl_jax.program.build import build

CONFIG = dataclasses.replace(
    presets.get("rl2-bandit"),
    env=envs.make("bandit", num_arms=3),
    learner=RL2(core="min_gru", hidden_size=4, task_prediction_coefficient=0.5),
    num_rounds=5,
    num_episodes=2,
)


def test_loss_is_the_squared_error_of_the_task_and_reaches_the_core_alone():
    program = build(CONFIG)
    made = program.learner

    @jax.jit
    def lived():
        state, task = program.init(make_key(0)), program.env.sample(make_key(1))
        trial = program.trial(state, task, make_key(2))
        valid = trial.rollout.timestep.valid.at[3:].set(False)
        timestep = trial.rollout.timestep.replace(valid=valid)
        trial = trial.replace(rollout=trial.rollout.replace(timestep=timestep))
        params = state.meta.params

        def loss(params):
            timesteps = jax.tree.map(lambda x: x[:, 0], timestep)
            out, _ = made.unroll(params, made.begin(params, (), make_key(3), 2), timesteps)
            out = jax.tree.map(lambda x: x[:, None], out)
            return *made.aux_loss(params, (), out, trial), out.latent

        def loss_and_others(params):
            value, *others = loss(params)
            return value, others

        return trial, task, jax.value_and_grad(loss_and_others, has_aux=True)(params)

    trial, task, ((loss, (metrics, predicted)), gradient) = lived()
    described = np.asarray(program.env.oracle_observation(task))
    np.testing.assert_allclose(trial.task, described)
    assert predicted.shape == (5, 1, 2, len(described))
    errors = 0.5 * np.mean((np.asarray(predicted)[:3] - described) ** 2, axis=-1)
    assert metrics["task_loss"] == pytest.approx(errors.sum() / 10, rel=1e-4)
    assert loss == pytest.approx(0.5 * metrics["task_loss"])
    gradient = gradient["params"]
    for part in ("core", "task_head"):
        assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(gradient[part]))
    for part in ("policy_head", "value_head"):
        assert not any(jnp.abs(x).max() > 0 for x in jax.tree.leaves(gradient[part]))


def test_nothing_is_predicted_unless_asked_for():
    made = RL2(hidden_size=4).make(CONFIG.env)
    assert made.aux_loss is None
    assert not made.predicts_task
    assert "task_head" not in jax.eval_shape(made.init, make_key(0))["params"]


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [("job_scheduling", {"variant": "classes"}, 9), ("bandit", {"num_arms": 3}, 3)],
)
def test_the_task_has_as_many_entries_as_the_environment_describes(name, options, size):
    assert task_size(envs.make(name, **options)) == size


def test_another_learner_is_refused():
    learner = SymmetricRL2(task_prediction_coefficient=0.1)
    with pytest.raises(UserError, match=r"coefficient=0.1 does not fit learner 'symmetric_rl2'"):
        validate(dataclasses.replace(CONFIG, learner=learner))
