"""What test files share: a learner and an outer method that compile quickly, and a reporter that keeps its messages.

Processes that tests start find the classes by the reference in config.json, `probes:Probe`.
"""

import dataclasses
import io
import json
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from rich.console import Console

from metarl_jax.config import CheckpointConfig, Config, EvaluationConfig, RuntimeConfig
from metarl_jax.core.advantages import AdvantageConfig
from metarl_jax.core.distributions import Categorical
from metarl_jax.core.types import PolicyOut
from metarl_jax.envs.bandit import Bandit
from metarl_jax.learners.base import LearnerConfig, MetaLearner
from metarl_jax.outer.base import Outer, OuterConfig
from metarl_jax.runs.reporter import Reporter


@dataclasses.dataclass(frozen=True)
class Probe(LearnerConfig):
    """Pulls arms by logits that no experience changes."""

    name: ClassVar[str] = "probe"

    scale: float = 1.0
    """Of the first logits; known at compilation."""
    offset: float = 0.0
    """Of the first logits; may be swept."""
    any_number: bool = False
    """Whether one number makes the logits, however many arms there are."""

    def make(self, env):
        num_arms = env.action_space.num_actions
        shape = (1,) if self.any_number else (num_arms,)

        def act(meta_params, inner_state, timestep):
            leading = timestep.previous_reward.shape
            logits = meta_params["logits"]
            if self.any_number:
                logits = logits * jnp.arange(num_arms)
            logits = jnp.broadcast_to(logits, (*leading, num_arms))
            return PolicyOut(Categorical(logits), jnp.zeros(leading)), inner_state

        return MetaLearner(
            init=lambda key: {
                "logits": jax.random.normal(key, shape) * float(self.scale) + self.offset
            },
            begin=lambda meta_params, memory, key, num_episodes: (),
            act=act,
        )


@dataclasses.dataclass(frozen=True)
class RandomWalk(OuterConfig):
    """Adam along noise and returns, so that all that came before shows in the bits."""

    name: ClassVar[str] = "random_walk"

    step_size: float = 0.1
    """Of Adam."""
    break_after: float = 1e6
    """Updates are nan from this meta-step on."""
    noise: float = 1.0
    """Size of the noise; known at compilation."""

    def make(self, num_meta_steps, parameter_groups=()):
        optimizer = optax.adam(self.step_size)

        def update(key, meta_params, opt_state, batch):
            noise_key, collect_key = jax.random.split(key)
            trials = batch.collect(meta_params, collect_key)
            noise = float(self.noise) * jax.random.normal(noise_key, meta_params["logits"].shape)
            gradient = {"logits": noise + trials.episode_returns().mean()}
            broken = opt_state[0].count >= self.break_after
            updates, opt_state = optimizer.update(gradient, opt_state, meta_params)
            updates = jax.tree.map(lambda x: jnp.where(broken, jnp.nan, x), updates)
            norm = jnp.where(broken, jnp.nan, optax.global_norm(gradient))
            metrics = {"gradient_norm": norm}
            return optax.apply_updates(meta_params, updates), opt_state, trials, metrics

        return Outer(init=optimizer.init, update=update)


class Silent(Reporter):
    """Keeps what it is told; `at_step[n]` is called when meta-step `n` is done, the last of a call."""

    def __init__(self, at_step=None):
        self.out, self.err = io.StringIO(), io.StringIO()
        consoles = Console(file=self.out, width=200), Console(file=self.err, width=200)
        super().__init__(*consoles, seconds_between_lines=0)
        self.at_step = at_step or {}

    def on_chunk(self, line):
        super().on_chunk(line)
        self.at_step.get(line["step"], lambda: None)()

    def between(self, step):
        super().between(step)
        self.at_step.get(step, lambda: None)()


def metrics_lines(run_dir: Path) -> list[dict]:
    """The lines of metrics.jsonl, without what depends on the clock."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    clock = ("seconds", "env_steps_per_second")
    return [{name: x for name, x in line.items() if name not in clock} for line in lines]


CHEAP = Config(
    env=Bandit(),
    learner=Probe(),
    outer=RandomWalk(),
    advantage=AdvantageConfig(baseline="none", credit="trial", normalization="none"),
    name="cheap",
    seed=7,
    num_meta_steps=8,
    num_tasks=4,
    num_rounds=2,
    num_episodes=1,
    log_every=2,
    evaluation=EvaluationConfig(every=2, num_tasks=40),
    checkpoint=CheckpointConfig(every=4, keep=1),
    runtime=RuntimeConfig(num_devices=1),
)
"""A run of seconds."""
