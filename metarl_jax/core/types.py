"""Records that cross `jit`, and the legend of their axes.

The axes, in the order in which they stand:

| letter | axis | length |
|---|---|---|
| `N` | tasks of a meta-batch | `config.num_tasks` |
| `K` | rounds of episodes in a trial (inner steps + 1 for gradient adaptation) | `config.num_rounds` |
| `T` | steps of an episode, or `config.num_steps` of a trial by steps | `env.episode_length` |
| `E` | parallel episodes of a round | `config.num_episodes` |
| `O`, `A` | observation entries, action entries | `env.observation_size`, `env.action_space` |

A *task* is one MDP. An *episode* is one run in it from a reset to termination or to `T` steps. A *round* is `E`
episodes side by side, after which the learner may adapt. A *trial* is `K` rounds in one task: the life of an inner
state. Functions of a learner see one task; the fused step maps them over `N`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.distributions import Categorical, Distribution
from metarl_jax.core.errors import UserError
from metarl_jax.core.normalize import RunningStatistics
from metarl_jax.core.spaces import Observation

Array = jax.Array
PyTree = Any
Device = Any
"""A `jax.Device`; an alias, because type checkers take that name for a variable."""
Key = jax.Array
"""A typed PRNG key (`jax.random.key`)."""

MetaParams = PyTree
"""Parameters that are learned across tasks."""
InnerState = PyTree
"""State that is learned within a trial: fast parameters, a recurrent carry, a posterior."""
Memory = PyTree
"""State that outlives a trial without being a parameter, such as an episodic memory."""
Metrics = dict[str, Array]


class TimeStep(struct.PyTreeNode):
    """The input of a learner at a step.

    Attributes:
      observation: `[..., *]` of the environment's `observation_space`, often one vector `[..., O]`; its floats are
        normalised where the run normalises.
      previous_action: `[..., A]` float32, by `env.encode_action`; zeros at the first step of a trial. It is carried
        over the boundaries of episodes, as in RL² (Duan et al. 2016).
      previous_reward: `[...]` float32, carried over likewise.
      is_first: `[...]` bool, the first step of an episode.
      valid: `[...]` bool, False once the episode has terminated. An invalid step counts nowhere, and a learner must
        not let it change its inner state.
      outcome: `[..., *]`, the observation that the previous action led to. Within an episode it is `observation`; at
        the first step of an episode it is the last observation of the episode before, and at that of a trial
        `observation`. None where the learner does not read it (`MetaLearner.reads_outcome`).
      action_mask: `[..., A]` bool, the actions that may be taken; None where the environment has no masks.
    """

    observation: Observation
    previous_action: Array
    previous_reward: Array
    is_first: Array
    valid: Array
    outcome: Observation | None = None
    action_mask: Array | None = None


class PolicyOut(struct.PyTreeNode):
    """The answer of a learner at a step.

    Attributes:
      distribution: over actions, `[...]`.
      value: of the state, `[...]`; zeros from a learner without a value function.
      latent: the learner's representation of the task, `[..., Z]` arrays: a posterior, an embedding, a routing.
    """

    distribution: Distribution
    value: Array
    latent: PyTree = ()

    def with_mask(self, mask: Array | None) -> "PolicyOut":
        """Returns the answer with probability zero for actions that are False in `mask` `[..., A]`."""
        if mask is None:
            return self
        if not isinstance(self.distribution, Categorical):
            raise UserError("action masks need a Discrete action space: leave action_mask out")
        return self.replace(distribution=self.distribution.masked(mask))


class Transition(struct.PyTreeNode):
    """One recorded step, of any leading axes. A rollout is a `Transition` of `[T, E]`.

    Attributes:
      timestep: what the learner saw.
      action: `[..., A]` float32 for `Box`, `[...]` int32 for `Discrete`.
      policy: what the learner answered when the step was recorded.
      log_prob: `[...]` log-likelihood of `action` under `policy`.
      reward: `[...]`, zero on invalid steps.
      terminated: `[...]` bool, whether the action ended the episode by termination. Reaching the time limit is not
        termination.
      training_reward: `[...]`, the signal that advantages are computed from (`advantage.training_reward`): the reward,
        or minus the regret of the action. Zero on invalid steps.
      advantage: `[...]`, zero on invalid steps (see `metarl_jax.core.advantages`).
      target: `[...]` regression target of the value function.
    """

    timestep: TimeStep
    action: Array
    policy: PolicyOut
    log_prob: Array
    reward: Array
    terminated: Array
    training_reward: Array
    advantage: Array
    target: Array


class EpisodeMetrics(struct.PyTreeNode):
    """Metrics of episodes, from `EnvState.metrics`: trees of `[K, E]`.

    Attributes:
      mean: over the valid steps of an episode.
      last: at the last valid step of an episode.
    """

    mean: PyTree = ()
    last: PyTree = ()


class SegmentStart(struct.PyTreeNode):
    """What was before the first step of a segment of a trial.

    Attributes:
      inner_state: of the learner.
      num_finished: `[E]` int32, episodes that had come to their end.
      episode_return: `[E]`, rewards until then of the episode that was under way.
    """

    inner_state: InnerState
    num_finished: Array
    episode_return: Array


class Trial(struct.PyTreeNode):
    """The whole record of a learner in one task, which `replay_trial` runs again.

    A trial of K rounds has the axes `[K, T, E]`. A trial by steps (`config.num_steps`) is one round `[1, S, E]` of S
    steps, in which up to K episodes follow one another. It may be recorded in segments (`config.num_segments`): S is
    then the number of steps of one of them.

    Attributes:
      rollout: `Transition` of `[K, T, E]`.
      key: the key that `begin` was given.
      observation_statistics: count and moments of the raw observations at valid steps; None if the run does not
        normalise observations.
      last: `TimeStep` of `[K, E]`, the timestep after the last step of each round, with the observation that the last
        action led to. `valid` is False where the episode had terminated.
      last_value: `[K, E]`, the value of `last` where the episode was cut there, and 0 where it had ended; None where
        advantages take every round to end with its last step.
      metrics: what the environment reports of each episode.
      episode_index: `[1, S, E]` int32 in a trial by steps, which of the K episodes a step is of; otherwise None.
      num_finished: `[E]` int32 in a trial by steps, how many episodes came to their end; otherwise None.
      num_rounds: K, also of a trial by steps.
      env_states: the states of the environment `[K, T, E, ...]` in which the actions were taken, where they were asked
        for.
      begun: what was before this segment; None where the record begins with the trial.
      under_way: where a segment has ended, for the next one to go on from (`metarl_jax.program.segments.Live`); None
        where there is none.
      described: what the learner says of itself at each step (`MetaLearner.describe`), `[K, T, E, Z]` by name, where
        the states were asked for.
      task: `[G]`, the task as `env.oracle_observation` describes it, for learners whose loss reads it
        (`MetaLearner.predicts_task`); otherwise None.
    """

    rollout: Transition
    key: Key
    observation_statistics: RunningStatistics | None
    last: TimeStep
    last_value: Array | None = None
    metrics: EpisodeMetrics = EpisodeMetrics()
    episode_index: Array | None = None
    num_finished: Array | None = None
    num_rounds: int = struct.field(pytree_node=False, default=1)
    env_states: PyTree = None
    begun: SegmentStart | None = None
    under_way: PyTree = None
    described: PyTree = None
    task: Array | None = None

    def episode_returns(self) -> Array:
        """Undiscounted return of every episode, `[..., K, E]`; in a trial by steps, up to its last recorded step."""
        if self.episode_index is None:
            return self.rollout.reward.sum(axis=-2)
        returns = sum_by_episode(self.rollout.reward, self.episode_index, self.num_rounds)
        if self.begun is None:
            return returns
        is_under_way = self._rounds() == self.begun.num_finished[..., None, :]
        return returns + jnp.where(is_under_way, self.begun.episode_return[..., None, :], 0.0)

    def take_rounds(self, start: int, stop: int) -> "Trial":
        """Returns the trial restricted to the rounds [start, stop)."""

        def cut(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda x: x[start:stop], tree)

        return self.replace(
            rollout=cut(self.rollout), last=cut(self.last), last_value=cut(self.last_value)
        )

    def is_finished(self) -> Array:
        """Whether an episode ended within the record, `[..., K, E]` bool. In a trial by steps, the last one may be cut,
        and later ones may not have begun."""
        if self.num_finished is None:
            reward = self.rollout.reward
            return jnp.ones((*reward.shape[:-2], reward.shape[-1]), bool)
        is_finished = self._rounds() < self.num_finished[..., None, :]
        if self.begun is None:
            return is_finished
        return is_finished & (self._rounds() >= self.begun.num_finished[..., None, :])

    def _rounds(self) -> Array:
        return jnp.arange(self.num_rounds)[:, None]


def sum_by_episode(values: Array, episode_index: Array, num_episodes: int) -> Array:
    """Returns the sums over the steps of each episode: `[..., 1, S, E]` to `[..., K, E]`."""
    is_mine = episode_index[..., 0, None, :, :] == jnp.arange(num_episodes)[:, None, None]
    return jnp.where(is_mine, values[..., 0, None, :, :], 0).sum(axis=-2)


class MetaState(struct.PyTreeNode):
    """The learned state, with which a learner begins a new task.

    Attributes:
      params: the meta-parameters, learned across tasks.
      memory: what the learner keeps beyond a trial.
      normalizer: running statistics of the observations, used frozen within a meta-step; None where the run does not
        normalise.
    """

    params: MetaParams
    memory: Memory = ()
    normalizer: RunningStatistics | None = None


class TrainState(struct.PyTreeNode):
    """The state of a run: restoring it resumes the run exactly.

    Attributes:
      step: int32, meta-steps done.
      meta: the learned state with which the learner begins a new task.
      opt_state: the outer method's state.
      key: the key from which every later draw of the run descends.
      consecutive_skips: int32, the number of latest updates in a row that were skipped because they were not finite.
      live: trials that are under way between meta-steps (`metarl_jax.program.segments.LiveTrials`); None where every
        meta-step begins its own.
    """

    step: Array
    meta: MetaState
    opt_state: PyTree
    key: Key
    consecutive_skips: Array
    live: PyTree = None
