"""Episodes that terminate: losses have the gradient of the expected return, whatever ends first and is seen then.

Stop or go. To stop ends the episode with nothing; to go ends it with −1 at the second step in half of the tasks, and
earns 1.5 at the last step in the others. All trajectories are enumerated, each as often as it is likely.
"""

import dataclasses
import itertools
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import build, outer
from metarl_jax.config import Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.advantages import AdvantageConfig, make_estimator
from metarl_jax.core.distributions import Categorical
from metarl_jax.core.spaces import Box, Discrete
from metarl_jax.core.types import PolicyOut, TimeStep, Transition, Trial
from metarl_jax.envs.base import EnvState, TaskDistribution
from metarl_jax.learners.base import LearnerConfig, MetaLearner
from metarl_jax.learners.maml import MAML
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.surrogates import make_surrogate
from metarl_jax.outer.policy_gradient import replayed_gradient
from metarl_jax.outer.ppo import PPO
from metarl_jax.program import build as programs
from metarl_jax.program.step import make_init, make_meta_batch, sample_tasks

PLAIN = AdvantageConfig(discount=1.0, baseline="none", normalization="none", credit="trial")
LOGIT = 0.0  # at which all actions are as likely


class Moment(NamedTuple):
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class StopOrGo(TaskDistribution):
    """The task is whether to go will be lucky."""

    name: ClassVar[str] = "stop_or_go"
    horizon: int = 3

    @property
    def episode_length(self):
        return self.horizon

    observation_size = property(lambda self: 1)
    action_space = property(lambda self: Discrete(2))

    def sample(self, key, split="train"):
        return jax.random.bernoulli(key)

    def reset(self, task, key):
        start = Moment(jnp.zeros((), jnp.int32))
        return EnvState(jnp.ones(1), jnp.zeros(()), jnp.zeros((), bool), start)

    def step(self, task, state, action):
        time = state.simulator.time
        stops, crashes = (time == 0) & (action == 0), (time == 1) & ~task
        reward = jnp.where(crashes, -1.0, jnp.where(time == self.horizon - 1, 1.5, 0.0))
        return EnvState(jnp.zeros(1), reward, stops | crashes, Moment(time + 1))


@dataclasses.dataclass(frozen=True)
class OneLogit(LearnerConfig):
    """A policy of one parameter: how much likelier it is to go, at every step."""

    name: ClassVar[str] = "one_logit"

    def make(self, env):
        def act(meta_params, inner_state, timestep):
            shape = timestep.previous_reward.shape
            logits = jnp.stack([jnp.zeros(()), meta_params["go"]])
            distribution = Categorical(jnp.broadcast_to(logits, (*shape, 2)))
            return PolicyOut(distribution, jnp.zeros(shape)), inner_state

        return MetaLearner(
            init=lambda key: {"go": jnp.float32(LOGIT)}, begin=lambda *_: (), act=act
        )


def expected_return(logit, lucky=1.5, unlucky=-1.0):
    return jax.nn.sigmoid(logit) * 0.5 * (lucky + unlucky)


def recorded():
    """All sixteen trajectories that are equally likely, as rollouts `[16, T, 1]` with advantages."""
    chances = itertools.product((False, True), itertools.product((0, 1), repeat=3))
    lucky, action = (np.array(x) for x in zip(*chances, strict=True))
    length = np.where(action[:, 0] == 0, 1, np.where(lucky, 3, 2))
    valid = (np.arange(3) < length[:, None])[..., None]
    reward = np.zeros(valid.shape, np.float32)
    reward[length == 2, 1], reward[length == 3, 2] = -1.0, 1.5
    distribution = Categorical(jnp.full((*valid.shape, 2), LOGIT))
    zeros = jnp.zeros_like(reward)
    rollout = Transition(
        timestep=TimeStep(zeros[..., None], zeros[..., None], zeros, zeros == 1, jnp.array(valid)),
        action=jnp.asarray(action)[..., None],
        policy=PolicyOut(distribution, zeros),
        log_prob=distribution.log_prob(jnp.asarray(action)[..., None]),
        reward=jnp.asarray(reward),
        terminated=zeros == 1,
        training_reward=jnp.asarray(reward),
        advantage=zeros,
        target=zeros,
    )
    estimate = make_estimator(dataclasses.replace(PLAIN, credit="episode")).on_round_end
    return jax.vmap(estimate)(rollout)


@pytest.mark.parametrize("surrogate", ["likelihood_ratio", "log_likelihood", "dice", "loaded_dice"])
def test_inner_steps_follow_the_expected_return(surrogate):
    """Over all pairs of episodes of a round, whose lengths differ: −∇J/T exactly."""
    rollouts, surrogate = recorded(), make_surrogate(surrogate, 0.5)

    def gradient_of_pair(first, second):
        rollout = jax.tree.map(lambda x: jnp.concatenate([x[first], x[second]], 1), rollouts)

        def loss(logit):
            logits = jnp.broadcast_to(jnp.stack([0.0 * logit, logit]), (3, 2, 2))
            return surrogate(Categorical(logits).log_prob(rollout.action), rollout)

        return jax.grad(loss)(LOGIT)

    index = jnp.arange(16)
    gradients = jax.vmap(jax.vmap(gradient_of_pair, (None, 0)), (0, None))(index, index)
    expected = -jax.grad(expected_return)(LOGIT) / 3
    np.testing.assert_allclose(gradients.mean(), expected, rtol=1e-5)


def gradient_of_objective(outer_method, **options):
    """The gradient of the objective in the logit, over all trajectories, in units of one."""
    config = Config(
        env=StopOrGo(),
        learner=OneLogit(),
        outer=outer.get(outer_method)(rounds="all", **options),
        advantage=PLAIN,
        num_tasks=16,
        num_rounds=1,
        num_episodes=1,
        runtime=RuntimeConfig(num_devices=1),
    )
    spec = programs.make_spec(config)
    state = make_init(spec)(jax.random.key(0)).replace(step=jnp.int32(1))
    batch = make_meta_batch(spec, state, sample_tasks(spec, jax.random.key(0), 16, "train"))
    rollout = jax.tree.map(lambda x: x[:, None], recorded())
    last = jax.tree.map(lambda x: x[:, :, -1], rollout.timestep)
    trials = Trial(rollout, jax.random.split(jax.random.key(0), 16), None, last)
    gradient, _ = replayed_gradient(config.outer, state.meta.params, batch, trials)
    return -3.0 * float(gradient["go"])


@pytest.mark.parametrize("outer_method", ["ppo", "policy_gradient", "trpo"])
def test_outer_methods_follow_the_expected_return(outer_method):
    """Before clipping and conjugate gradients, at ratio 1."""
    expected = float(jax.grad(expected_return)(LOGIT))
    assert expected == pytest.approx(0.0625)
    assert gradient_of_objective(outer_method) == pytest.approx(expected, rel=1e-5)


def test_the_worst_trials_have_the_gradient_of_their_mean():
    """CVaR: of the returns 0, −1 and 1.5, the worst 60% are all crashes and some of the stops, which earn 0 = q."""
    expected = float(jax.grad(lambda logit: -0.5 * jax.nn.sigmoid(logit) / 0.6)(LOGIT))
    found = gradient_of_objective("policy_gradient", worst_fraction=0.6)
    assert found == pytest.approx(expected, rel=1e-5)


def test_going_on_is_learned():
    """An episode that fails early is short, and must not count for more than one that earns late."""
    config = Config(
        env=StopOrGo(horizon=10),
        learner=RL2(hidden_size=8, encoder_sizes=(8,)),
        outer=PPO(rounds="all", learning_rate=5e-3, num_epochs=4, value_coefficient=0.5),
        advantage=AdvantageConfig(
            discount=1.0, baseline="value", credit="trial", normalization="batch"
        ),
        num_tasks=512,
        num_rounds=1,
        num_episodes=1,
        num_meta_steps=40,
        evaluation=EvaluationConfig(num_tasks=2000),
        runtime=RuntimeConfig(num_devices=1),
    )
    program = build(config)

    @jax.jit
    def learned(key):
        step = partial(jax.lax.scan, lambda state, _: program.step(state), length=40)
        return program.evaluate(step(program.init(key))[0], jax.random.key(5)).mean()

    # The best is 0.25, with a standard error of 0.028 over 2000 tasks.
    assert float(learned(jax.random.key(0))) > 0.15


@dataclasses.dataclass(frozen=True)
class BlowsUp(TaskDistribution):
    """Every fourth episode or so ends after two steps with an observation that is `last`; the others go on."""

    name: ClassVar[str] = "blows_up"
    last: float = 0.0

    episode_length = property(lambda self: 4)
    observation_size = property(lambda self: 2)
    action_space = property(lambda self: Box(1))

    def sample(self, key, split="train"):
        return jax.random.normal(key)

    def reset(self, task, key):
        is_rare = jax.random.uniform(key) < 0.25
        start = Moment(jnp.zeros((), jnp.int32)), is_rare
        return EnvState(jnp.ones(2), jnp.zeros(()), jnp.zeros((), bool), start)

    def step(self, task, state, action):
        moment, is_rare = state.simulator
        done = is_rare & (moment.time == 1)
        observation = jnp.full(2, jnp.where(done, self.last, 0.1 * moment.time))
        reward = -((jnp.clip(action[0], -1, 1) - task) ** 2)
        return EnvState(observation, reward, done, (Moment(moment.time + 1), is_rare))


@pytest.mark.parametrize("learner", ["maml", "rl2"])
def test_what_is_seen_at_the_end_changes_no_update(learner):
    """Also with the statistics of observations and the baseline that is fitted to them."""
    made = {
        "maml": (MAML(hidden_sizes=(4,), first_order=True), AdvantageConfig(), {}),
        "rl2": (RL2(hidden_size=4, encoder_sizes=(4,)), PLAIN, {"rounds": "all"}),
    }
    learner_config, advantage, options = made[learner]
    config = Config(
        env=BlowsUp(),
        learner=learner_config,
        outer=outer.get("policy_gradient")(**options),
        advantage=advantage,
        num_tasks=8,
        num_episodes=4,
        normalize_observations=True,
        runtime=RuntimeConfig(num_devices=1),
    )

    @jax.jit
    def step(last):
        program = build(dataclasses.replace(config, env=BlowsUp(last)))
        state, metrics = program.step(program.init(jax.random.key(0)))
        return state.meta.params, state.meta.normalizer, metrics["skipped"], metrics["env_steps"]

    expected = step(0.0)
    assert 8 * 4 * 2 * 2 < expected[3] < 8 * 4 * 2 * 4
    for last in (jnp.inf, jnp.nan):
        found = step(last)
        assert found[2] == 0
        jax.tree.map(np.testing.assert_array_equal, found, expected)
