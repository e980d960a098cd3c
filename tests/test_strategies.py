"""Known strategies: what they infer, what they earn against published values, and how they are asked for."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

import metarl_jax
from metarl_jax import baselines, envs
from metarl_jax.baselines import registry
from metarl_jax.baselines.gittins import gittins_index
from metarl_jax.baselines.policies import control_names
from metarl_jax.baselines.sampling import sample_beta, sample_dirichlet
from metarl_jax.cli.main import main
from metarl_jax.config import EvaluationConfig
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.trees import join_leading
from metarl_jax.core.types import MetaState
from metarl_jax.envs.tabular.planning import extended_value_iteration, value_iteration
from metarl_jax.learners.base import unroll
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.rollout import collect_trial

QUICK = {"xla_backend_optimization_level": 0}
"""Compiler options: these programs compile for longer than they run."""
RECORD_ONLY = make_estimator(PLAIN_RETURNS)
SMALL = {"bandit": {}, "tabular_mdp": {"num_states": 3, "num_actions": 2, "horizon": 4}}
ALL = [(env, name) for env in SMALL for name in baselines.strategies(envs.make(env))]
# Tabular strategies differ in their plans alone, and compile for long.
ALIKE = [("tabular_mdp", name) for name in ("opsrl", "ucrl2", "beb", "greedy")]


def collect(env, learner, key, num_rounds, num_episodes=1):
    task_key, trial_key = jax.random.split(key)
    sizes = {"num_rounds": num_rounds, "num_episodes": num_episodes}
    task = env.sample(task_key)
    return collect_trial(env, learner, RECORD_ONLY, MetaState(()), task, trial_key, **sizes)


def total_return(env, strategies, num_rounds, num_tasks):
    """Mean and standard error of the return of a trial, for each (name, options), in one executable."""
    learners = [baselines.make(env, name, num_rounds, **options) for name, options in strategies]

    def one(key):
        trials = [collect(env, learner, key, num_rounds) for learner in learners]
        return jnp.stack([trial.episode_returns().sum() for trial in trials])

    totals = np.asarray(
        jax.jit(jax.vmap(one), compiler_options=QUICK)(
            jax.random.split(jax.random.key(0), num_tasks)
        )
    )
    return totals.mean(axis=0), totals.std(axis=0) / np.sqrt(num_tasks)


def assert_as_published(env, published, num_rounds, num_tasks):
    """`published` is name to (return, options): rounded means over 1000 tasks, samples as ours are."""
    strategies = [(name, options) for name, (_, options) in published.items()]
    mean, error = total_return(env, strategies, num_rounds, num_tasks)
    error = error * np.sqrt(1 + num_tasks / 1000)
    expected = np.array([value for value, _ in published.values()])
    assert (np.abs(mean - expected) < 3 * error + 0.05).all(), (mean, error)


BANDITS = {
    (10, 5): (1000, {"gittins": 6.6, "ucb1": 6.7, "thompson": 5.7, "greedy": 6.6}),
    (100, 10): (500, {"gittins": 82.8, "ucb1": 82.4, "epsilon_greedy": 77.4, "greedy": 77.1}),
}


@pytest.mark.parametrize("sizes", BANDITS, ids=str)
def test_bandits_as_published(sizes):
    (num_pulls, num_arms), (num_tasks, published) = sizes, BANDITS[sizes]
    published = {name: (value, {}) for name, value in published.items()}
    assert_as_published(envs.make("bandit", num_arms=num_arms), published, num_pulls, num_tasks)


# Published with prior mean 0, which is not that of the tasks (docs/results/strategies.md).
MDPS = {
    "psrl": (138.1, {"prior_mean": 0.0}),
    "opsrl": (144.1, {"prior_mean": 0.0}),
    "ucrl2": (146.6, {"prior_mean": 0.0, "scaling": 0.1}),
    "greedy": (134.8, {"prior_mean": 0.0}),
}


@pytest.mark.parametrize("name", ["psrl", "ucrl2"])
def test_tabular_mdps_as_published(name):
    assert_as_published(envs.make("tabular_mdp"), {name: MDPS[name]}, 10, num_tasks=250)


@pytest.mark.slow
def test_all_tabular_mdps_as_published():
    assert_as_published(envs.make("tabular_mdp"), MDPS, 10, num_tasks=1000)


@pytest.mark.slow
def test_the_prior_of_the_tasks_is_worth_much():
    """Greedy planning from the tasks' own prior mean beats what was published for planners with exploration."""
    strategies = [("greedy", {}), ("beb", {}), ("greedy", {"prior_mean": 0.0})]
    mean, error = total_return(envs.make("tabular_mdp"), strategies, 10, 1000)
    assert mean[0] > 150.2 + 3 * error[0]
    assert mean[1] > mean[2] + 10


@pytest.mark.parametrize(
    ("env", "name"),
    [pytest.param(*x, marks=[pytest.mark.slow] if x in ALIKE else []) for x in ALL],
)
def test_replay_equals_collect(env, name):
    """Their answers follow from the record alone, in trials side by side, and from one another's by nothing."""
    env = envs.make(env, **SMALL[env])
    learner = baselines.make(env, name, 4)

    def both(key):
        trial = collect(env, learner, key, num_rounds=4, num_episodes=3)
        return trial, replay_trial(learner, (), (), trial)

    trial, out = jax.jit(both, compiler_options=QUICK)(jax.random.key(1))
    recorded = trial.rollout.policy.distribution.logits
    np.testing.assert_allclose(out.distribution.logits, recorded, atol=1e-5)
    assert np.isfinite(out.distribution.entropy()).all()
    assert np.isfinite(trial.rollout.log_prob).all()


def collect_and_infer(env, learner, num_rounds, num_episodes):
    """A trial, and what a strategy has inferred when its last action is due."""

    def both(key):
        trial = collect(env, learner, key, num_rounds, num_episodes)
        state = learner.begin((), (), trial.key, num_episodes)
        return trial, unroll(learner, (), state, join_leading(trial.rollout.timestep))[1]

    return jax.jit(both, compiler_options=QUICK)(jax.random.key(0))


def test_a_bandit_strategy_counts_what_it_saw():
    env = envs.make("bandit", num_arms=3)
    learner = baselines.make(env, "thompson", 30)
    trial, belief = collect_and_infer(env, learner, num_rounds=30, num_episodes=2)
    actions, rewards = trial.rollout.action[:-1, 0], trial.rollout.reward[:-1, 0]
    for episode in range(2):
        for arm in range(3):
            pulled = actions[:, episode] == arm
            won = float((rewards[:, episode] * pulled).sum())
            assert float(belief.successes[episode, arm]) == won
            assert float(belief.failures[episode, arm]) == float(pulled.sum()) - won


def test_a_tabular_strategy_counts_what_it_saw():
    """Every reward but the last counts, and every transition but those from one episode to the next."""
    env = envs.make("tabular_mdp", **SMALL["tabular_mdp"])
    learner = baselines.make(env, "epsilon_greedy", 5, epsilon=0.5)
    trial, inner = collect_and_infer(env, learner, num_rounds=5, num_episodes=2)
    rollout = trial.rollout
    for episode in range(2):
        states = np.asarray(rollout.timestep.observation[:, :, episode].argmax(-1))
        actions, rewards = np.asarray(rollout.action[..., episode]), rollout.reward[..., episode]
        transitions, sums, visits = np.ones((3, 2, 3)), np.ones((3, 2)), np.ones((3, 2))
        for k in range(5):
            for t in range(4):
                if (k, t) == (4, 3):
                    continue
                sums[states[k, t], actions[k, t]] += rewards[k, t]
                visits[states[k, t], actions[k, t]] += 1
                if t < 3:
                    transitions[states[k, t], actions[k, t], states[k, t + 1]] += 1
        np.testing.assert_allclose(inner.posterior.transitions[episode], transitions)
        np.testing.assert_allclose(inner.posterior.visits[episode], visits)
        np.testing.assert_allclose(inner.posterior.rewards[episode], sums, rtol=1e-5)


def test_an_invalid_step_changes_no_count():
    env = envs.make("tabular_mdp", **SMALL["tabular_mdp"])
    learner = baselines.make(env, "greedy", 2)
    trial, before = collect_and_infer(env, learner, num_rounds=2, num_episodes=1)
    timestep = jax.tree.map(lambda x: x[-1, -1], trial.rollout.timestep)
    act = jax.jit(lambda *args: learner.act((), *args), compiler_options=QUICK)
    _, after = act(before, timestep.replace(valid=jnp.zeros(1, bool)))
    for name in ("posterior", "plan", "state", "time"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(after, name))


def test_gittins_index_as_tabulated():
    """Gittins 1979, in the tables of Gittins, Glazebrook & Weber 2011: a = s + 1, b = f + 1."""
    table = gittins_index(20, 0.9)
    known = {(0, 0): 0.7029, (1, 0): 0.8001, (0, 1): 0.5001}
    for (successes, failures), index in known.items():
        assert table[successes, failures] == pytest.approx(index, abs=2e-4)
    assert gittins_index(20, 0.99)[0, 0] == pytest.approx(0.8699, abs=2e-4)


def test_draws_from_posteriors():
    size = 20_000
    key = jax.random.key(0)
    draws = jax.jit(sample_beta)(key, jnp.full(size, 3.0), jnp.full(size, 1.0))
    assert stats.kstest(np.asarray(draws), stats.beta(3, 1).cdf).pvalue > 1e-3
    draws = jax.jit(sample_dirichlet)(key, jnp.full((size, 3), jnp.array([1.0, 2.0, 50.0])))
    assert stats.kstest(np.asarray(draws[:, 1]), stats.beta(2, 51).cdf).pvalue > 1e-3
    np.testing.assert_allclose(draws.sum(axis=-1), 1.0, rtol=1e-5)


def test_extended_value_iteration_is_the_linear_program():
    """max p·V over ‖p − p̂‖₁ ≤ radius, one step before the last, for each state and action."""
    key = jax.random.key(0)
    transition = sample_dirichlet(key, jnp.ones((4, 3, 4)))
    reward = jax.random.normal(key, (4, 3))
    radius = 2.2 * jax.random.uniform(key, (4, 3))
    values = extended_value_iteration(transition, radius, reward, horizon=2)
    next_value = np.asarray(reward.max(axis=-1), float)
    for s, a in np.ndindex(4, 3):
        # Variables p and u ≥ |p − p̂|.
        center, eye = np.asarray(transition[s, a], float), np.eye(4)
        found = linprog(
            np.concatenate([-next_value, np.zeros(4)]),
            A_ub=np.vstack(
                [np.hstack([eye, -eye]), np.hstack([-eye, -eye]), [0.0] * 4 + [1.0] * 4]
            ),
            b_ub=np.concatenate([center, -center, [float(radius[s, a])]]),
            A_eq=[[1.0] * 4 + [0.0] * 4],
            b_eq=[1.0],
        )
        assert values[0, s, a] == pytest.approx(float(reward[s, a]) - found.fun, abs=1e-4)
    plain = value_iteration(transition, reward, horizon=5)
    without = extended_value_iteration(transition, jnp.zeros((4, 3)), reward, horizon=5)
    np.testing.assert_allclose(plain, without, rtol=1e-5)


def test_evaluate_control_takes_strategies(small_config):
    config = small_config("rl2", "bandit", num_episodes=1)
    config = dataclasses.replace(config, evaluation=EvaluationConfig(num_tasks=4, num_rounds=7))
    program = metarl_jax.build(config)
    evaluate = jax.jit(lambda key: baselines.evaluate_control(program, "gittins:discount=0.5", key))
    assert evaluate(jax.random.key(0)).shape == (4, 7)
    bad = {
        "gitins": "'gittins'",
        "random:x=1": "'random'",
        "ucb1:c=1": "has no field 'c': it has confidence",
        "ucb1:confidence": "FIELD=NUMBER",
        "ucb1:confidence=-1": "ucb1.confidence=-1 must be at least 0",
    }
    for control, message in bad.items():
        with pytest.raises(ValueError, match=message):
            baselines.evaluate_control(program, control, jax.random.key(0))
    with pytest.raises(ValueError, match="did you mean 'gittins'"):
        baselines.make(program.env, "gitins", 3)
    with pytest.raises(ValueError, match="has no known strategies"):
        baselines.make(envs.make("point_robot"), "ucb1", 3)


def test_a_strategy_of_ones_own(monkeypatch):
    """It is known for the environment it is registered for and what derives from it, and nowhere else."""
    monkeypatch.setattr(registry, "_registries", dict(registry._registries))

    @dataclasses.dataclass(frozen=True)
    class Still(baselines.Strategy):
        name = "still"

        def make(self, env, num_rounds):
            return env, num_rounds

    baselines.register("point_robot", Still)
    derived = type("Mine", (envs.get("point_robot"),), {})()
    assert baselines.make(derived, "still", 3) == (derived, 3)
    assert control_names(derived) == ["random", "oracle", "still"]
    assert baselines.strategies(envs.make("grid_navi")) == ()
    with pytest.raises(ValueError, match="already registered"):
        baselines.register("point_robot", type("Other", (Still,), {"name": "still"}))
    with pytest.raises(ValueError, match="'random' is built in"):
        baselines.register("point_robot", type("Other", (Still,), {"name": "random"}))


@pytest.mark.parametrize(
    ("words", "message"),
    {
        "": "needs an environment",
        "bandi": "did you mean 'bandit'",
        "bandit --controls gitins": "'gittins'",
        "bandit --controls": "controls=()",
        "bandit --controls ucb1:c=1": "has no field 'c'",
        "bandit --num-tasks 1": "num_tasks=1 must be at least 2",
        "bandit --split ood": "split='ood'",
        "bandit --env.num-arms 1": "num_arms=1 must be at least 2",
    }.items(),
)
def test_bad_words_for_controls(words, message, capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    assert main(["controls", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_controls_command(capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    words = "controls bandit --num-rounds 3 --num-tasks 5 --controls ucb1 --json"
    assert main(words.split(" ")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["controls"]) == ["ucb1", "bayes_optimal"]
    assert len(printed["controls"]["ucb1"]["return_mean"]) == 3
