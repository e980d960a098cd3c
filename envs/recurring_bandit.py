"""Bandits that recur, each with a cue: a learner can recall the best arm from an earlier trial instead of exploring
again."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.scenes import Scene
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.validation import bounded
from metarl_jax.envs import drawings
from metarl_jax.envs.bandit import before_pull, pull, regret_of_arms
from metarl_jax.envs.base import EnvState, Regret, TaskDistribution, check_split


class CuedArms(struct.PyTreeNode):
    """One task of `RecurringBandit`.

    Attributes:
      cue: `[B]` float32, bits 0 or 1.
      probabilities: `[k]` float32, the success probability of each arm.
    """

    cue: jax.Array
    probabilities: jax.Array


@dataclasses.dataclass(frozen=True)
class RecurringBandit(TaskDistribution):
    """Pull one of `num_arms` arms, in tasks that recur and can be recognised by a cue.

    The task is a cue of `num_bits` bits and the arms' success probabilities `[k]`: one arm, uniformly drawn, pays with
    `high`, the others with `low`. The cue is the observation `[B]`. An episode is one pull (T = 1) with reward
    Bernoulli(p[a]), so that a trial of n pulls has K = n rounds.

    Split `train` draws from a pool of `pool_size` tasks with distinct cues. Every `period` meta-steps another pool
    takes its place, in which the same cues mean other arms: weights, which learn over many pools, cannot hold the
    answers, and only a memory that outlives the trial can. Split `test` draws a task that was never in a pool, nor its
    cue: cues of pools have an even number of ones, those of `test` an odd one, so that each bit, and any B − 1 of them
    together, look alike in both. What a memory is worth is thus the difference between `train`, tasks met again, and
    `test`, tasks met for the first time, above all at the first pull.

    Known mean rewards of a pull, with the default options: random 0.18; best arm known, or remembered, 0.9. Known total
    of the Bayes-optimal policy over 10 pulls of a task not met before: 4.436.

    References:
      Ritter et al., "Been There, Done That: Meta-Learning with Episodic Recall", ICML 2018.
    """

    name: ClassVar[str] = "recurring_bandit"
    note: ClassVar[str] = "train tasks come from the pool of the moment; test tasks were never met"

    num_arms: int = bounded(10, at_least=2)
    """Number of arms k."""
    num_bits: int = bounded(10, at_least=2)
    """Bits of a cue, B."""
    pool_size: int = bounded(32, at_least=1)
    """Number of tasks in a pool; they recur while the pool lasts."""
    period: int = bounded(20, at_least=1)
    """Meta-steps that a pool lasts."""
    high: float = bounded(0.9, at_least=0, at_most=1)
    """Success probability of the best arm."""
    low: float = bounded(0.1, at_least=0, at_most=1)
    """Success probability of the other arms."""
    pool_seed: int = bounded(0, at_least=0)
    """Seed of the sequence of pools."""
    pool: int = bounded(0, at_least=0)
    """Index of the pool of the first meta-step."""

    @property
    def episode_length(self) -> int:
        return 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.num_arms)

    def at(self, step: int | jax.Array) -> "RecurringBandit":
        return dataclasses.replace(self, pool=self.pool + step // self.period)

    def sample(self, key: jax.Array, split: str = "train") -> CuedArms:
        check_split(self, split)
        if split == "train":
            index = jax.random.randint(key, (), 0, self.pool_size)
            return jax.tree.map(lambda x: x[index], self.pool_tasks())
        number_key, arm_key = jax.random.split(key)
        number = jax.random.randint(number_key, (), 0, self._num_cues)
        best = jax.random.randint(arm_key, (), 0, self.num_arms)
        return self._task(number, best, odd=True)

    def pool_tasks(self) -> CuedArms:
        """Returns all tasks of the current pool, `[pool_size, ...]`."""
        key = jax.random.fold_in(make_key(self.pool_seed), self.pool)
        number_key, arm_key = jax.random.split(key)
        numbers = jax.random.permutation(number_key, self._num_cues)[: self.pool_size]
        best = jax.random.randint(arm_key, (self.pool_size,), 0, self.num_arms)
        return jax.vmap(lambda number, arm: self._task(number, arm, odd=False))(numbers, best)

    def reset(self, task: CuedArms, key: jax.Array) -> EnvState:
        return before_pull(task.cue, key)

    def step(self, task: CuedArms, state: EnvState, action: jax.Array) -> EnvState:
        return pull(task.probabilities, state, action)

    def render_trial(
        self, task: CuedArms, states: EnvState, actions: np.ndarray, rewards: np.ndarray
    ) -> Scene:
        return drawings.choices(actions, rewards, np.asarray(task.probabilities))

    def oracle_action(self, task: CuedArms, observation: jax.Array) -> jax.Array:
        """Returns the best arm."""
        del observation
        return jnp.argmax(task.probabilities).astype(jnp.int32)

    def regret(self, task: CuedArms) -> Regret:
        return regret_of_arms(task.probabilities)

    def validate(self) -> None:
        if self.pool_size > self._num_cues:
            raise UserError(
                f"env.pool_size={self.pool_size} is more than the {self._num_cues} cues of env.num_bits="
                f"{self.num_bits} that are not kept for held-out tasks: choose fewer tasks, or more bits"
            )

    @property
    def _num_cues(self) -> int:
        """Number of cues with an even number of ones; as many have an odd number."""
        return 2 ** (self.num_bits - 1)

    def _task(self, number: jax.Array, best: jax.Array, odd: bool) -> CuedArms:
        """Returns the task whose cue is the bits of `number` and a parity bit, which makes the number of ones odd or
        even."""
        bits = (number >> jnp.arange(self.num_bits - 1)) & 1
        parity = (bits.sum() + odd) % 2
        cue = jnp.append(bits, parity).astype(jnp.float32)
        probabilities = jnp.where(jnp.arange(self.num_arms) == best, self.high, self.low)
        return CuedArms(cue, probabilities.astype(jnp.float32))
