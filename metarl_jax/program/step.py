"""The fused meta-step: sample tasks, collect trials, update the meta-parameters, all in one executable."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core import normalize, spaces
from metarl_jax.core.advantages import AdvantageEstimator
from metarl_jax.core.jax_settings import as_fixed_key, under_fixed_settings
from metarl_jax.core.target import Target, traced_for
from metarl_jax.core.task_axis import TaskAxis
from metarl_jax.core.types import (
    Array,
    EpisodeMetrics,
    Key,
    MetaParams,
    MetaState,
    Metrics,
    PyTree,
    TrainState,
    Trial,
)
from metarl_jax.envs.base import TaskDistribution
from metarl_jax.learners.base import MetaLearner, rematerialized
from metarl_jax.outer.base import MetaBatch, Outer, schedule_progress
from metarl_jax.program.replay import final_inner_state, replay_trial
from metarl_jax.program.rollout import begin_segments, collect_segment, collect_trial
from metarl_jax.program.segments import LiveTrials


class StepSpec(NamedTuple):
    """The parts and sizes of a meta-step (see `metarl_jax.config.Config` for what the sizes mean), and what
    it is traced for (`metarl_jax.core.target`)."""

    target: Target
    env: TaskDistribution
    learner: MetaLearner
    outer: Outer
    advantages: AdvantageEstimator
    axis: TaskAxis
    num_meta_steps: int
    num_tasks: int
    num_rounds: int
    num_episodes: int
    num_steps: int | None
    num_segments: int
    normalize_observations: bool
    collect_block: int | None
    update_block: int | None
    remat: bool

    @property
    def segment_steps(self) -> int | None:
        """Steps of a trial by steps that a meta-step takes; None where trials are counted in episodes."""
        return None if self.num_steps is None else self.num_steps // self.num_segments


def make_init(spec: StepSpec) -> Callable[[Key], TrainState]:
    """Returns `init(key)`, which makes the state of a run before its first meta-step."""

    @under_fixed_settings
    def init(key: Key) -> TrainState:
        params_key, run_key = jax.random.split(as_fixed_key(key))
        meta_params = spec.learner.init(params_key)
        memory = () if spec.learner.init_memory is None else spec.learner.init_memory()
        normalizer = None
        if spec.normalize_observations:
            blank = spaces.blank(spec.env.observation_space)
            normalizer = normalize.init(normalize.float_entries(blank, 0).size)
        step, meta = jnp.zeros((), jnp.int32), MetaState(meta_params, memory, normalizer)
        live = None
        if spec.num_segments > 1:
            run_key, live_key = jax.random.split(run_key)
            live = begin_trials(spec, meta, live_key, step)
        return TrainState(
            step=step,
            meta=meta,
            opt_state=spec.outer.init(meta_params),
            key=run_key,
            consecutive_skips=jnp.zeros((), jnp.int32),
            live=live,
        )

    return traced_for(spec.target, init)


def make_step(spec: StepSpec) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
    """Returns `step(state)`, which takes one meta-step and reports metrics of trials, environment, learner and outer
    method."""

    @under_fixed_settings
    def step(state: TrainState) -> tuple[TrainState, Metrics]:
        key, task_key, update_key = jax.random.split(state.key, 3)
        tasks = ()
        if state.live is None:
            tasks = sample_tasks(spec, task_key, spec.num_tasks, "train", state.step)
        batch = make_meta_batch(spec, state, tasks)
        meta_params, opt_state, trials, metrics = spec.outer.update(
            update_key, state.meta.params, state.opt_state, batch
        )
        normalizer, seen = state.meta.normalizer, trials.observation_statistics
        if normalizer is not None and seen is not None:
            normalizer = normalize.update(normalizer, seen)
        memory = state.meta.memory
        if spec.learner.update_memory is not None:
            memory = spec.learner.update_memory(meta_params, memory, trials)

        meta = MetaState(meta_params, memory, normalizer)
        learned = state.replace(meta=meta, opt_state=opt_state)
        learned, skipped = _keep_finite(state, learned)
        next_state = learned.replace(
            step=state.step + 1,
            key=key,
            consecutive_skips=jnp.where(skipped, state.consecutive_skips + 1, 0),
        )
        if state.live is not None:
            live = state.live.replace(trials=trials.under_way)
            next_state = next_state.replace(live=_next_trials(spec, next_state, live, task_key))
        learned_metrics = spec.learner.metrics or (lambda _: {})
        metrics = learned_metrics(next_state.meta.params) | metrics
        # An outer method that collected more than these trials tells how many steps it took.
        metrics = trial_metrics(trials) | environment_faults(trials) | metrics
        metrics["skipped"] = skipped.astype(jnp.float32)
        return next_state, metrics

    return traced_for(spec.target, step)


def take_steps(
    step: Callable[[TrainState], tuple[TrainState, Metrics]],
    state: TrainState,
    num_steps: Array,
    length: int,
) -> tuple[TrainState, Metrics]:
    """Takes `num_steps` meta-steps, at most `length`. `num_steps` is an argument of the compiled program, so that one
    executable serves every number, and the bits of a state do not depend on the division of meta-steps into calls. (XLA
    unrolls a loop that is known to run once, which may change them.)

    Returns:
      The state, and metrics `[length, ...]`, of which the first `num_steps` are filled.
    """
    step = jax.jit(step)  # Traced once for both uses.
    shapes = jax.eval_shape(step, state)[1]
    empty = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), shapes)

    def body(index, carry):
        state, filled = carry
        state, metrics = step(state)
        return state, jax.tree.map(lambda x, m: x.at[index].set(m), filled, metrics)

    return jax.lax.fori_loop(0, num_steps, body, (state, empty))


def begin_trials(spec: StepSpec, meta: MetaState, key: Key, step: Array) -> LiveTrials:
    """Begins trials by steps in tasks of this meta-step."""
    task_key, trials_key = jax.random.split(key)

    def one(meta, task, key):
        return begin_segments(
            spec.env, spec.learner, spec.advantages, meta, task, key, spec.num_episodes
        )

    tasks = sample_tasks(spec, task_key, spec.num_tasks, "train", step)
    keys = keys_by_index(trials_key, spec.num_tasks)
    return LiveTrials(trials_key, spec.axis.map(one, meta, tasks, keys))


def _next_trials(spec: StepSpec, state: TrainState, live: LiveTrials, key: Key) -> LiveTrials:
    """Returns the trials as they are or, after their last segment, new ones. They also end with an update that was not
    finite, as whatever was broken in them would stay so."""
    is_over = live.trials.num_steps[0] >= (spec.num_steps or 0)
    return jax.lax.cond(
        is_over | (state.consecutive_skips > 0),
        lambda state: begin_trials(spec, state.meta, key, state.step),
        lambda _: live,
        state,
    )


def sample_tasks(
    spec: StepSpec, key: Key, num_tasks: int, split: str, step: Array | int = 0
) -> PyTree:
    """Samples the tasks `[N, ...]` of this meta-step, each from the key of its own index."""
    keys = spec.axis.shard(keys_by_index(key, num_tasks))
    env = spec.env.at(step)
    return jax.vmap(lambda key: env.sample(key, split))(keys)


def trial_metrics(trials: Trial) -> Metrics:
    """Returns metrics of trials `[N, K, T, E]`: mean returns by round `[K]`, and numbers of steps.

    Returns:
      `episode_return`; `env/NAME` and `env/NAME_mean`, metrics of the environment at the last step of an episode and on
      average over its steps; `env_steps`, the number of valid steps; `masked_share`, the fraction of other steps. In
      trials by steps, means are over the episodes that ended.
    """
    valid = trials.rollout.timestep.valid
    values = {"episode_return": trials.episode_returns()} | reported(trials.metrics)
    return {name: mean_by_round(x, trials, axes=(0, 2)) for name, x in values.items()} | {
        "env_steps": valid.sum(dtype=jnp.int32),
        "masked_share": (~valid).mean(),
    }


def mean_by_round(values: Array, trials: Trial, axes: tuple[int, ...]) -> Array:
    """Returns means over axes of `[..., K, E]`, over finished episodes; nan if there are none."""
    if trials.num_finished is None:
        return values.mean(axis=axes)
    finished = trials.is_finished()
    return jnp.where(finished, values, 0.0).sum(axis=axes) / finished.sum(axis=axes)


def reported(metrics: EpisodeMetrics) -> dict[str, Array]:
    """Returns the metrics of an environment by name: `env/NAME` the last value, `env/NAME_mean` the mean."""

    def named(tree: PyTree, suffix: str) -> dict[str, Array]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        return {
            f"env/{name or 'metric'}{suffix}": x for name, (_, x) in zip(names, leaves, strict=True)
        }

    return named(metrics.last, "") | named(metrics.mean, "_mean")


def environment_faults(trials: Trial) -> Metrics:
    """Counts episodes of trials `[N, K, T, E]` in which the environment returned the first number that is not finite.

    Returns:
      The counts by source of that number: the first observation (`nonfinite_reset`), a later one
        (`nonfinite_observation`), or a reward (`nonfinite_reward`). After an action that is not finite, nothing is
        attributed to the environment.
    """
    rollout = trials.rollout
    valid = rollout.timestep.valid

    def broken(x: Array) -> Array:
        return valid & ~jnp.isfinite(x).all(axis=tuple(range(valid.ndim, x.ndim)))

    # In the order in which they come: [N, K, T, 3, E].
    seen = normalize.float_entries(rollout.timestep.observation, valid.ndim)
    numbers = seen, rollout.action, rollout.reward
    found = jnp.stack([broken(x) for x in numbers], axis=3)
    found = found.reshape(*found.shape[:2], -1, found.shape[-1])
    first = jnp.where(found.any(axis=2), found.argmax(axis=2), -1)
    return {
        "nonfinite_reset": (first == 0).sum(),
        "nonfinite_observation": ((first > 0) & (first % 3 == 0)).sum(),
        "nonfinite_reward": ((first > 0) & (first % 3 == 2)).sum(),
    }


def make_meta_batch(spec: StepSpec, state: TrainState, tasks: PyTree) -> MetaBatch:
    """Returns the batch of tasks of one meta-step, for the outer method. Trials that are under way have their own
    tasks."""
    learner = spec.learner
    replayed = rematerialized(learner) if spec.remat else learner

    def replay(meta_params, memory, trial, first_round):
        return replay_trial(replayed, meta_params, memory, trial, first_round)

    def adapted(meta_params, memory, trial):
        return final_inner_state(learner, meta_params, memory, trial)

    def no_aux_loss(meta_params, memory, out, trial):
        del meta_params, memory, out, trial
        return jnp.zeros(()), {}

    return MetaBatch(
        memory=state.meta.memory,
        collect=_collect_trials(spec, state, tasks)
        if state.live is None
        else _collect_segments(spec, state),
        replay=replay,
        adapted=adapted,
        to_meta_params=learner.to_meta_params,
        aux_loss=learner.aux_loss or no_aux_loss,
        advantages=spec.advantages,
        axis=spec.axis,
        block=spec.update_block,
        step=state.step,
        progress=schedule_progress(state.step, spec.num_meta_steps),
    )


def _collect_trials(
    spec: StepSpec, state: TrainState, tasks: PyTree
) -> Callable[[MetaParams, Key], Trial]:
    """Returns `MetaBatch.collect` for whole trials in these tasks."""

    def collect(meta_params, key):
        def one(meta, task, key):
            return collect_trial(
                spec.env,
                spec.learner,
                spec.advantages,
                meta,
                task,
                key,
                num_rounds=spec.num_rounds,
                num_episodes=spec.num_episodes,
                num_steps=spec.num_steps,
            )

        keys = keys_by_index(key, spec.num_tasks)
        meta = state.meta.replace(params=meta_params)
        trials = spec.axis.map(one, meta, tasks, keys, block=spec.collect_block)
        return spec.advantages.on_batch(trials)

    return collect


def _collect_segments(spec: StepSpec, state: TrainState) -> Callable[[MetaParams, Key], Trial]:
    """Returns `MetaBatch.collect` for the next segment of the trials that are under way."""
    live, num_steps = state.live, spec.segment_steps or 0

    def collect(meta_params, key):
        del key  # All draws of a trial descend from its own key.

        def one(meta, live, key):
            return collect_segment(
                spec.env,
                spec.learner,
                spec.advantages,
                meta,
                live,
                key,
                num_rounds=spec.num_rounds,
                num_steps=num_steps,
                num_segments=spec.num_segments,
            )

        keys = keys_by_index(live.key, spec.num_tasks)
        meta = state.meta.replace(params=meta_params)
        trials = spec.axis.map(one, meta, live.trials, keys, block=spec.collect_block)
        return spec.advantages.on_batch(trials)

    return collect


def keys_by_index(key: Key, num_tasks: int) -> Key:
    """Returns one key per global task index, independent of the device of the task."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(num_tasks))


def _keep_finite(old: TrainState, new: TrainState):
    """Returns `new` if every float in it is finite, else `old`; and whether the update was skipped."""
    floats = [x for x in jax.tree.leaves(new) if jnp.issubdtype(x.dtype, jnp.floating)]
    finite = jnp.stack([jnp.isfinite(x).all() for x in floats]).all()
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    return kept, ~finite
