"""A humanoid that must find out which way to run."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.scenes import Mark
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import check_split
from metarl_jax.envs.brax.base import BraxFamily, Robot, Torso
from metarl_jax.envs.brax.drawing import mark_heading
from metarl_jax.envs.goals import sample_heading

_LARGEST_CONTROL = 0.4  # of the motors in the model; actions are scaled to it
_CONTROL_COST = 0.1
_ALIVE_BONUS = 5.0
_FORWARD_WEIGHT = 0.25 * 5.0  # the source divides by the time of one of five substeps
_HEALTHY_HEIGHT = (1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class HumanoidDir(BraxFamily):
    """Run in a direction of the plane that is not observed.

    The task is the heading u = (cos φ, sin φ), `[2]` float32, with φ ~ U[0, 2π) rad. With v the torso's velocity in the
    plane in m/s and a the action clipped to [-1, 1], of which the motors get 0.4 a, the reward is

        1.25 u·v - 0.1‖0.4 a‖² + 5

    and the episode terminates when the torso's height leaves [1, 2] m. The step that falls earns its bonus too. The
    tasks cover the whole circle, so that there is no `ood` split.

    Differences from the source. v is that of the torso, where the source takes the centre of mass. The cost of impacts,
    at most 10 a step there, is left out, because Brax does not compute external contact forces; the observation `[244]`
    is Brax's, without these forces. A step is 0.015 s, as in the source.

    References:
      Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019.
    """

    name: ClassVar[str] = "humanoid_dir"
    note: ClassVar[str] = "the tasks cover the whole circle: no task is out of distribution"
    robot: ClassVar[Robot] = Robot("brax.envs.humanoid:Humanoid", 244, 17, is_planar=False)

    horizon: int = bounded(200, at_least=1)
    """Steps per episode, of 0.015 s each."""

    def sample(self, key: jax.Array, split: str = "train") -> jax.Array:
        check_split(self, split)
        return sample_heading(key)

    def reward(self, task: jax.Array, torso: Torso, action: jax.Array) -> jax.Array:
        """1.25 u·v - 0.1‖0.4 a‖² + 5."""
        control_cost = _CONTROL_COST * jnp.sum((_LARGEST_CONTROL * action) ** 2)
        return _FORWARD_WEIGHT * jnp.dot(task, torso.velocity[:2]) - control_cost + _ALIVE_BONUS

    def terminates(self, torso: Torso) -> jax.Array:
        """Whether the torso's height is outside [1, 2] m."""
        return torso.has_left(*_HEALTHY_HEIGHT)

    def marks(self, task: jax.Array, path: np.ndarray) -> Sequence[Mark]:
        return [mark_heading(task, path)]
