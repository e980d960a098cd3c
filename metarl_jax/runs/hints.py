"""Hints from the first chunk of a run: settings that waste most of the experience, or that keep a policy from learning.

A hint is no fault: training goes on.
"""

from collections.abc import Callable
from typing import Any

from metarl_jax.config import Config
from metarl_jax.core.validation import is_off
from metarl_jax.runs.callbacks import Callback

MOST_OF_THE_STEPS = 0.5
LARGE_VALUE_LOSS = 50.0
"""Half the square of an error of ten. Where policy and value share layers, and the norm of the gradient is bounded,
the error of the value then takes nearly all of it (docs/results/defaults.md)."""


class Hints(Callback):
    """Says once, after the first chunk, what is worth a change."""

    def __init__(self, config: Config, say: Callable[[str], None]):
        self._config, self._say, self._is_done = config, say, False

    def on_chunk(self, line: dict[str, Any]) -> None:
        if self._is_done:
            return
        self._is_done = True
        for hint in hints(self._config, line):
            self._say(hint)


def hints(config: Config, line: dict[str, Any]) -> list[str]:
    """Returns what a chunk's metrics suggest, a sentence each."""
    found, masked = [], line.get("masked_share", 0.0)
    can_go_on = config.num_steps is None and not config.learner.needs_round_advantages
    if masked > MOST_OF_THE_STEPS and can_go_on:
        length = config.num_rounds * config.env.episode_length
        found.append(
            f"hint: {masked:.0%} of the steps come after the end of an episode, and count for nothing: with "
            f"--num-steps {length} the next episode begins at once"
        )
    value_loss, weight = line.get("value_loss", 0.0), getattr(config.outer, "value_coefficient", 0)
    if value_loss > LARGE_VALUE_LOSS and not is_off(weight):
        scale = config.advantage.reward_scaling
        wanted = scale / (2 * value_loss) ** 0.5
        found.append(
            f"hint: values are far from 1 (value_loss {value_loss:,.0f}), and their error may take all of the "
            f"gradient: if nothing is learned, try --advantage.reward-scaling {wanted:.1g}"
        )
    return found
