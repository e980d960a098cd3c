"""Adaptation by network structure: a code of the task chooses the weights or the modules of the policy.

There are two ways to obtain the code, for any structure of `metarl_jax.networks.structures`: a recurrent encoder
*infers* it at every step from the trial so far, or gradient steps on the task *tune* it while all weights stay fixed.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn

from metarl_jax.core.spaces import Observation
from metarl_jax.core.types import (
    Array,
    PolicyOut,
    TimeStep,
)
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import (
    LearnerConfig,
    MetaLearner,
)
from metarl_jax.learners.gradient import GradientLearner
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequencePolicy
from metarl_jax.networks.layers import Activation, orthogonal
from metarl_jax.networks.structures import (
    Structure,
)


class InferredPolicy(SequencePolicy):
    """An encoder of the trial into a code, and the structure that acts on it."""

    structure: Structure

    def setup(self):
        super().setup()
        init = orthogonal(self.structure.code_scale)
        self.code_head = nn.Dense(self.structure.code_size, kernel_init=init)

    def answer(self, features: Array, timestep: TimeStep) -> PolicyOut:
        seen = self.observation_encoder(timestep.observation)
        return self.structure(self.code_head(features), seen)


class TunedPolicy(nn.Module):
    """A structure whose code is a parameter."""

    structure: Structure
    observation_encoder: nn.Module

    @nn.compact
    def __call__(self, observation: Observation) -> PolicyOut:
        code = self.param("code", self.structure.init_code)
        return self.structure(code, self.observation_encoder(observation))


@dataclasses.dataclass(frozen=True)
class StructureOptions(LearnerConfig):
    """The base of learners whose policy is a structure (`metarl_jax.networks.structures`)."""

    policy_activation: Activation = "tanh"
    """Activation of the policy."""

    def make_structure(
        self, env: TaskDistribution, log_std_init: float, has_value: bool
    ) -> Structure:
        """Builds the structure (see `metarl_jax.networks.structures`)."""
        raise TypeError(f"{type(self).__name__} must define make_structure")

    def make(self, env: TaskDistribution) -> MetaLearner:
        return self.with_losses(super().make(env))

    def with_losses(self, learner: MetaLearner) -> MetaLearner:
        """Returns the learner with the auxiliary losses of the structure."""
        return learner


@dataclasses.dataclass(frozen=True)
class Inferred(StructureOptions, RL2):
    """The base of learners that infer the code at every step with the sequence model of RL²."""

    own_head: ClassVar[str | None] = "the structure"

    def make_policy(self, env: TaskDistribution) -> SequencePolicy:
        structure = self.make_structure(env, self.log_std_init, has_value=True)
        return InferredPolicy(**self.policy_options(env), structure=structure)

    def num_adapted(self, env: TaskDistribution) -> int:
        return self.make_structure(env, self.log_std_init, has_value=True).code_size


@dataclasses.dataclass(frozen=True)
class Tuned(StructureOptions, GradientLearner):
    """The base of learners that take gradient steps on the code alone, after every round."""

    inner_lr: float = bounded(10.0, above=0)
    """Step size of inner gradient steps."""

    @property
    def fast_pattern(self) -> str:
        return "params/code$"

    @property
    def inner_lr_unit(self) -> float:
        # They are far above 1, and would not be learned in units of 1: Adam moves a number by 0.5 in a run.
        return self.inner_lr

    def suited_to(self, env: TaskDistribution) -> GradientLearner:
        return dataclasses.replace(super().suited_to(env), learn_inner_lr="parameter")

    def make_policy(self, env: TaskDistribution) -> nn.Module:
        structure = self.make_structure(env, self.log_std_init, has_value=False)
        return TunedPolicy(structure, self.make_encoder(env))
