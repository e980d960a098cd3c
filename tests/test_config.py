"""Configurations: there and back through JSON, refused where they cannot work, traced where they are floats."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax import config as configs
from metarl_jax import experiments
from metarl_jax.config import EvaluationConfig
from metarl_jax.core.errors import UserError
from metarl_jax.envs.bandit import Bandit
from metarl_jax.learners.maml import MAML
from metarl_jax.outer.es import ES
from metarl_jax.program.build import make_spec
from metarl_jax.program.devices import CACHED_BYTES, inner_state_bytes

replace = dataclasses.replace


@pytest.mark.parametrize("name", experiments.names())
def test_every_preset_is_valid_and_survives_json(name):
    config = experiments.get(name)
    assert config.name == name
    configs.validate(config)
    assert configs.from_dict(json.loads(json.dumps(configs.to_dict(config)))) == config


def changed(config, path, value):
    head, *rest = path.split(".")
    inner = changed(getattr(config, head), ".".join(rest), value) if rest else value
    return replace(config, **{head: inner})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("num_tasks", 0, ["num_tasks=0", "at least 1"]),
        ("num_tasks", "40", ["num_tasks='40'", "int"]),
        ("num_tasks", True, ["num_tasks=True", "int"]),
        ("learner.inner_lr", -0.1, ["learner.inner_lr=-0.1", "at least 0"]),
        ("learner.inner_lr", float("nan"), ["learner.inner_lr=nan", "finite"]),
        ("learner.hidden_sizes", (64, 0), ["learner.hidden_sizes=0", "at least 1"]),
        ("learner.surrogate", "ratio", ["learner.surrogate='ratio'", "likelihood_ratio"]),
        ("advantage.discount", 1.5, ["advantage.discount=1.5", "at most 1"]),
        ("advantage.credit", "trial", ["advantage.credit='trial'", "maml", "episode"]),
        ("advantage.baseline", "value", ["advantage.baseline='value'", "linear"]),
        ("outer.learning_rate", 0.0, ["outer.learning_rate=0.0", "above 0"]),
        ("outer.sampling_correction", 0.5, ["outer.sampling_correction=0.5", "log_likelihood"]),
        ("outer.num_minibatches", 3, ["num_tasks=40", "outer.num_minibatches=3"]),
        ("runtime.num_devices", 7, ["num_tasks=40", "runtime.num_devices=7"]),
        ("evaluation.inner_lr_factors", (), ["evaluation.inner_lr_factors=()", "choose 1"]),
        ("evaluation.inner_lr_factors", (1.0, -0.5), ["inner_lr_factors=-0.5", "at least 0"]),
        ("evaluation.split", "dev", ["evaluation.split='dev'", "ood"]),
    ],
)
def test_what_cannot_work_is_refused(path, value, words):
    config = changed(experiments.get("maml-point-robot"), path, value)
    with pytest.raises(ValueError, match="=") as error:
        metarl_jax.build(config)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        ("maml-point-robot", {"num_episodes": 1}, ["normalization='round'", "num_episodes=1"]),
        ("maml-point-robot", {"evaluation.num_episodes": 1}, ["evaluation.num_episodes=1"]),
        (
            "maml-point-robot",
            {"num_episodes": 1, "advantage.normalization": "none"},
            ["baseline='linear'", "num_episodes=1"],
        ),
        (
            "rl2-bandit",
            {"num_episodes": 1, "num_rounds": 1, "advantage.normalization": "trial"},
            ["normalization='trial'", "num_episodes=1"],
        ),
        (
            "rl2-bandit",
            {"num_tasks": 1, "num_episodes": 1, "num_rounds": 1, "outer.num_minibatches": 1},
            ["normalization='batch'", "num_episodes=1"],
        ),
    ],
)
def test_sizes_that_make_all_advantages_zero_are_refused(preset, changes, words):
    """In a bandit, whose episodes are of one step."""
    config = replace(experiments.get(preset), env=Bandit())
    for path, value in changes.items():
        config = changed(config, path, value)
    with pytest.raises(ValueError, match="would make all advantages 0") as error:
        configs.validate(config)
    assert all(word in str(error.value) for word in words), str(error.value)
    if preset == "rl2-bandit":  # evolution strategies make no use of advantages
        configs.validate(replace(config, outer=ES(rounds="all")))


def test_the_worst_share_must_be_more_than_one_trial():
    config = replace(experiments.get("epopt-hopper-small"), num_tasks=8)
    configs.validate(changed(config, "outer.worst_fraction", 0.25))
    with pytest.raises(ValueError, match=r"outer\.worst_fraction=0\.125 .*num_tasks=8"):
        configs.validate(changed(config, "outer.worst_fraction", 0.125))


def test_factors_of_step_sizes_need_inner_steps():
    config = changed(experiments.get("rl2-bandit"), "evaluation.inner_lr_factors", (1.0, 0.5))
    with pytest.raises(ValueError, match=r"evaluation.inner_lr_factors=\(1.0, 0.5\) .* 'rl2'"):
        configs.validate(config)


def test_evaluation_has_step_sizes_of_its_own(small_config):
    """A second step of no length leaves the third round as the second, by the mode and from the same starts."""
    evaluation = EvaluationConfig(num_tasks=2, num_rounds=3, deterministic=True)
    learner = MAML(hidden_sizes=(4,), inner_lr=1.0)
    config = replace(small_config("maml", "point_robot"), learner=learner)
    evaluation = replace(evaluation, inner_lr_factors=(1.0, 0.0))
    program = metarl_jax.build(replace(config, evaluation=evaluation))
    state = jax.jit(program.init)(jax.random.key(0))
    returns = np.asarray(jax.jit(program.evaluate)(state, jax.random.key(1)))
    assert np.abs(returns[:, 1] - returns[:, 0]).max() > 1e-3
    np.testing.assert_allclose(returns[:, 2], returns[:, 1], atol=1e-6)


def test_an_outer_method_that_does_not_fit_the_learner_is_refused():
    config = experiments.get("rl2-bandit")
    with pytest.raises(ValueError, match=r"outer\.rounds='last'.*rl2.*'all'"):
        metarl_jax.build(changed(config, "outer.rounds", "last"))
    with pytest.raises(ValueError, match=r"outer\.value_coefficient=0\.0.*baseline='value'"):
        metarl_jax.build(changed(config, "outer.value_coefficient", 0.0))
    geometric = changed(config, "outer.entropy_schedule", "geometric")
    with pytest.raises(ValueError, match=r"outer\.entropy_schedule='geometric'.*'linear'"):
        metarl_jax.build(changed(geometric, "outer.final_entropy_coefficient", 0.0))
    with pytest.raises(ValueError, match=r"outer\.entropy_schedule='geometric'.*=None.*'linear'"):
        metarl_jax.build(changed(geometric, "outer.final_entropy_coefficient", None))
    maml = experiments.get("maml-point-robot")
    averse = changed(maml, "outer.worst_fraction", 0.5)
    with pytest.raises(ValueError, match=r"outer\.worst_fraction=0\.5.*'round'.*'none'"):
        metarl_jax.build(averse)
    averse = changed(changed(averse, "advantage.normalization", "none"), "outer.rounds", "adapted")
    with pytest.raises(ValueError, match=r"outer\.worst_fraction=0\.5.*'adapted'.*'last'"):
        metarl_jax.build(averse)
    episodes = changed(changed(config, "outer.worst_fraction", 0.5), "advantage.credit", "episode")
    with pytest.raises(ValueError, match=r"outer\.worst_fraction=0\.5.*credit='episode'.*'trial'"):
        metarl_jax.build(episodes)
    with pytest.raises(ValueError, match=r"outer\.first_round_entropy_factor=3\.0.*'last'.*'all'"):
        metarl_jax.build(changed(maml, "outer.first_round_entropy_factor", 3.0))
    no_bonus = changed(experiments.get("rl2-point-robot"), "outer.first_round_entropy_factor", 3.0)
    with pytest.raises(ValueError, match=r"factor=3\.0 has no effect.*entropy_coefficient=0\.0"):
        metarl_jax.build(no_bonus)
    told = changed(replace(config, outer=ES()), "advantage.training_reward", "regret")
    with pytest.raises(ValueError, match=r"advantage\.training_reward='regret'.*es.*'reward'"):
        metarl_jax.build(told)


@pytest.mark.parametrize("part", ["env", "learner", "outer"])
def test_a_value_error_of_a_part_is_a_message_for_the_user(part, monkeypatch):
    """A class of the user's own need not know `UserError`."""
    config = experiments.get("maml-point-robot")

    def refuse(self, *args):
        raise ValueError(f"{part}.size=3: choose 4")

    monkeypatch.setattr(type(getattr(config, part)), "validate", refuse)
    with pytest.raises(UserError, match=f"{part}.size=3: choose 4"):
        configs.validate(config)


def test_devices_that_are_not_there_are_refused():
    config = experiments.get("maml-point-robot")
    with pytest.raises(ValueError, match=r"runtime\.num_devices=40.*8 cpu devices"):
        metarl_jax.build(changed(config, "runtime.num_devices", 40))
    with pytest.raises(ValueError, match=r"runtime\.platform='tpu'"):
        metarl_jax.build(changed(config, "runtime.platform", "tpu"))


def test_unknown_fields_and_names_in_a_file_get_a_suggestion():
    values = configs.to_dict(experiments.get("maml-point-robot"))
    with pytest.raises(ValueError, match=r"num_task; did you mean 'num_tasks'"):
        configs.from_dict(values | {"num_task": 3})
    with pytest.raises(ValueError, match="did you mean 'maml'"):
        configs.from_dict(values | {"learner": {"name": "mamml"}})


def test_a_version_is_written_and_what_another_one_lacks_is_known():
    config = experiments.get("maml-point-robot")
    values = configs.stamped(config)
    assert values["metarl_jax"] == metarl_jax.__version__
    assert configs.from_dict(values) == config
    assert configs.missing(values) == {}
    older = {name: value for name, value in values.items() if name != "log_every"}
    older["learner"] = {n: x for n, x in values["learner"].items() if n != "inner_lr"}
    assert configs.missing(older) == {"log_every": 5, "learner.inner_lr": 0.1}
    with pytest.raises(ValueError, match=r"unknown field warp; written by metarl_jax 9\.1"):
        configs.from_dict(values | {"warp": 1, "metarl_jax": "9.1"})


def test_float_hyperparameters_may_be_tracers(small_config, trees_close):
    """vmap over step sizes through `build` gives what single runs give."""
    base = small_config("maml")

    def train(inner_lr, learning_rate):
        config = replace(
            base,
            learner=replace(base.learner, inner_lr=inner_lr),
            outer=replace(base.outer, learning_rate=learning_rate),
        )
        program = metarl_jax.build(config)
        state = program.init(jax.random.key(0))
        state, _ = jax.lax.scan(lambda state, _: program.step(state), state, length=2)
        return state.meta.params

    inner_lrs, learning_rates = jnp.array([0.05, 0.2]), jnp.array([1e-3, 1e-2])
    together = jax.jit(jax.vmap(train))(inner_lrs, learning_rates)
    for index in range(2):
        alone = jax.jit(train)(float(inner_lrs[index]), float(learning_rates[index]))
        trees_close(jax.tree.map(lambda x, i=index: x[i], together), alone, rtol=1e-3, atol=1e-4)
    first = jax.tree.leaves(together)[0]
    assert np.abs(first[0] - first[1]).max() > 1e-4


def test_tracers_also_pass_through_sharded_tasks(small_config, trees_close):
    """The same, with the tasks spread over two devices."""
    base = small_config("rl2", "bandit")

    def train(num_devices, learning_rate):
        config = replace(
            base,
            outer=replace(base.outer, learning_rate=learning_rate),
            runtime=replace(base.runtime, num_devices=num_devices),
        )
        program = metarl_jax.build(config)
        return program.step(program.init(jax.random.key(0)))[0].meta.params

    rates = jnp.array([1e-3, 1e-2])
    one = jax.jit(jax.vmap(lambda rate: train(1, rate)))(rates)
    two = jax.jit(jax.vmap(lambda rate: train(2, rate)))(rates)
    trees_close(two, one, rtol=2e-3, atol=2e-4)


def test_on_a_cpu_as_many_tasks_act_side_by_side_as_the_cache_has_room_for():
    config = experiments.get("rl2-tabular-mdp")
    spec = make_spec(config)
    size = inner_state_bytes(spec.learner, config.num_episodes)
    rings = 2 * 64 * config.num_rounds * config.env.episode_length * 4
    assert rings < size < rings + 1000
    assert spec.collect_block * size <= CACHED_BYTES < (spec.collect_block + 1) * size
    chosen = replace(config, runtime=replace(config.runtime, collect_block=7))
    assert make_spec(chosen).collect_block == 7


def test_a_run_folder_of_another_layout_is_refused():
    values = configs.stamped(experiments.get("maml-point-robot"))
    for changed in (values | {"format": 1}, {k: v for k, v in values.items() if k != "format"}):
        with pytest.raises(UserError, match="cannot open: train the run again"):
            configs.from_dict(changed)
