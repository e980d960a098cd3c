"""Observations of any structure, action masks, metrics of the environment, time-outs, and trials by steps."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.analysis.timed_programs import make_simulate
from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig, validate
from metarl_jax.core.advantages import AdvantageConfig, gae
from metarl_jax.core.distributions import Categorical
from metarl_jax.core.errors import UserError
from metarl_jax.core.normalize import normalize_floats
from metarl_jax.core.spaces import Array, Discrete, Integers, flat_size, flatten, space_of
from metarl_jax.defaults import default_config
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.envs.optional import has_oracle, knows_regret
from metarl_jax.envs.wrapper import Wrapper
from metarl_jax.networks.encoders import make_encoder
from metarl_jax.program.build import build, make_spec
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.step import mean_by_round
from metarl_jax.runs.progress import held_out_score

SIZE = 4


@dataclasses.dataclass(frozen=True)
class Hall(TaskDistribution):
    """Walk in a hall of tiles to the marked one; a wall is no way, and success is reported."""

    name: ClassVar[str] = "hall"
    LENGTH: ClassVar[int] = 6

    @property
    def episode_length(self):
        return self.LENGTH

    @property
    def action_space(self):
        return Discrete(3)

    @property
    def observation_space(self):
        return {"tiles": Integers((3, SIZE), 3), "time": Array((1,))}

    def sample(self, key, split="train"):
        return jax.random.randint(key, (), 1, SIZE)

    def reset(self, task, key):
        start = jax.random.randint(key, (), 0, SIZE - 1)
        return self._state(start, jnp.int32(0), 0.0, False)

    def step(self, task, state, action):
        place, time = state.simulator
        place = jnp.clip(place + action - 1, 0, SIZE - 1)
        return self._state(place, time + 1, (place == task).astype(jnp.float32), False)

    def action_mask(self, task, state):
        place, _ = state.simulator
        return jnp.stack([place > 0, jnp.bool_(True), place < SIZE - 1])

    def _state(self, place, time, reward, done):
        tiles = jnp.zeros((3, SIZE), jnp.int32).at[1, place].set(2)
        seen = {"tiles": tiles, "time": time[None] / self.LENGTH}
        metrics = {"success": reward, "place": 1.0 * place}
        return EnvState(seen, reward, done, (place, time), metrics)


@dataclasses.dataclass(frozen=True)
class Falling(TaskDistribution):
    """Stay up as long as you can: a push of the wrong sign ends the episode, and so does the time."""

    name: ClassVar[str] = "falling"
    horizon: int = 12

    @property
    def episode_length(self):
        return self.horizon

    @property
    def action_space(self):
        return Discrete(2)

    def sample(self, key, split="train"):
        return jax.random.uniform(key, (), minval=0.3, maxval=0.8)

    def reset(self, task, key):
        return EnvState(jax.random.uniform(key, (1,), minval=-0.1, maxval=0.1), 0.0, False)

    def step(self, task, state, action):
        lean = state.observation + jnp.where(action == 1, 0.2, -0.2) * (1 + task)
        return EnvState(lean, 1.0, jnp.abs(lean[0]) > 0.5)


SMALL = {
    "maml": {"hidden_sizes": (8,)},
    "rl2": {"hidden_size": 8, "encoder_sizes": (8,)},
    "varibad": {
        "hidden_size": 8,
        "encoder_sizes": (8,),
        "policy_sizes": (8,),
        "decoder_sizes": (8,),
    },
    "hypernetwork": {"hidden_size": 8, "encoder_sizes": (8,), "policy_sizes": (8,), "code_size": 3},
    "episodic": {"hidden_size": 8, "encoder_sizes": (8,), "capacity": 16},
    "key_value": {"hidden_size": 8, "encoder_sizes": (8,)},
    "symmetric_rl2": {"hidden_size": 4, "encoder_sizes": (4,)},
    "modular": {"hidden_size": 8, "encoder_sizes": (8,), "module_size": 8},
    "tuned_modular": {"module_size": 8},
    "tuned_hypernetwork": {"policy_sizes": (8,), "code_size": 3},
    "anil": {"hidden_sizes": (8,)},
    "cavia": {"hidden_sizes": (8,)},
    "meta_sgd": {"hidden_sizes": (8,)},
}
QUICK = ("maml", "rl2")
EACH = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SMALL]


def small(learner: str, env: TaskDistribution, **changes) -> Config:
    config = default_config(learner, env)
    return dataclasses.replace(
        config,
        learner=dataclasses.replace(config.learner, **SMALL[learner]),
        **{
            "num_tasks": 4,
            "num_rounds": 3,
            "num_episodes": 2,
            "evaluation": EvaluationConfig(num_tasks=2),
            "runtime": RuntimeConfig(num_devices=1),
            **changes,
        },
    )


def collected(config: Config):
    program = build(config)
    state = program.init(jax.random.key(0))
    task = config.env.sample(jax.random.key(1))
    trial = jax.jit(program.trial)(state, task, jax.random.key(2))
    meta = state.meta
    out = jax.jit(lambda params: replay_trial(program.learner, params, meta.memory, trial))(
        meta.params
    )
    return program, state, trial, out


def ratios(trial, out) -> np.ndarray:
    rollout = trial.rollout
    ratio = jnp.exp(out.distribution.log_prob(rollout.action) - rollout.log_prob)
    return np.asarray(jnp.where(rollout.timestep.valid, ratio, 1.0))


@pytest.mark.parametrize("learner", EACH)
def test_masked_actions_have_probability_zero(learner):
    """In acting and in replay, where the observation is a dictionary with a grid of integers."""
    _, _, trial, out = collected(small(learner, Hall(), normalize_observations=True))
    mask = np.asarray(trial.rollout.timestep.action_mask)
    assert 0 < (~mask).sum() < mask.size
    for distribution in (trial.rollout.policy.distribution, out.distribution):
        probability = np.asarray(jax.nn.softmax(distribution.logits))
        assert (probability[~mask] == 0.0).all()
        assert np.isfinite(distribution.entropy()).all()
    taken = np.take_along_axis(mask, np.asarray(trial.rollout.action)[..., None], -1)
    assert taken.all()
    np.testing.assert_allclose(ratios(trial, out), 1.0, atol=2e-4)
    # The tiles are integers as they were, and what the environment reports is there for each episode.
    assert trial.rollout.timestep.observation["tiles"].dtype == jnp.int32
    reward, place = trial.rollout.reward, trial.metrics.last["place"]
    np.testing.assert_allclose(trial.metrics.mean["success"], reward.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(trial.metrics.last["success"], reward[:, -1])
    tiles = trial.last.observation["tiles"][:, :, 1]  # [K, E, SIZE]
    np.testing.assert_array_equal(tiles.argmax(axis=-1), place)


def test_a_masked_distribution_has_finite_derivatives():
    mask = jnp.array([True, False, True])

    def numbers(logits):
        p, q = Categorical(logits).masked(mask), Categorical(2.0 * logits).masked(mask)
        return jnp.stack([p.entropy(), p.kl(q), p.log_prob(jnp.int32(2))])

    values, slopes = numbers(jnp.zeros(3)), jax.jacobian(numbers)(jnp.array([0.3, 5.0, -0.2]))
    np.testing.assert_allclose(values, [np.log(2.0), 0.0, -np.log(2.0)], atol=1e-6)
    assert np.isfinite(slopes).all()
    np.testing.assert_array_equal(slopes[:, 1], 0.0)


def test_a_step_of_training_reports_what_the_environment_reports():
    config = small("rl2", Hall(), evaluation=EvaluationConfig(num_tasks=2, select_by="success"))
    config = dataclasses.replace(
        config, learner=dataclasses.replace(config.learner, encoder="grid")
    )
    program = build(config)
    state, metrics = jax.eval_shape(program.step, jax.eval_shape(program.init, jax.random.key(0)))
    assert metrics["env/success"].shape == metrics["env/place_mean"].shape == (3,)
    measured = jax.eval_shape(program.measure, state, jax.random.key(1))
    assert measured["env/success"].shape == measured["return"].shape == (2, 3)


@pytest.mark.parametrize(
    ("select_by", "score"),
    [("success", 2.0), ("-success", -2.0), ("-place_mean", -5.0), ("return", 9.0)],
)
def test_checkpoints_are_ranked_by_what_is_chosen(select_by, score):
    config = small("rl2", Hall(), evaluation=EvaluationConfig(num_tasks=2, select_by=select_by))
    measured = {
        "return": np.full((2, 3), 9.0),
        "env/success": np.full((2, 3), 2.0),
        "env/place_mean": np.full((2, 3), 5.0),
    }
    assert held_out_score(build(config), measured) == score


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"evaluation": EvaluationConfig(select_by="-speed")},
            "select_by='-speed'.*success, place",
        ),
        ({"evaluation": EvaluationConfig(select_by="speed")}, "select_by='speed'.*success, place"),
        ({"num_steps": 20, "learner": "maml"}, "num_steps=20 does not fit learner 'maml'"),
        ({"num_steps": 5}, "num_steps=5 is less than the 6 steps that an episode"),
        (
            {"advantage": AdvantageConfig(baseline="none", timeout="bootstrap")},
            "timeout='bootstrap' needs advantage.baseline='value'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    changes = dict(changes)
    with pytest.raises(UserError, match=message):
        validate(small(changes.pop("learner", "rl2"), Hall(), **changes))


def test_spaces():
    space = {"b": Integers((2,), 3), "a": Array((2, 2)), "c": Integers((), 2, "bool")}
    seen = {"b": jnp.array([[2, 0]]), "a": jnp.ones((1, 2, 2)), "c": jnp.array([True])}
    assert flat_size(space) == 12
    np.testing.assert_array_equal(flatten(space, seen), [[1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1]])
    assert space_of({"a": jnp.ones((2, 2)), "c": jnp.array(True)}) == {
        "a": Array((2, 2)),
        "c": Integers((), 2, "bool"),
    }
    with pytest.raises(UserError, match=r"observation\['n'\] is int32: define observation_space"):
        space_of({"n": jnp.int32(3)})
    with pytest.raises(UserError, match="encoder='grid' needs Integers of shape"):
        make_encoder("grid", Array((3,)))
    features = make_encoder("grid", Integers((5, 5, 2), 4))
    tiles = jnp.zeros((7, 5, 5, 2), jnp.int32)
    params = features.init(jax.random.key(0), tiles)
    assert features.apply(params, tiles).shape == (7, 2 * 2 * 64)


def test_statistics_leave_integers_alone():
    program = build(small("rl2", Hall(), normalize_observations=True))
    state = jax.eval_shape(program.init, jax.random.key(0))
    assert state.meta.normalizer.mean.shape == (1,)
    statistics = program.init(jax.random.key(0)).meta.normalizer
    statistics = statistics.replace(mean=jnp.array([0.5]), count_low=jnp.uint32(9))
    seen = {"tiles": jnp.full((2, 3, SIZE), 2), "time": jnp.full((2, 1), 0.5)}
    out = normalize_floats(statistics, seen, num_leading=1)
    np.testing.assert_array_equal(out["tiles"], 2)
    np.testing.assert_array_equal(out["time"], 0.0)


def by_steps(num_rounds=12, num_steps=36, **changes):
    changes = {"num_episodes": 3, "num_rounds": num_rounds, "num_steps": num_steps, **changes}
    config = small("rl2", Falling(), **changes)
    advantage = dataclasses.replace(config.advantage, credit="episode")
    return dataclasses.replace(config, advantage=advantage)


def test_a_trial_by_steps_loses_no_step_and_is_replayed():
    _, _, trial, out = collected(by_steps(num_rounds=36))
    timestep = trial.rollout.timestep
    assert timestep.valid.all()
    np.testing.assert_allclose(ratios(trial, out), 1.0, atol=2e-4)
    index = np.asarray(trial.episode_index[0])
    first = np.asarray(timestep.is_first[0])
    np.testing.assert_array_equal(first[1:], index[1:] > index[:-1])
    assert first[0].all()
    assert trial.rollout.terminated.any()
    # Advantages end with the episode: those of a last step are of its reward alone.
    rollout, is_last = trial.rollout, np.append(first[1:], np.zeros((1, 3), bool), axis=0)
    delta = np.asarray(rollout.target[0])
    scaled = by_steps().advantage.reward_scaling
    np.testing.assert_allclose(delta[is_last], scaled, rtol=1e-5)


def test_returns_by_episode_are_those_of_the_same_keys_by_episodes():
    """A policy without memory in the same first states, with the same noise: the same episodes, one after another."""
    config = by_steps(num_rounds=4, num_steps=40)
    one = dataclasses.replace(config, learner=dataclasses.replace(config.learner, hidden_size=8))
    program = build(one)
    learner = program.learner

    def forgetful(meta_params, inner_state, timestep):
        blank = learner.begin(meta_params, (), jax.random.key(0), 3)
        nothing = jnp.zeros_like
        seen = timestep.replace(
            previous_action=nothing(timestep.previous_action),
            previous_reward=nothing(timestep.previous_reward),
        )
        out, _ = learner.act(meta_params, blank, seen)
        return out, inner_state

    def returns(num_steps):
        spec = make_spec(dataclasses.replace(one, num_steps=num_steps))
        spec = spec._replace(learner=learner._replace(act=forgetful, unroll=None))
        from metarl_jax.program.rollout import collect_trial

        trial = jax.jit(
            lambda meta, task, key: collect_trial(
                spec.env,
                spec.learner,
                spec.advantages,
                meta,
                task,
                key,
                num_rounds=4,
                num_episodes=3,
                num_steps=num_steps,
            )
        )(program.init(jax.random.key(0)).meta, jnp.float32(0.4), jax.random.key(5))
        return np.asarray(trial.episode_returns()), np.asarray(trial.is_finished())

    whole, _ = returns(None)
    found, finished = returns(40)
    assert finished[0].all()
    np.testing.assert_array_equal(found[finished], whole[finished])


def test_means_of_a_trial_by_steps_are_over_finished_episodes():
    _, _, trial, _ = collected(by_steps(num_rounds=30))
    trials = jax.tree.map(lambda x: x[None], trial)
    mean = np.asarray(mean_by_round(trials.episode_returns(), trials, axes=(0, 2)))
    finished, returns = np.asarray(trial.is_finished()), np.asarray(trial.episode_returns())
    assert np.isnan(mean[-1])
    assert not finished[-1].any()
    np.testing.assert_allclose(mean[0], returns[0][finished[0]].mean())


def test_values_at_a_time_out():
    """δ of the last step is r + γ v(last) − v where the episode was cut, and r − v where it terminated."""
    reward, value = jnp.ones((3, 2)), jnp.full((3, 2), 2.0)
    valid = jnp.array([[True, True], [True, True], [True, False]])
    last = jnp.array([5.0, 0.0])
    advantage = gae(reward, value, valid, 0.9, 0.0, None, last)
    np.testing.assert_allclose(advantage[2, 0], 1 + 0.9 * 5 - 2)
    np.testing.assert_allclose(advantage[:, 1], [1 + 0.9 * 2 - 2, 1 - 2, 0], rtol=1e-6)


def test_a_horizon_that_is_no_part_of_the_task_is_bootstrapped():
    @dataclasses.dataclass(frozen=True)
    class Endless(Falling):
        name: ClassVar[str] = "endless"
        horizon_is_task: ClassVar[bool] = False

    def targets(env, **changes):
        config = small("rl2", env, **changes)
        advantage = dataclasses.replace(config.advantage, credit="episode", gae_lambda=1.0)
        _, _, trial, _ = collected(dataclasses.replace(config, advantage=advantage))
        return config, trial

    config, cut = targets(Endless(horizon=2))
    _, ended = targets(Falling(horizon=2))
    assert ended.last_value is None
    alive = np.asarray(cut.last.valid)
    assert alive.any()
    np.testing.assert_array_equal(np.asarray(cut.last_value)[~alive], 0.0)
    gained = np.asarray(cut.rollout.target[:, -1] - ended.rollout.target[:, -1])
    expected = config.advantage.discount * np.asarray(cut.last_value)
    np.testing.assert_allclose(gained[alive], expected[alive], rtol=1e-4, atol=1e-6)


def test_a_policy_acts_as_the_program_does():
    """In a loop of one's own: the same actions as those of a greedy trial."""
    config = small("rl2", Hall(), num_episodes=1)
    program = build(config)
    state, task = program.init(jax.random.key(0)), jnp.int32(2)
    trial = jax.jit(lambda s, t, k: program.trial(s, t, k, deterministic=True))(
        state, task, jax.random.key(3)
    )
    policy = program.policy(state)
    act, carry = jax.jit(policy.act), policy.init()
    timestep = jax.tree.map(lambda x: x[..., 0], {"r": trial.rollout.reward})
    reward = 0.0
    for episode in range(2):
        for step in range(Hall.LENGTH):
            at = jax.tree.map(lambda x, e=episode, s=step: x[e, s, 0], trial.rollout.timestep)
            action, carry = act(
                carry, at.observation, reward, step == 0, action_mask=at.action_mask
            )
            assert int(action) == int(trial.rollout.action[episode, step, 0])
            reward = timestep["r"][episode, step]


def test_a_policy_adapts_to_the_episodes_of_a_round():
    config = small("maml", Falling(), num_episodes=4)
    program = build(config)
    state = program.init(jax.random.key(0))
    policy = program.policy(state)
    trial = jax.jit(program.trial)(state, jnp.float32(0.5), jax.random.key(1))
    record = jax.tree.map(lambda x: x[0], trial.rollout)
    carry = jax.jit(policy.adapt)(
        policy.init(),
        record.timestep.observation,
        record.action,
        record.reward,
        record.timestep.valid,
    )
    begun = program.learner.begin(state.meta.params, (), jax.random.key(0), 4)
    expected = jax.jit(program.learner.adapt)(state.meta.params, begun, record)
    for mine, theirs in zip(carry[:-1], jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_wrapper_forwards():
    hall = Wrapper(Hall())
    assert hall.observation_space == Hall().observation_space
    assert hall.action_space == Discrete(3)
    assert hall.metric_names == ("place", "success", "place_mean", "success_mean")
    assert Wrapper(Falling(horizon=3)).episode_length == 3


def test_the_simulator_alone_is_timed_with_any_observations():
    sums = jax.eval_shape(make_simulate(make_spec(small("rl2", Hall()))), jax.random.key(0))
    assert {name: x.shape for name, x in sums.items()} == dict.fromkeys(sums, ())


@dataclasses.dataclass(frozen=True)
class Advised(Wrapper):
    """A hall in which a good action is known, and what actions cost."""

    name = "advised"

    def oracle_action(self, task, observation):
        return jnp.zeros((), jnp.int32)

    def regret(self, task):
        return lambda state, action: jnp.zeros(())


def test_what_a_wrapper_knows_beside_what_it_wraps():
    assert not has_oracle(Hall())
    assert not knows_regret(Wrapper(Hall()))
    for env in (Advised(Hall()), Wrapper(Advised(Hall()))):
        assert has_oracle(env)
        assert knows_regret(env)
