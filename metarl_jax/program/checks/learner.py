"""The checks of a learner: return values of its functions, agreement of replay and acting, and states that must not
change."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.declarations import check_declaration, check_values
from metarl_jax.core.describe import describe
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.spaces import Discrete
from metarl_jax.core.types import PolicyOut, Transition, Trial
from metarl_jax.core.validation import check_fields
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.envs.contract import arrays, check_properties
from metarl_jax.envs.optional import has_action_mask
from metarl_jax.learners.base import LearnerConfig, MetaLearner
from metarl_jax.learners.sequence import blank_timestep
from metarl_jax.program.checks.calls import (
    check_defined,
    check_signature,
    explained,
    filled,
    mismatch,
    trace,
    unchanged,
)
from metarl_jax.program.checks.replay import NUM_EPISODES, check_replay, collect_unadapted

FUNCTIONS = {
    "init": (("key",), "init(key)"),
    "begin": (
        ("meta_params", "memory", "key", "num_episodes"),
        "begin(meta_params, memory, key, num_episodes)",
    ),
    "act": (("meta_params", "inner_state", "timestep"), "act(meta_params, inner_state, timestep)"),
    "adapt": (
        ("meta_params", "inner_state", "rollout"),
        "adapt(meta_params, inner_state, rollout)",
    ),
    "unroll": (
        ("meta_params", "inner_state", "timesteps"),
        "unroll(meta_params, inner_state, timesteps)",
    ),
    "aux_loss": (
        ("meta_params", "memory", "out", "trial"),
        "aux_loss(meta_params, memory, out, trial)",
    ),
    "to_meta_params": (("meta_params", "inner_state"), "to_meta_params(meta_params, inner_state)"),
    "metrics": (("meta_params",), "metrics(meta_params)"),
    "init_memory": ((), "init_memory()"),
    "update_memory": (
        ("meta_params", "memory", "trials"),
        "update_memory(meta_params, memory, trials)",
    ),
}
"""Signature of each function of a `MetaLearner`, for messages."""


@under_fixed_settings
def check_learner(learner: LearnerConfig, env: TaskDistribution, *, run: bool = True) -> None:
    """Checks that a user's learner fulfils the contract of the library.

    All of its functions are traced, and then run on a short trial of random observations and rewards.

    Args:
      learner: its configuration.
      env: the environment whose observations and actions it is built for; nothing is simulated.
      run: False only traces.

    Raises:
      UserError: for the first mistake, naming class, function, what it returned, what was expected and the remedy.
    """
    check_declaration(learner, LearnerConfig)
    check_values(learner)
    name = type(learner).__name__
    check_fields(learner, f"{name}.")
    check_defined(learner, LearnerConfig, "make", "make(self, env)")
    check_signature(f"{name}.make", learner.make, [("env",)], "make(self, env)")
    check_properties(env)
    with unchanged(learner):
        with explained(f"{name}.make"):
            made = learner.make(env)
        _LearnerCheck(name, made, env).check(run=run)
        adapted = learner.num_adapted(env)
    if not isinstance(adapted, int | np.integer):
        raise UserError(f"{name}.num_adapted returned {describe(adapted)}, expected an int")


class _LearnerCheck:
    """The functions of one learner, and the values that they have returned so far."""

    def __init__(self, name: str, learner: MetaLearner, env: TaskDistribution):
        self.name, self.learner, self.env = name, learner, env
        self.params: Any = None
        self.memory: Any = ()
        self.state: Any = None

    def check(self, *, run: bool) -> None:
        """Checks every function in turn, with the results of the earlier ones as arguments."""
        if not isinstance(self.learner, MetaLearner):
            raise UserError(
                f"{self.name}.make returned {describe(self.learner)}, expected a MetaLearner"
            )
        for function, (arguments, example) in FUNCTIONS.items():
            given = getattr(self.learner, function)
            if given is not None or function in ("init", "begin", "act"):
                check_signature(f"{self.name}.{function}", given, [arguments], example)
        self._check_beginning()
        timestep = self._timesteps()
        self._check_answer("act", timestep)
        if self.learner.unroll is not None:
            steps = jax.tree.map(lambda x: jax.ShapeDtypeStruct((4, *x.shape), x.dtype), timestep)
            self._check_answer("unroll", steps)
        trial = self._collected()
        self._check_adapt(trial.rollout)
        self._check_rest(trial)
        if run:
            check_replay(self.name, self.learner, self.env)

    def _check_beginning(self) -> None:
        learner, key = self.learner, make_key(0)
        self.params = self._arrays("init", learner.init, key)
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise UserError(
                    f"{self.name}.init returned meta-parameters in which {jax.tree_util.keystr(path)} is "
                    f"{describe(leaf)}, expected floats, which an outer method can move: keep constants in `make`"
                )
        if learner.init_memory is not None:
            self.memory = self._arrays("init_memory", learner.init_memory)
        begin = lambda params, memory, key: learner.begin(params, memory, key, NUM_EPISODES)  # noqa: E731
        self.state = self._arrays("begin", begin, self.params, self.memory, key)

    def _arrays(self, function: str, call: Callable[..., Any], *args: Any) -> Any:
        """Returns the pytree of arrays that a function returns, as `jax.ShapeDtypeStruct`."""
        where = f"{self.name}.{function}"
        return trace(
            where, call, *args, read=lambda x: arrays(f"{where} returned a pytree in which", x)
        ).read

    def _timesteps(self) -> Any:
        """Returns a timestep `[E]`, as `jax.ShapeDtypeStruct`."""
        blank = jax.eval_shape(lambda: blank_timestep(self.env))
        if not self.learner.reads_outcome:
            blank = blank.replace(outcome=None)
        space = self.env.action_space
        if has_action_mask(self.env) and isinstance(space, Discrete):
            mask = jax.ShapeDtypeStruct((1, space.num_actions), bool)
            blank = blank.replace(action_mask=mask)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((NUM_EPISODES, *x.shape[1:]), x.dtype), blank
        )

    def _check_answer(self, function: str, timesteps: Any) -> None:
        """Checks the result of `act` `[E]` or `unroll` `[S, E]`."""
        where, call = f"{self.name}.{function}", getattr(self.learner, function)
        leading = timesteps.valid.shape
        found = trace(where, call, self.params, self.state, timesteps).returned
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], PolicyOut):
            what = describe(found)
            if type(found) is tuple and found:
                what += f" that begins with {describe(found[0])}"
            raise UserError(f"{where} returned {what}, expected (PolicyOut, inner state)")
        out, state = found
        if getattr(out.value, "shape", None) != leading or out.value.dtype != jnp.float32:
            value_shape = getattr(out.value, "shape", ())
            remedy = ": take x[..., 0]" if value_shape == (*leading, 1) else ""
            raise UserError(
                f"{where} returned a value that is {describe(out.value)}, expected a float32 array of shape "
                f"{leading}, zeros from a learner without a value function{remedy}"
            )
        self._check_distribution(where, out.distribution, leading)
        for path, leaf in jax.tree_util.tree_leaves_with_path(out.latent):
            if getattr(leaf, "shape", ())[: len(leading)] != leading:
                raise UserError(
                    f"{where} returned a latent{jax.tree_util.keystr(path)} that is {describe(leaf)}, expected an "
                    f"array of shape {leading} and more axes after these"
                )
        self._check_state(where, state)

    def _check_state(self, where: str, state: Any) -> None:
        if wrong := mismatch(self.state, jax.eval_shape(lambda: _filled(where, state))):
            raise UserError(
                f"{where}: the inner state {wrong}, as begin returned it: structure, shapes and dtypes stay the same "
                "throughout a trial"
            )

    def _check_distribution(self, where: str, distribution: Any, leading: tuple[int, ...]) -> None:
        space = self.env.action_space
        shape, dtype = leading, jnp.int32
        if not isinstance(space, Discrete):
            shape, dtype = (*leading, space.size), jnp.float32
        methods = ("noise", "transform", "mode", "log_prob", "entropy", "kl")
        if not all(hasattr(distribution, method) for method in methods):
            raise UserError(
                f"{where} returned a distribution that is {describe(distribution)}, expected a "
                "metarl_jax.core.distributions.Categorical, DiagonalGaussian or one with the same methods"
            )

        def answers(distribution: Any) -> Any:
            action = distribution.sample(make_key(0))
            return action, distribution.log_prob(action), distribution.entropy()

        action, *numbers = trace(f"{where}: the distribution", answers, distribution).returned
        if action.shape != shape or action.dtype != dtype:
            raise UserError(
                f"{where} returned a distribution whose samples are {describe(action)}, expected "
                f"{describe(jax.ShapeDtypeStruct(shape, dtype))} for {space}"
            )
        for number in numbers:
            if number.shape != leading:
                raise UserError(
                    f"{where} returned a distribution whose log_prob or entropy is {describe(number)}, expected shape "
                    f"{leading}"
                )

    def _collected(self) -> Trial:
        """Returns a trial in which the learner does not adapt, as `jax.ShapeDtypeStruct`."""
        collect = partial(collect_unadapted, self.learner, self.env)
        return jax.eval_shape(collect, self.params, self.memory, make_key(0))

    def _check_adapt(self, rollout: Transition) -> None:
        if self.learner.adapt is None:
            return
        first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rollout)
        where = f"{self.name}.adapt"
        state = trace(where, self.learner.adapt, self.params, self.state, first).returned
        self._check_state(where, state)

    def _check_rest(self, trial: Trial) -> None:
        """Checks the optional functions of a learner."""
        learner, name = self.learner, self.name
        if learner.aux_loss is not None:
            out = trial.rollout.policy
            found = trace(
                f"{name}.aux_loss", learner.aux_loss, self.params, self.memory, out, trial
            ).returned
            if not isinstance(found, tuple) or len(found) != 2:
                raise UserError(
                    f"{name}.aux_loss returned {describe(found)}, expected (loss, metrics)"
                )
            loss, metrics = found
            if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
                raise UserError(
                    f"{name}.aux_loss returned a loss that is {describe(loss)}, expected a float of shape ()"
                )
            check_metrics(f"{name}.aux_loss", metrics)
        if learner.to_meta_params is not None:
            params = self._arrays("to_meta_params", learner.to_meta_params, self.params, self.state)
            if wrong := mismatch(self.params, params):
                raise UserError(
                    f"{name}.to_meta_params: the result {wrong}, as the meta-parameters"
                )
        if learner.metrics is not None:
            check_metrics(
                f"{name}.metrics", trace(f"{name}.metrics", learner.metrics, self.params).returned
            )
        if learner.update_memory is not None:
            trials = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), trial)
            memory = self._arrays(
                "update_memory", learner.update_memory, self.params, self.memory, trials
            )
            if wrong := mismatch(self.memory, memory):
                raise UserError(
                    f"{name}.update_memory: the memory {wrong}, as init_memory returned it"
                )


def check_metrics(where: str, metrics: Any) -> None:
    """Raises `UserError` if metrics are not a dictionary of names to numbers `[]`."""
    if not isinstance(metrics, dict):
        raise UserError(
            f"{where} returned metrics that are {describe(metrics)}, expected a dict of scalars"
        )
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise UserError(f"{where} returned a metric with the name {name!r}, expected a string")
        is_number = isinstance(value, int | float | np.generic)
        if not is_number and getattr(value, "shape", None) != ():
            raise UserError(
                f"{where} returned a metric {name!r} that is {describe(value)}, expected a number of shape (): take "
                "the mean"
            )


def _filled(where: str, tree: Any) -> Any:
    """Returns the tree with arrays instead of `jax.ShapeDtypeStruct`."""
    return arrays(f"{where} returned an inner state in which", filled(tree))
