"""The invariants of the library, over everything that is registered."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax
from metarl_jax import envs, learners, outer
from metarl_jax.baselines import evaluate_control
from metarl_jax.config import RuntimeConfig
from metarl_jax.core.advantages import make_estimator
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.outer.trpo import TRPO
from metarl_jax.program.replay import replay_trial
from metarl_jax.program.rollout import collect_trial

EXACT = ("bandit", "grid_navi", "point_robot")
OTHERS = [name for name in EXACT if name != "point_robot"]
SIMULATED = [name for name in envs.names() if name not in EXACT]
VARIANTS = ("anil", "cavia", "meta_sgd")
"""Names for options of `maml`, whose tests are slow for being many."""


def slow_if(condition, case):
    return pytest.param(case, marks=pytest.mark.slow) if condition else case


LEARNERS: list[Any] = [slow_if(name in VARIANTS, name) for name in learners.names()]
# Tasks in blocks and tasks on eight devices, which every learner is tested with, are mapped too.
MAPPED: list[Any] = [slow_if(name not in ("maml", "rl2"), name) for name in learners.names()]
REPLAYED: list[Any] = [(learner, "point_robot") for learner in learners.names()]
REPLAYED += [(learner, env) for learner in ("maml", "rl2") for env in OTHERS]
REPLAYED += [
    ("maml" if index % 2 and env != "xland" else "rl2", env) for index, env in enumerate(SIMULATED)
]
# Of the robots a few are enough: they are dear to compile, and so is Craftax.
DEAR = (
    "ant_dir",
    "ant_goal",
    "ant_vel",
    "half_cheetah_dir",
    "hopper_ensemble",
    "hopper_params",
    "humanoid_dir",
    "walker2d_params",
    "craftax",
)
REPLAYED = [slow_if(case[0] in VARIANTS or case[1] in DEAR, case) for case in REPLAYED]

# What is trained, on what, and how. Tests of the same case stand side by side, so that they share what they compile.
# Every learner with PPO, and every outer method with a learner that adapts by gradient and one that remembers; but
# Reptile follows adapted weights, and a memory has none.
HELD_OUT: list[Any] = [(learner, "poisoned", "ppo") for learner in learners.names()]
CASES = HELD_OUT + [("maml", "poisoned", method) for method in outer.names() if method != "ppo"]
CASES += [("rl2", "poisoned", name) for name in outer.names() if name not in ("ppo", "reptile")]

# The same result on one device as on eight: every learner, every outer method, and every exact task distribution with
# one learner that adapts by gradient or one that remembers.
ON_DEVICES = [case for case in CASES if case[0] != "rl2" or case[2] == "ppo"]
ON_DEVICES += [("rl2" if index % 2 else "maml", env, "ppo") for index, env in enumerate(OTHERS)]


def mostly(cases):
    """Cases, of which those that only vary another are slow."""
    return [
        slow_if(case[0] in VARIANTS or (case[0] == "rl2" and case[2] != "ppo"), case)
        for case in cases
    ]


ONE_DEVICE = RuntimeConfig(num_devices=1, update_block=4, collect_block=2, remat=True)
EIGHT_DEVICES = RuntimeConfig(num_devices=8)


@dataclasses.dataclass(frozen=True)
class Poisoned(PointRobot):
    """Tasks whose held-out splits are not numbers: whatever learns from one is ruined."""

    name: ClassVar[str] = "poisoned"

    def sample(self, key, split="train"):
        goal = super().sample(key, split)
        return goal if split == "train" else jnp.full_like(goal, jnp.nan)


class Functions(NamedTuple):
    """A program and its jitted functions, shared by the tests that need the same ones."""

    program: metarl_jax.Program
    init: Any
    step: Any
    evaluate: Any


@pytest.fixture
def compiled(small_config):
    """`compiled((learner, env, outer method), runtime)`: the functions of a small run."""

    def make(case, runtime=ONE_DEVICE):
        learner, env, outer_method = case
        config = small_config(
            learner,
            "point_robot" if env == "poisoned" else env,
            outer_method,
            runtime=runtime,
            normalize_observations=True,
        )
        if env == "poisoned":
            config = dataclasses.replace(config, env=Poisoned(horizon=5))
        if isinstance(config.outer, TRPO):
            # With less damping, F⁻¹ amplifies the order of float sums.
            outer_config = dataclasses.replace(config.outer, damping=1e-3)
            config = dataclasses.replace(config, outer=outer_config)
        return jit(config)

    return make


# Not more: a process may map so many pieces of memory, of which an executable on a CPU takes a thousand.
@functools.lru_cache(maxsize=2)
def jit(config) -> Functions:
    program = metarl_jax.build(config)
    return Functions(
        program,
        jax.jit(program.init),
        jax.jit(program.step),
        jax.jit(program.evaluate, static_argnums=2),
    )


def filled(memory):
    """Something to be remembered beyond trials, in the place of nothing."""

    def fill(x):
        if jnp.issubdtype(x.dtype, jnp.floating):
            return 0.5 * jax.random.normal(jax.random.key(8), x.shape)
        return jnp.zeros_like(x)

    return jax.tree.map(fill, memory)


class Collected(NamedTuple):
    """A trial in one task, with what made it and a jitted replay of it for any meta-parameters."""

    program: metarl_jax.Program
    state: Any
    trial: Any
    replay: Any


@functools.lru_cache
def collect_one(config) -> Collected:
    program = metarl_jax.build(config)
    state = program.init(jax.random.key(0))
    state = state.replace(meta=state.meta.replace(memory=filled(state.meta.memory)))
    task = program.env.sample(jax.random.key(1))
    collect = jax.jit(
        lambda meta_params, key: collect_trial(
            program.env,
            program.learner,
            make_estimator(config.advantage, program.env.observation_space),
            state.meta.replace(params=meta_params),
            task,
            key,
            num_rounds=config.num_rounds,
            num_episodes=config.num_episodes,
        )
    )
    replay = jax.jit(
        lambda meta_params, trial: replay_trial(
            program.learner, meta_params, state.meta.memory, trial
        )
    )
    return Collected(program, state, collect(state.meta.params, jax.random.key(2)), replay)


def perturbed(tree):
    """The tree with noise on every array, biases included."""
    return jax.tree.map(
        lambda x, e: x + 0.1 * e, tree, optax.tree.random_like(jax.random.key(7), tree)
    )


@pytest.mark.parametrize("case", REPLAYED, ids="-".join)
def test_replay_equals_collect(small_config, case):
    """Invariant 1: with unchanged parameters the likelihood ratio of every valid step is 1."""
    _, state, trial, replay = collect_one(small_config(*case, normalize_observations=True))
    out = replay(state.meta.params, trial)
    log_ratio = out.distribution.log_prob(trial.rollout.action) - trial.rollout.log_prob
    valid = trial.rollout.timestep.valid
    assert valid.any()
    np.testing.assert_allclose(np.where(valid, np.exp(log_ratio), 1.0), 1.0, atol=2e-4)
    np.testing.assert_allclose(out.value, trial.rollout.policy.value, atol=2e-4)
    # Were the replay deaf to its parameters, the ratio would be 1 for any of them.
    other = perturbed(state.meta.params)
    other_log_prob = replay(other, trial).distribution.log_prob(trial.rollout.action)
    assert np.abs(np.where(valid, other_log_prob - trial.rollout.log_prob, 0.0)).max() > 1e-4


@pytest.mark.parametrize("case", mostly(CASES), scope="module", ids="-".join)
def test_one_executable_and_no_transfer(compiled, case):
    """Invariant 2: a step compiles once and talks to no host."""
    functions = compiled(case)
    state, _ = functions.step(functions.init(jax.random.key(0)))
    count = functions.step._cache_size()
    assert count == 1
    with jax.transfer_guard("disallow"):
        for _ in range(2):
            state, metrics = functions.step(state)
        jax.block_until_ready(metrics)
    assert functions.step._cache_size() == 1
    assert int(state.step) == 3


@pytest.mark.parametrize("case", mostly(ON_DEVICES), scope="module", ids="-".join)
def test_devices_and_blocks_do_not_change_the_result(compiled, trees_close, case):
    """Invariant 3: eight tasks on eight devices, and on one device in blocks."""
    results = []
    for runtime in (ONE_DEVICE, EIGHT_DEVICES):
        functions = compiled(case, runtime)
        # On a CPU, what is compiled while devices wait for each other can take the threads that they need.
        state, metrics = jax.block_until_ready(functions.step(functions.init(jax.random.key(0))))
        results.append((state, metrics))
    trees_close(results[1], results[0], rtol=2e-3, atol=2e-4)


def test_evaluation_does_not_depend_on_devices(compiled):
    found = []
    for runtime in (ONE_DEVICE, EIGHT_DEVICES):
        functions = compiled(("rl2", "bandit", "ppo"), runtime)
        state = jax.block_until_ready(functions.init(jax.random.key(0)))
        found.append(np.asarray(functions.evaluate(state, jax.random.key(1), "test")))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("num_minibatches", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_minibatches_do_not_depend_on_devices(small_config, trees_close, num_minibatches):
    """Invariant 3, for tasks that are shuffled into minibatches."""
    results = []
    for num_devices in (1, 2):
        config = small_config("rl2", "bandit", runtime=RuntimeConfig(num_devices=num_devices))
        config = dataclasses.replace(
            config, outer=dataclasses.replace(config.outer, num_minibatches=num_minibatches)
        )
        program = metarl_jax.build(config)
        results.append(jax.jit(program.step)(jax.jit(program.init)(jax.random.key(0))))
    trees_close(results[1], results[0], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("learner", MAPPED)
def test_mapped_tasks_equal_a_loop(small_config, trees_close, learner):
    """Invariant 3: vmap over tasks equals a Python loop over tasks."""
    config = small_config(learner)
    program = metarl_jax.build(config)
    state = program.init(jax.random.key(0))
    estimator = make_estimator(config.advantage)

    def one(task, key):
        return collect_trial(
            program.env,
            program.learner,
            estimator,
            state.meta.replace(normalizer=None),
            task,
            key,
            num_rounds=3,
            num_episodes=4,
        )

    tasks = jax.vmap(program.env.sample)(jax.random.split(jax.random.key(1), 3))
    keys = jax.random.split(jax.random.key(2), 3)
    together = jax.jit(jax.vmap(one))(tasks, keys)
    for index in range(3):
        alone = jax.jit(one)(tasks[index], keys[index])
        trees_close(jax.tree.map(lambda x, i=index: x[i], together), alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("learner", LEARNERS)
def test_learning_is_kept_within_a_trial_and_lost_between_trials(small_config, learner):
    """Invariant 6: what a learner saw in one round changes the next; a new trial begins as the first did."""
    config = small_config(learner, "point_robot", normalize_observations=True)
    program, state, trial, replay = collect_one(config)
    # Some answers depend on what was seen only once the outer loop has made them.
    meta_params = perturbed(state.meta.params)
    first = program.learner.begin(meta_params, state.meta.memory, jax.random.key(5), 4)
    other = 5 if learner == "zero_order" else 6  # only its perturbations are drawn
    again = program.learner.begin(meta_params, state.meta.memory, jax.random.key(other), 4)
    jax.tree.map(np.testing.assert_array_equal, first, again)

    rollout = trial.rollout
    changed = rollout.replace(
        reward=rollout.reward.at[0].multiply(-1.0),
        advantage=rollout.advantage.at[0].multiply(-1.0),
        timestep=rollout.timestep.replace(
            previous_reward=rollout.timestep.previous_reward.at[0].add(1.0)
        ),
    )
    before, after = (
        replay(meta_params, seen).distribution.mean
        for seen in (trial, trial.replace(rollout=changed))
    )
    last = trial.rollout.timestep.valid[-1]
    assert np.abs(np.where(last[..., None], before[-1] - after[-1], 0.0)).max() > 1e-6


@pytest.mark.parametrize("case", mostly(HELD_OUT), scope="module", ids="-".join)
def test_held_out_tasks_do_not_reach_training(compiled, case):
    """Invariant 7: training on, and evaluating between, leaves the state free of held-out tasks."""
    functions = compiled(case)
    state = untouched = functions.init(jax.random.key(0))
    for _ in range(2):
        held_out = functions.evaluate(state, jax.random.key(1), "test")
        assert not np.isfinite(held_out).any()
        state, metrics = functions.step(state)
        untouched, _ = functions.step(untouched)
        assert np.isfinite(metrics["episode_return"]).all()
        assert float(metrics["skipped"]) == 0.0
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(np.isfinite(x).all() for x in floats)
    jax.tree.map(np.testing.assert_array_equal, state.meta.params, untouched.meta.params)


def test_random_and_oracle_keep_to_the_known_values():
    """Invariant 8: the controls meet the exact values, and nothing passes a ceiling by three standard errors."""
    known = {  # per episode: (random, oracle)
        "point_robot": (-61.6, -0.506),
        "point_robot_sparse": (0.001, 13.23),
        "grid_navi": (-1.16, 11.071),
        "bandit": (0.5, 5.0 / 6.0),
    }
    for name, (random, oracle) in known.items():
        config = control_config(name)
        program = metarl_jax.build(config)
        for control, value in (("random", random), ("oracle", oracle)):
            returns = np.asarray(evaluate_control(program, control, jax.random.key(0)))
            mean, error = returns.mean(), returns.mean(1).std() / np.sqrt(len(returns))
            assert abs(mean - value) < 3.5 * error + 0.006, (name, control, mean, error)


def control_config(name):
    from metarl_jax.config import Config, EvaluationConfig
    from metarl_jax.learners.maml import MAML
    from metarl_jax.outer.ppo import PPO

    return Config(
        env=envs.make(name),
        learner=MAML(),
        outer=PPO(),
        num_tasks=8,
        num_rounds=2,
        num_episodes=4,
        evaluation=EvaluationConfig(num_tasks=4000, num_rounds=1),
        runtime=RuntimeConfig(num_devices=1),
    )


def test_bandit_needs_no_recompilation_for_a_new_task():
    """A task is traced: another one runs in the same executable."""
    env = Bandit()
    step = jax.jit(lambda task: env.step(task, env.reset(task, jax.random.key(0)), jnp.int32(0)))
    step(env.sample(jax.random.key(0)))
    step(env.sample(jax.random.key(1)))
    assert step._cache_size() == 1
