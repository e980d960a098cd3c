"""Records that cross `jit`, and the legend of their axes.

The axes, in the order in which they stand:

| letter | axis | length |
|---|---|---|
| `N` | tasks of a meta-batch | `config.num_tasks` |
| `K` | rounds of episodes in a trial (inner steps + 1 for gradient adaptation) | `config.num_rounds` |
| `T` | steps of an episode | `env.episode_length` |
| `E` | parallel episodes of a round | `config.num_episodes` |
| `O`, `A` | observation entries, action entries | `env.observation_size`, `env.action_space` |

A *task* is one MDP. An *episode* is one run in it from a reset to termination or to `T` steps. A *round* is `E`
episodes side by side, after which the learner may adapt. A *trial* is `K` rounds in one task: the life of an inner
state. Functions of a learner see one task; the fused step maps them over `N`.
"""

from typing import Any

import jax
from flax import struct

from metarl_jax.core.distributions import Distribution
from metarl_jax.core.normalize import RunningStatistics

Array = jax.Array
PyTree = Any
Device = Any
"""A `jax.Device`, which type checkers take for a variable."""
Key = jax.Array
"""A typed PRNG key (`jax.random.key`)."""

MetaParams = PyTree
"""What is learned across tasks."""
InnerState = PyTree
"""What is learned within a trial: fast parameters, a recurrent carry, a posterior."""
Memory = PyTree
"""What outlives a trial without being a parameter."""
Metrics = dict[str, Array]


class TimeStep(struct.PyTreeNode):
    """What a learner sees before it acts.

    Attributes:
      observation: `[..., O]` float32, normalised where the run normalises.
      previous_action: `[..., A]` float32, by `env.encode_action`; zeros at the first step of a trial. It is carried
        over the boundaries of episodes, as in RL² (Duan et al. 2016).
      previous_reward: `[...]` float32, carried over likewise.
      is_first: `[...]` bool, the first step of an episode.
      valid: `[...]` bool, False once the episode has terminated. An invalid step counts nowhere, and a learner must
        not let it change its inner state.
    """

    observation: Array
    previous_action: Array
    previous_reward: Array
    is_first: Array
    valid: Array


class PolicyOut(struct.PyTreeNode):
    """What a learner answers at a step.

    Attributes:
      distribution: over actions, `[...]`.
      value: of the state, `[...]`; zeros from a learner without a value function.
      latent: what the learner takes the task for, `[..., Z]` arrays: a posterior, an embedding, a routing.
    """

    distribution: Distribution
    value: Array
    latent: PyTree = ()


class Transition(struct.PyTreeNode):
    """One recorded step, of any leading axes. A rollout is a `Transition` of `[T, E]`.

    Attributes:
      timestep: what the learner saw.
      action: `[..., A]` float32 for `Box`, `[...]` int32 for `Discrete`.
      policy: what the learner answered when the step was recorded.
      log_prob: `[...]` log-likelihood of `action` under `policy`.
      reward: `[...]`, zero on invalid steps.
      training_reward: `[...]`, what advantages are made of (`advantage.training_reward`): the reward, or minus the
        regret of the action. Zero on invalid steps.
      advantage: `[...]`, zero on invalid steps (see `metarl_jax.core.advantages`).
      target: `[...]` regression target of the value function.
    """

    timestep: TimeStep
    action: Array
    policy: PolicyOut
    log_prob: Array
    reward: Array
    training_reward: Array
    advantage: Array
    target: Array


class Trial(struct.PyTreeNode):
    """The whole record of a learner in one task, which `replay_trial` runs again.

    Attributes:
      rollout: `Transition` of `[K, T, E]`.
      key: the key that `begin` was given.
      observation_statistics: count and moments of the raw observations of the valid steps; None where the run does
        not normalise.
    """

    rollout: Transition
    key: Key
    observation_statistics: RunningStatistics | None

    def episode_returns(self) -> Array:
        """Undiscounted return of every episode, `[..., K, E]`."""
        return self.rollout.reward.sum(axis=-2)


class MetaState(struct.PyTreeNode):
    """What a learner brings into a new task, and all that is needed to evaluate it there.

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
    """Everything that a run needs to go on: restoring it resumes the run exactly.

    Attributes:
      step: int32, meta-steps done.
      meta: what the learner brings into a new task.
      opt_state: the outer method's state.
      key: the key from which every later draw of the run descends.
      consecutive_skips: int32, how many updates up to now were skipped one after another for not being finite.
    """

    step: Array
    meta: MetaState
    opt_state: PyTree
    key: Key
    consecutive_skips: Array
