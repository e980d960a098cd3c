"""What the first chunk of a run suggests to change."""

import dataclasses

import pytest

from metarl_jax.config import Config
from metarl_jax.defaults import default_config
from metarl_jax.runs.hints import Hints, hints

RL2: Config = default_config("rl2", "point_robot")


@pytest.mark.parametrize(
    ("learner", "num_steps", "masked", "said"),
    [
        ("rl2", None, 0.96, ["hint: 96% of the steps", "--num-steps 200"]),
        ("rl2", None, 0.4, []),
        ("rl2", 200, 0.96, []),
        ("maml", None, 0.96, []),
    ],
)
def test_steps_after_the_end_of_episodes(learner, num_steps, masked, said):
    config = dataclasses.replace(default_config(learner, "point_robot"), num_steps=num_steps)
    found = hints(config, {"masked_share": masked})
    assert len(found) == bool(said)
    assert all(part in found[0] for part in said)


def test_values_far_from_one():
    """A value loss of 800 is half the square of an error of 40: rewards a fortieth as large give errors of 1."""
    scaled = dataclasses.replace(RL2.advantage, reward_scaling=2.0)
    config = dataclasses.replace(RL2, advantage=scaled)
    (hint,) = hints(config, {"value_loss": 800.0})
    assert "value_loss 800" in hint
    assert "--advantage.reward-scaling 0.05" in hint
    assert not hints(config, {"value_loss": 8.0})
    unread = dataclasses.replace(default_config("maml", "point_robot"))
    assert not hints(unread, {"value_loss": 800.0})


def test_said_once():
    said = []
    callback = Hints(RL2, said.append)
    for _ in range(3):
        callback.on_chunk({"masked_share": 0.9})
    assert len(said) == 1
