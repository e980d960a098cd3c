"""MAML and its kin: which part of the policy adapts, and how large its steps are."""

import dataclasses
from typing import ClassVar

import flax.linen as nn

from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import Setup
from metarl_jax.learners.fast_parameters import LearnedInnerLR
from metarl_jax.learners.gradient import GradientLearner
from metarl_jax.networks.layers import Activation, MLPPolicy

PATTERNS = {"all": "", "head": "PolicyHead", "context": "context"}
"""Named parts of the policy of `MAML`."""


@dataclasses.dataclass(frozen=True)
class MAML(GradientLearner):
    """MAML: the policy takes a gradient step after every round, and is meta-learned through these steps.

    The preset `maml-point-robot-finn17` has the source's settings (`maml_examples/maml_trpo_point.py`,
    `sandbox/rocky/tf/algos/maml_npo.py` and, at test time, `maml_examples/test_maml_point.py` of the repository
    cbfinn/maml_rl): meta-trained by TRPO for one inner step of 0.5 on −mean log π A, 20 trajectories each before and
    after it, and a 100×100 ReLU policy; evaluated with 40 trajectories a round and steps that are halved after the
    first. The defaults are others: the surrogate `likelihood_ratio`, whose second derivative is less biased, and a
    64×64 tanh policy.

    Differences from the source that remain in that preset: layers are initialised orthogonal, and the last one small,
    instead of Xavier-uniform; and a loss is divided by all steps of a round, also those after an early end.

    References:
      Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
    """

    name: ClassVar[str] = "maml"

    hidden_sizes: tuple[int, ...] = bounded((64, 64), at_least=1)
    """Hidden layers of the policy."""
    activation: Activation = "tanh"
    """Activation of the hidden layers."""
    context_size: int = bounded(0, at_least=0)
    """Entries of a context vector that the network reads beside the observation; 0 for none."""
    adapts: str = "all"
    """The part that adapts: `all`, the `head`, the `context`, or the parameters whose path (such as
    `params/MLP_0/Dense_0/kernel`) matches this regular expression."""

    def suited_to(self, env: TaskDistribution) -> GradientLearner:
        suited = super().suited_to(env)
        if self.adapts == "context":
            return suited
        # Softmax policies are moved less by a step of the same size than means of Gaussians are.
        inner_lr = 0.3 if isinstance(env.action_space, Discrete) else 0.05
        return dataclasses.replace(suited, inner_lr=inner_lr)

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if self.adapts == "context" and self.context_size == 0:
            raise UserError(
                "learner.context_size=0 leaves learner.adapts='context' nothing to adapt: choose 5 for example"
            )

    @property
    def fast_pattern(self) -> str:
        return PATTERNS.get(self.adapts, self.adapts)

    @property
    def starts_at_zero(self) -> bool:
        # A context that began elsewhere would be a second bias of the first layer.
        return self.adapts == "context"

    def make_policy(self, env: TaskDistribution) -> nn.Module:
        return MLPPolicy(
            action_space=env.action_space,
            observation_encoder=self.make_encoder(env),
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            log_std_init=self.log_std_init,
            context_size=self.context_size,
        )


@dataclasses.dataclass(frozen=True)
class ANIL(MAML):
    """ANIL: only the head of the policy adapts; the features are shared by all tasks.

    References:
      Raghu et al., "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML", ICLR 2020.
    """

    name: ClassVar[str] = "anil"

    adapts: str = "head"
    """The part that adapts: the `head`."""


@dataclasses.dataclass(frozen=True)
class CAVIA(MAML):
    """CAVIA: only a context vector adapts, from zero; the network that reads it is shared by all tasks.

    References:
      Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019.
    """

    name: ClassVar[str] = "cavia"

    context_size: int = bounded(5, at_least=0)
    """Entries of the context vector that the network reads beside the observation."""
    adapts: str = "context"
    """The part that adapts: the `context`."""
    inner_lr: float = bounded(1.0, at_least=0)
    """Step size of inner gradient steps."""


@dataclasses.dataclass(frozen=True)
class MetaSGD(MAML):
    """Meta-SGD: every parameter has a step size of its own, meta-learned beside it.

    References:
      Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017.
    """

    name: ClassVar[str] = "meta_sgd"

    learn_inner_lr: LearnedInnerLR = "parameter"
    """Meta-learn step sizes, starting from `inner_lr`: one for each `parameter`."""
