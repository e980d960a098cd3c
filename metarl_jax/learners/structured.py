"""Adaptation by network structure: a code of the task chooses the weights or the modules of the policy.

There are two ways to obtain the code, for any structure of `metarl_jax.networks.structures`: a recurrent encoder
*infers* it at every step from the trial so far, or gradient steps on the task *tune* it while all weights stay fixed.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.spaces import Observation
from metarl_jax.core.types import (
    Array,
    InnerState,
    Memory,
    MetaParams,
    Metrics,
    PolicyOut,
    TimeStep,
    Trial,
)
from metarl_jax.core.validation import bounded, is_off
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners import fast_parameters
from metarl_jax.learners.base import (
    Described,
    LearnerConfig,
    MetaLearner,
    ParameterGroup,
    Setup,
    separate_group,
)
from metarl_jax.learners.gradient import GradientLearner
from metarl_jax.learners.rl2 import RL2
from metarl_jax.learners.sequence import SequencePolicy
from metarl_jax.networks.layers import Activation, orthogonal
from metarl_jax.networks.structures import (
    GeneratedPolicy,
    Generation,
    HyperInit,
    ModularPolicy,
    Routing,
    Structure,
)
from metarl_jax.networks.structures.modular import openness

GENERATOR = r"/structure/[A-Z][a-zA-Z]+Dense_\d+/"
"""Regular expression for the parameters of generated layers: the generator, and the weights that all tasks share."""

ROUTING = "^params/(observation_encoder|encoder|core|code_head|structure/gates)(/|$)"
"""Regular expression for the parameters that the costs of an inferred routing train, beside the policy's loss."""


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


@dataclasses.dataclass(frozen=True)
class ModularOptions(StructureOptions):
    """Options of policies made of modules, and the costs that shape them.

    Beside the policy's loss they minimise c_b M/L Σ_lm f_lm w_lm + c_s mean σ(10 gate). The first keeps all modules in
    use: f is the routing averaged over tasks, a running mean in the memory of the run, treated as a constant. The
    second removes connections.

    References:
      Fedus, Zoph & Shazeer, "Switch Transformers", JMLR 2022, for the first cost.
    """

    num_layers_of_modules: int = bounded(2, at_least=1)
    """Number of layers L of modules."""
    num_modules: int = bounded(4, at_least=1)
    """Number of modules M per layer."""
    module_size: int = bounded(32, at_least=1)
    """Number of units per module."""
    routing: Routing = "soft"
    """Weights of the modules of a layer: `soft`, the softmax of the code, or `top_k`, its largest entries, with the
    gradient of the softmax."""
    num_active: int = bounded(1, at_least=1)
    """Number of modules per layer that `top_k` routes through."""
    balance_coefficient: float = bounded(0.01, at_least=0)
    """Weight c_b of the cost of routing that favours the same modules in all tasks."""
    sparsity_coefficient: float = bounded(0.0, at_least=0)
    """Weight c_s of the cost of connections between modules; 0 adds no cost."""
    discrete_connections: bool = False
    """Fix the connections, each either cut or at full strength, by the gates of the run in `init_from`. Gates are no
    longer trained; the weights are trained further for this fixed structure."""

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if self.discrete_connections and not is_off(self.sparsity_coefficient):
            raise UserError(
                f"learner.sparsity_coefficient={self.sparsity_coefficient} has no effect with "
                "learner.discrete_connections: choose 0"
            )
        if self.routing == "top_k" and self.num_active > self.num_modules:
            raise UserError(
                f"learner.num_active={self.num_active} is more than learner.num_modules={self.num_modules}: with "
                f"learner.routing='top_k' choose {self.num_modules} or fewer"
            )

    def make_structure(
        self, env: TaskDistribution, log_std_init: float, has_value: bool
    ) -> Structure:
        return ModularPolicy(
            action_space=env.action_space,
            num_layers=self.num_layers_of_modules,
            num_modules=self.num_modules,
            module_size=self.module_size,
            activation=self.policy_activation,
            log_std_init=log_std_init,
            routing=self.routing,
            num_active=self.num_active,
            discrete_connections=self.discrete_connections,
            has_value=has_value,
        )

    def with_losses(self, learner: MetaLearner) -> MetaLearner:
        shape = self.num_layers_of_modules, self.num_modules

        def aux_loss(
            meta_params: MetaParams, memory: Memory, out: PolicyOut, trial: Trial
        ) -> tuple[Array, Metrics]:
            valid = trial.rollout.timestep.valid
            now = jnp.where(valid[..., None, None], out.latent, 0.0).sum((0, 1, 2)) / valid.size
            imbalance = self.num_modules * jnp.vdot(memory, now)
            imbalance /= self.num_layers_of_modules
            connections = openness(connection_gates(meta_params))
            cost = connections.mean() if connections.size else jnp.zeros(())
            loss = self.balance_coefficient * imbalance + self.sparsity_coefficient * cost
            return loss, {"imbalance": imbalance, "connection_cost": cost}

        def update_memory(meta_params: MetaParams, memory: Memory, trials: Trial) -> Memory:
            del meta_params
            # Before a learner has descended, its routing is the same in all tasks.
            first = -1 if self.needs_round_advantages else 0
            rollout = jax.tree.map(lambda x: x[:, first:], trials.rollout)
            now = mean_routing(rollout.policy.latent, rollout.timestep.valid)
            return 0.9 * memory + 0.1 * now

        return learner._replace(
            aux_loss=aux_loss,
            init_memory=lambda: jnp.full(shape, 1.0 / self.num_modules, jnp.float32),
            update_memory=update_memory,
            describe=describe_routing,
        )


def describe_routing(out: PolicyOut, inner_state: InnerState) -> Described:
    """Returns the weights of the modules of each layer, `[E, M]`."""
    del inner_state
    return {
        f"routing, layer {layer + 1}": out.latent[..., layer, :]
        for layer in range(out.latent.shape[-2])
    }


def mean_routing(weights: Array, valid: Array) -> Array:
    """Mean over valid steps `[...]` of routing weights `[..., L, M]`: `[L, M]`."""
    counted = jnp.where(valid[..., None, None], weights, 0.0)
    return counted.sum(axis=tuple(range(valid.ndim))) / jnp.maximum(valid.sum(), 1)


def connection_gates(meta_params: MetaParams) -> Array:
    """Returns the gates of the connections of a modular learner, `[L − 1, M, M]`."""
    flat = fast_parameters.flatten(meta_params)
    return next(x for path, x in flat.items() if path.endswith("/structure/gates"))


@dataclasses.dataclass(frozen=True)
class Modular(ModularOptions, Inferred):
    """A modular policy whose routing a recurrent encoder of the trial infers at every step.

    References:
      Yang et al., "Multi-Task Reinforcement Learning with Soft Modularization", NeurIPS 2020.
    """

    name: ClassVar[str] = "modular"

    routing_learning_rate: float | None = bounded(None, above=0)
    """Step size of the separate Adam optimizer of the encoder and the gates; `outer.learning_rate` when not given."""
    routing_max_gradient_norm: float | None = bounded(None, above=0)
    """A gradient of the encoder and the gates with a larger norm is scaled down to this norm; `outer.max_gradient_norm`
    when not given."""

    def with_losses(self, learner: MetaLearner) -> MetaLearner:
        # The costs reach no other parameter: those make the same step at any weight of the costs.
        group = ParameterGroup(
            "routing", ROUTING, self.routing_learning_rate, self.routing_max_gradient_norm
        )
        return super().with_losses(learner)._replace(parameter_groups=(group,))


@dataclasses.dataclass(frozen=True)
class TunedModular(ModularOptions, Tuned):
    """A modular policy whose routing adapts by inner gradient steps; all weights and connections stay fixed.

    References:
      Alet, Lozano-Pérez & Kaelbling, "Modular Meta-Learning", CoRL 2018, for choosing modules in a new task.
    """

    name: ClassVar[str] = "tuned_modular"
