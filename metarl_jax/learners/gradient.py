"""Adaptation by optimization: a few gradient steps on the new task, meta-trained through those steps.

*What* adapts is a part of the parameters chosen by path: all of them (MAML), the head (ANIL), a context vector (CAVIA)
or whatever an expression names. *How* it adapts is a step size, fixed or meta-learned, and a surrogate
(`metarl_jax.learners.surrogates`) whose second derivatives the outer gradient runs through, or not (`first_order`).
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key
from metarl_jax.core.spaces import Discrete, blank
from metarl_jax.core.trees import join_leading, split_leading
from metarl_jax.core.types import Array, MetaParams, Metrics, Transition
from metarl_jax.core.validation import bounded, is_off
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners import fast_parameters
from metarl_jax.learners.base import (
    LearnerConfig,
    MetaLearner,
    ParameterGroups,
    Setup,
    separate_group,
)
from metarl_jax.learners.fast_parameters import FlatParams, LearnedInnerLR
from metarl_jax.learners.gradient_step import descend, gradient_step
from metarl_jax.learners.surrogates import SurrogateName, make_surrogate
from metarl_jax.networks.layers import MIN_LOG_STD


class FastState(struct.PyTreeNode):
    """The inner state of a learner that adapts by gradient.

    Attributes:
      fast: the part of the policy that adapts, by path.
      num_steps: `[]` int32, the inner steps that it has taken in this trial.
    """

    fast: FlatParams
    num_steps: Array


@dataclasses.dataclass(frozen=True)
class GradientLearner(LearnerConfig):
    """Options of the learners that take a gradient step after every round, and how they are built.

    A trial of K rounds has K − 1 inner steps. Advantages must be known when a round ends: `advantage.credit` is
    `episode`. The meta-parameters are `policy` and, where step sizes are learned, `inner_lr`; the inner state is a
    `FastState`.
    """

    needs_round_advantages: ClassVar[bool] = True
    has_value: ClassVar[bool] = False
    result_rounds: ClassVar[Literal["last", "all"]] = "last"
    round_label: ClassVar[Literal["round", "episode"]] = "round"

    log_std_init: float = bounded(0.0, above=MIN_LOG_STD)
    """Initial log standard deviation of continuous actions, in units of half the width of the action box."""
    inner_lr: float = bounded(0.1, at_least=0)
    """Step size of inner gradient steps."""
    learn_inner_lr: LearnedInnerLR = "none"
    """Meta-learn step sizes, starting from `inner_lr`: `none`, one `scalar`, one for each `layer`, for each `array` of
    parameters, or for each `parameter` (Meta-SGD). Step sizes stay positive, except those of `parameter`."""
    inner_lr_factors: tuple[float, ...] = bounded((1.0,), at_least=0)
    """Factors of the step size in the first inner step, in the second, and so on; the last factor holds for all later
    steps. `1 0.5` halves them after the first step, as Finn et al. (2017) do at test time."""
    num_learned_steps: int = bounded(1, at_least=1)
    """Number of inner steps with learned step sizes of their own; those of the last hold for all later steps. 1 learns
    the same step sizes for all inner steps."""
    inner_lr_learning_rate: float | None = bounded(None, above=0)
    """Step size of a separate Adam optimizer of the learned step sizes; when neither this nor
    `inner_lr_max_gradient_norm` is given, they are optimised with the policy."""
    inner_lr_max_gradient_norm: float | None = bounded(None, above=0)
    """A gradient of the learned step sizes with a larger norm is scaled down to this norm, by a separate optimizer;
    `outer.max_gradient_norm` when not given."""
    first_order: bool = False
    """Treat the inner gradient as a constant in the outer one (FOMAML)."""
    surrogate: SurrogateName = "likelihood_ratio"
    """Inner objective: `likelihood_ratio` (LVC, as ProMP), `log_likelihood` (as MAML), `dice` or `loaded_dice`."""
    loaded_dice_lambda: float = bounded(0.5, at_least=0, at_most=1)
    """λ of `loaded_dice`, from 0 (low variance) to 1 (no bias)."""

    def validate(self, setup: Setup) -> None:
        super().validate(setup)
        if not self.inner_lr_factors:
            raise UserError(
                "learner.inner_lr_factors=() has no factor: choose 1 for constant steps"
            )
        if self.learn_inner_lr == "none":
            self._check_nothing_learned()
        if self.learn_inner_lr not in ("none", "parameter") and is_off(self.inner_lr):
            raise UserError(
                f"learner.inner_lr={self.inner_lr} cannot be the initial value of step sizes that stay positive, "
                f"as with learner.learn_inner_lr={self.learn_inner_lr!r}: choose 0.1 for example, or "
                "learn_inner_lr='parameter'"
            )

    def _check_nothing_learned(self) -> None:
        fields = ("num_learned_steps", "inner_lr_learning_rate", "inner_lr_max_gradient_norm")
        for field in fields:
            default = 1 if field == "num_learned_steps" else None
            value = getattr(self, field)
            if value != default:
                raise UserError(
                    f"learner.{field}={value} has no effect with learner.learn_inner_lr='none': choose "
                    "learn_inner_lr='array' for example, or leave it out"
                )

    def suited_to(self, env: TaskDistribution) -> "GradientLearner":
        """Returns these options with learned step sizes and, for a box, less action noise: full noise hides the
        goal."""
        is_discrete = isinstance(env.action_space, Discrete)
        return dataclasses.replace(
            self,
            learn_inner_lr="array" if self.learn_inner_lr == "none" else self.learn_inner_lr,
            log_std_init=self.log_std_init if is_discrete else -0.7,
        )

    @property
    def fast_pattern(self) -> str:
        """Regular expression that matches the paths of the parameters that adapt."""
        raise TypeError(f"{type(self).__name__} must define fast_pattern")

    @property
    def inner_lr_unit(self) -> float:
        """Unit of the meta-parameters of learned step sizes; an optimizer step changes them by its step size, in this
        unit."""
        return 1.0

    @property
    def starts_at_zero(self) -> bool:
        """Whether the fast parameters start a trial at zero, instead of from meta-parameters."""
        return False

    def make_policy(self, env: TaskDistribution) -> nn.Module:
        """Returns the policy, a module from observations `[..., *]` to `PolicyOut`."""
        raise TypeError(f"{type(self).__name__} must define make_policy")

    def num_adapted(self, env: TaskDistribution) -> int:
        shapes = jax.eval_shape(self.make(env).init, make_key(0))["policy"]
        fast, _ = fast_parameters.select(shapes, self.fast_pattern)
        return sum(math.prod(x.shape) for x in fast.values())

    def filled_parameters(self) -> dict[str, str]:
        return {"log_std_init": "^policy/.*log_std$", "inner_lr": "^inner_lr/"}

    def make(self, env: TaskDistribution) -> MetaLearner:
        module = self.make_policy(env)
        surrogate = make_surrogate(self.surrogate, self.loaded_dice_lambda)
        pattern = self.fast_pattern

        def init_policy(key):
            return module.init(key, blank(env.observation_space))

        fast_parameters.check_pattern(jax.eval_shape(init_policy, make_key(0)), pattern)

        def init(key):
            policy = init_policy(key)
            if self.learn_inner_lr == "none":
                return {"policy": policy}
            fast, _ = fast_parameters.select(policy, pattern)
            inner_lr = fast_parameters.init_inner_lr(self.learn_inner_lr, fast, self._first_lr)
            if self.num_learned_steps > 1:
                inner_lr = {
                    group: jnp.stack([x] * self.num_learned_steps) for group, x in inner_lr.items()
                }
            return {"policy": policy, "inner_lr": inner_lr}

        def slow_part(meta_params) -> FlatParams:
            return fast_parameters.select(meta_params["policy"], pattern)[1]

        def begin(meta_params, memory, key, num_episodes) -> FastState:
            del memory, key, num_episodes
            fast, _ = fast_parameters.select(meta_params["policy"], pattern)
            if self.starts_at_zero:
                fast = {path: jnp.zeros(x.shape) for path, x in fast.items()}
            return FastState(fast, jnp.zeros((), jnp.int32))

        def answer(fast: FlatParams, slow: FlatParams, observation) -> Any:
            return module.apply(fast_parameters.merge(slow, fast), observation)

        def act(meta_params, state: FastState, timestep):
            return answer(state.fast, slow_part(meta_params), timestep.observation), state

        def unroll(meta_params, state: FastState, timesteps):
            # Matrix products over one long axis [T·E] are faster than over [T, E].
            out, _ = act(meta_params, state, join_leading(timesteps))
            return split_leading(out, timesteps.valid.shape[1]), state

        def loss(fast: FlatParams, slow: FlatParams, rollout: Transition) -> Array:
            timestep, action = join_leading((rollout.timestep, rollout.action))
            out = answer(fast, slow, timestep.observation).with_mask(timestep.action_mask)
            log_prob = out.distribution.log_prob(action)
            return surrogate(log_prob.reshape(rollout.reward.shape), rollout)

        def adapt(meta_params, state: FastState, rollout) -> FastState:
            fast: Any = state.fast
            slow = slow_part(meta_params)
            inner_lr = self._step_sizes(meta_params, state)
            if self.first_order:
                constant = jax.lax.stop_gradient((fast, slow))
                fast = descend(fast, inner_lr, jax.grad(loss)(*constant, rollout))
            else:
                fast = gradient_step(loss, fast, slow, inner_lr, rollout)
            return FastState(fast, state.num_steps + 1)

        def to_meta_params(meta_params, state: FastState):
            adapted = fast_parameters.merge(slow_part(meta_params), state.fast)
            return {**meta_params, "policy": adapted}

        return MetaLearner(
            init=init,
            begin=begin,
            act=act,
            adapt=adapt,
            unroll=unroll,
            to_meta_params=None if self.starts_at_zero else to_meta_params,
            metrics=None if self.learn_inner_lr == "none" else self._metrics,
            parameter_groups=self._parameter_groups,
            weights_per_task=True,
        )

    @property
    def _parameter_groups(self) -> ParameterGroups:
        return separate_group(
            "inner_lr", "^inner_lr/", self.inner_lr_learning_rate, self.inner_lr_max_gradient_norm
        )

    @property
    def _first_lr(self) -> float:
        """Initial value of the meta-parameters of learned step sizes."""
        return self.inner_lr / self.inner_lr_unit

    def _learned_sizes(self, meta_params: MetaParams) -> FlatParams:
        """Returns the learned step sizes by group of parameters, with a leading axis of inner steps where those have
        sizes of their own."""
        learned = meta_params["inner_lr"]
        sizes = fast_parameters.step_sizes(self.learn_inner_lr, learned, self._first_lr)
        return {group: self.inner_lr_unit * x for group, x in sizes.items()}

    def _step_sizes(self, meta_params: MetaParams, state: FastState) -> FlatParams:
        """Returns the step sizes of the next inner step, by path of the fast parameters."""
        factors = self.inner_lr_factors
        factor = factors[0]
        if len(factors) > 1:
            factor = jnp.asarray(factors)[jnp.minimum(state.num_steps, len(factors) - 1)]
        if self.learn_inner_lr == "none":
            return {path: jnp.asarray(factor * self.inner_lr) for path in state.fast}
        sizes = self._learned_sizes(meta_params)
        if self.num_learned_steps > 1:
            step = jnp.minimum(state.num_steps, self.num_learned_steps - 1)
            sizes = {group: x[step] for group, x in sizes.items()}
        inner_lr = fast_parameters.expand_inner_lr(self.learn_inner_lr, state.fast, sizes)
        return {path: factor * x for path, x in inner_lr.items()}

    def _metrics(self, meta_params: MetaParams) -> Metrics:
        sizes = [jnp.ravel(x) for x in self._learned_sizes(meta_params).values()]
        sizes = jnp.concatenate(sizes)
        return {
            "inner_lr_min": sizes.min(),
            "inner_lr_mean": sizes.mean(),
            "inner_lr_max": sizes.max(),
        }
