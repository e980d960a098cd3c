"""`metarl bench` measures what it says that it measures."""

import json

import jax
import numpy as np
import pytest

from metarl_jax.analysis.scaling import growth
from metarl_jax.analysis.throughput import measure
from metarl_jax.analysis.timed_programs import make_simulate
from metarl_jax.baselines.policies import random_policy
from metarl_jax.cli.main import main
from metarl_jax.config import RuntimeConfig
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.types import MetaState
from metarl_jax.program.build import make_spec
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.step import sample_tasks


def test_the_simulator_alone_simulates_every_trial(small_config):
    """The sums are those of trials collected one by one: nothing of the simulation was left out."""
    config = small_config("maml", "point_robot", num_tasks=4)
    spec = make_spec(config)
    key = jax.random.key(0)
    sums = jax.jit(make_simulate(spec))(key)

    task_key, trial_key = jax.random.split(key)
    tasks = sample_tasks(spec, task_key, config.num_tasks, "train")
    advantages = make_estimator(PLAIN_RETURNS)
    expected = {"env_steps": 0.0, "reward": 0.0, "observation": 0.0}

    @jax.jit
    def collect(task, key):
        learner = random_policy(spec.env)
        sizes = {"num_rounds": config.num_rounds, "num_episodes": config.num_episodes}
        return collect_trial(spec.env, learner, advantages, MetaState(()), task, key, **sizes)

    for index, key in enumerate(jax.random.split(trial_key, config.num_tasks)):
        trial = collect(tasks[index], key)
        expected["env_steps"] += trial.rollout.timestep.valid.size
        expected["reward"] += float(trial.rollout.reward.sum())
        expected["observation"] += float(trial.rollout.timestep.observation.sum())
    for name, value in expected.items():
        np.testing.assert_allclose(float(sums[name]), value, rtol=1e-4, err_msg=name)


def test_where_the_time_of_maml_goes(small_config):
    config = small_config("maml", "bandit", num_rounds=2, runtime=RuntimeConfig(num_devices=2))
    report = measure(config, repeats=3, steps=1)
    assert report["device"]["count"] == 2
    ratio, step = report["ratio"], report["meta_step_env_steps_per_second"]
    assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert 0 < step["min"] <= step["max"]
    assert report["valid_share"]["median"] == 1.0
    parts = report["where_the_time_goes"]
    assert list(parts) == ["simulating", "acting and recording", "adapting", "updating"]
    assert parts["adapting"]["median"] != 0.0
    assert report["compile_seconds"]["simulator"] > 0
    assert report["peak_memory"]["host_bytes"] > 2**20


def test_command(capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    words = (
        "bench rl2-bandit --num-tasks 2 --num-episodes 2 --num-rounds 2 --learner.hidden-size 8 "
        "--outer.num-minibatches 1 --runtime.num-devices 1 --repeats 1 --steps 1 --json"
    )
    assert main(words.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["preset"] == "rl2-bandit"
    assert report["sizes"] == {
        "num_tasks": 2,
        "num_rounds": 2,
        "num_episodes": 2,
        "episode_length": 1,
        "num_steps": None,
    }
    assert report["where_the_time_goes"]["adapting"]["median"] == 0.0

    from metarl_jax.cli.bench import print_report

    print_report(report)
    assert "whole meta-step" in capsys.readouterr().out


def test_variants_are_measured_in_turns(capsys):
    tiny = "--num-tasks 2 --num-rounds 2 --outer.num-minibatches 1 --learner.hidden-size 4 --steps 1 --json"
    words = ["--against", "learner.core=lstm", "learner.core=min_gru,num-tasks=4"]
    assert main(["bench", "rl2-bandit", *tiny.split(), "--repeats", "2", *words]) == 0
    variants = json.loads(capsys.readouterr().out)["variants"]
    assert list(variants) == ["as given", *words[1:]]
    assert variants["as given"]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    for found in variants.values():
        rate, seconds = found["env_steps_per_second"], found["meta_step_seconds"]
        assert 0 < rate["min"] <= rate["median"]
        assert found["compile_seconds"] > 0
        steps = 2 * (4 if found is variants[words[2]] else 2)
        np.testing.assert_allclose(rate["max"] * seconds["min"], steps, rtol=1e-6)


def test_a_bad_variant_is_refused(capsys):
    assert main(["bench", "rl2-bandit", "--against", "min_gru"]) == 2
    assert "against='min_gru' must be FIELD=VALUE" in capsys.readouterr().err
    assert main(["bench", "rl2-bandit", "--against", "learner.core=gur"]) == 2


def test_scaling_varies_one_field_at_a_time_and_is_drawn(tmp_path, capsys):
    picture = tmp_path / "scaling.png"
    tiny = "--num-tasks 4 --num-episodes 1 --num-rounds 2 --learner.hidden-size 8 --runtime.num-devices 1 --repeats 2"
    axis = ["--steps", "2", "--scale", "num-tasks=4,12", "--out", str(picture)]
    words = ["bench", "rl2-bandit", *tiny.split(), *axis]
    assert main([*words, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["axes"]["num-tasks"]
    assert {x["value"]: x["env_steps"] for x in points} == {"4": 8, "12": 24}
    for point in points:
        median, found = 1e9 * point["meta_step_seconds"] / point["env_steps"], point["nanoseconds"]
        assert 0.999 * found["min"] <= median <= 1.001 * found["max"]
    assert picture.stat().st_size > 10_000


def test_growth_is_the_exponent_of_time():
    points = [{"env_steps": n, "meta_step_seconds": 1e-3 * n**1.5} for n in (4, 16, 16, 32)]
    first, second, third, last = growth(points)
    assert (first, third) == (None, None)
    assert (second, last) == pytest.approx((1.5, 1.5))


def test_malformed_scales_are_refused(capsys):
    for words, message in [
        (["--scale", "num-tasks"], "scale='num-tasks' must be FIELD=VALUE"),
        (["--scale", "num-tasks=0"], "num_tasks=0"),
        (["--scale", "num-tasks=2", "--against", "num-tasks=4"], "give one of the two"),
        (["--out", "x.png"], "is the picture of --scale"),
    ]:
        assert main(["bench", "rl2-bandit", *words]) == 2
        assert message in capsys.readouterr().err
