"""Modular policies: a code of the task combines modules of the policy."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.errors import UserError
from metarl_jax.core.types import (
    Array,
    InnerState,
    Memory,
    MetaParams,
    Metrics,
    PolicyOut,
    Trial,
)
from metarl_jax.core.validation import bounded, is_off
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners import fast_parameters
from metarl_jax.learners.base import (
    Described,
    MetaLearner,
    ParameterGroup,
    Setup,
)
from metarl_jax.learners.structured import Inferred, StructureOptions, Tuned
from metarl_jax.networks.structures import (
    ModularPolicy,
    Routing,
    Structure,
)
from metarl_jax.networks.structures.modular import openness

ROUTING = "^params/(observation_encoder|encoder|core|code_head|structure/gates)(/|$)"
"""Regular expression for the parameters that the costs of an inferred routing train, beside the policy's loss."""


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
