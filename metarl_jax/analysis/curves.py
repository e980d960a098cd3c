"""A curve of returns over training and over the rounds of a trial, to be drawn."""

from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """The curves of a configuration, over all of its seeds.

    Attributes:
      name: for the legend.
      num_seeds: S.
      meta_steps, env_steps: `[P]`, when it was evaluated while training; env-steps are means over seeds.
      learning: held-out return then, `[P]`: of the rounds by which checkpoints are ranked.
      learning_ci95: `[2, P]`, over seeds; nan for one seed.
      adaptation: return by round at the end, `[K]`.
      adaptation_ci95: `[2, K]`, over seeds, or over tasks for one seed.
      round_label: name of a round.
    """

    name: str
    num_seeds: int
    meta_steps: np.ndarray
    env_steps: np.ndarray
    learning: np.ndarray
    learning_ci95: np.ndarray
    adaptation: np.ndarray
    adaptation_ci95: np.ndarray
    round_label: str
