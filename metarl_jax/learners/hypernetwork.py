"""Hypernetworks: a code of the task generates the weights of the policy."""

import dataclasses
from typing import ClassVar

from metarl_jax.core.errors import UserError
from metarl_jax.core.validation import bounded
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import (
    MetaLearner,
    Setup,
    separate_group,
)
from metarl_jax.learners.structured import Inferred, StructureOptions, Tuned
from metarl_jax.networks.structures import (
    GeneratedPolicy,
    Generation,
    HyperInit,
    Structure,
)

GENERATOR = r"/structure/[A-Z][a-zA-Z]+Dense_\d+/"
"""Regular expression for the parameters of generated layers: the generator, and the weights that all tasks share."""


@dataclasses.dataclass(frozen=True)
class HypernetworkOptions(StructureOptions):
    """Options of policies whose weights a hypernetwork generates."""

    code_size: int = bounded(25, at_least=1)
    """Entries of the code of a task."""
    policy_sizes: tuple[int, ...] = bounded((32, 32), at_least=1)
    """Hidden layers of the generated policy."""
    generation: Generation = "full"
    """How a layer depends on the code: `full` (a linear map to every weight), `chunked` (a shared small network, piece
    by piece), `low_rank` (the code scales a few directions of a shared layer), `film` (it scales and shifts the outputs
    of one), or, as a control, `concat` (it is one more input of a shared layer)."""
    hyper_init: HyperInit = "bias"
    """Initialisation of the generator: `bias` (the policy starts as an ordinary one, whatever the code), `small` (it
    starts close to one), or `normal` (the generator starts as an ordinary network)."""
    embedding_size: int | None = bounded(None, at_least=1)
    """Size of a layer that all tasks share, between the observation and the generated layers; none when not given."""
    separate_value: bool = False
    """Generate hidden layers of its own for the value function, instead of reading it from those of the policy."""
    bounded_code: bool = False
    """Pass the code through a tanh before the generator reads it."""
    generator_learning_rate: float | None = bounded(None, above=0)
    """Step size of a separate Adam optimizer of the generator; when neither this nor `generator_max_gradient_norm` is
    given, it is optimised with all other parameters."""
    generator_max_gradient_norm: float | None = bounded(None, above=0)
    """A gradient of the generator with a larger norm is scaled down to this norm, by a separate optimizer;
    `outer.max_gradient_norm` when not given."""

    def with_losses(self, learner: MetaLearner) -> MetaLearner:
        group = separate_group(
            "generator", GENERATOR, self.generator_learning_rate, self.generator_max_gradient_norm
        )
        return learner._replace(parameter_groups=(*learner.parameter_groups, *group))

    def make_structure(
        self, env: TaskDistribution, log_std_init: float, has_value: bool
    ) -> Structure:
        return GeneratedPolicy(
            action_space=env.action_space,
            code_size=self.code_size,
            hidden_sizes=self.policy_sizes,
            activation=self.policy_activation,
            log_std_init=log_std_init,
            generation=self.generation,
            hyper_init=self.hyper_init,
            has_value=has_value,
            embedding_size=self.embedding_size,
            separate_value=self.separate_value,
            bounded_code=self.bounded_code,
        )


@dataclasses.dataclass(frozen=True)
class Hypernetwork(HypernetworkOptions, Inferred):
    """Recurrent hypernetwork: a recurrent encoder of the trial generates the weights of the policy at every step.

    As in the source (`RNN_HN` of the repository jacooba/hyper: `models/policy.py`, `experiment_sets/models.py` and
    `main_results.py`): a GRU, a code of 25 numbers, one linear map from the code to every weight and bias (W₀ and b₀
    are its bias), the initialisation of Beck et al. (2022), and PPO through encoder and generator. Its sizes are not
    the defaults: the preset `hypernetwork-half-cheetah-vel-beck23` has them, with an embedding of the state that all
    tasks share, actor and critic apart, and a code through tanh.

    Differences from the source that remain, in that preset too: its value loss is a clipped Huber loss, its encoder
    embeds action, state and reward apart, and its initialisation is that of a `normc` layer instead of an orthogonal
    one. It reports the best of five learning rates from 3e-5 to 3e-3 for each method; here a sweep over
    `outer.learning_rate` and `learner.generator_learning_rate` does the same.

    References:
      Beck et al., "Recurrent Hypernetworks are Surprisingly Strong in Meta-RL", NeurIPS 2023.
      Beck et al., "Hypernetworks in Meta-Reinforcement Learning", CoRL 2022.
    """

    name: ClassVar[str] = "hypernetwork"


@dataclasses.dataclass(frozen=True)
class TunedHypernetwork(HypernetworkOptions, Tuned):
    """A hypernetwork whose code adapts by inner gradient steps from a learned start; all weights stay fixed.

    References:
      Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019, for steps on a context alone.
      von Oswald et al., "Continual learning with hypernetworks", ICLR 2020.
    """

    name: ClassVar[str] = "tuned_hypernetwork"

    hyper_init: HyperInit = "small"
    """Initialisation of the generator: `bias`, `small` or `normal`. With `bias`, codes have no gradient at first."""

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if self.separate_value:
            raise UserError(
                f"learner.separate_value=True has no effect with learner {self.name!r}, which has no value function: "
                "leave it out, or choose learner 'hypernetwork'"
            )
