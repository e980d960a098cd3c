"""The structure that a modular learner has learned: the routing of tasks, and the connections of modules."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import evaluated_learner
from metarl_jax.core.advantages import PLAIN_RETURNS, make_estimator
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.types import TrainState
from metarl_jax.learners.modular import ModularOptions, connection_gates, mean_routing
from metarl_jax.networks.structures.modular import connection_strength
from metarl_jax.program.build import Program
from metarl_jax.program.rollout import collect_trial
from metarl_jax.program.step import keys_by_index


class LearnedStructure(NamedTuple):
    """A modular network and its use.

    Attributes:
      step: the meta-steps that it was trained for.
      strength: `[L − 1, M, M]`, of the connection from a module to one of the next layer; 0 where it is cut.
      routing: `[N, L, M]`, the mean weights of the modules in the last round of a trial, of N held-out tasks.
      skill: `[N]`, the skill that each task asks for; empty if the task distribution does not define it.
    """

    step: int
    strength: np.ndarray
    routing: np.ndarray
    skill: np.ndarray

    def summary(self) -> dict[str, Any]:
        """Returns, ready for JSON, connections by layer, mean routing by skill, and the information in the routing."""
        found: dict[str, Any] = {
            "step": self.step,
            "connections": int((self.strength > 0).sum()),
            "possible_connections": self.strength.size,
            "strength": self.strength.tolist(),
            "routing": self.routing.mean(0).tolist(),
            "routing_by_skill": [
                {"skill": int(skill), "routing": self.routing[self.skill == skill].mean(0).tolist()}
                for skill in np.unique(self.skill)
            ],
        }
        if self.skill.size:
            found |= skill_information(self.routing, self.skill)
        return found


@under_fixed_settings
def learned_structure(
    program: Program, state: TrainState, num_tasks: int = 200, seed: int = 0
) -> LearnedStructure:
    """Runs one trial in each of `num_tasks` held-out tasks, as an evaluation of the run does, and returns the learned
    structure.

    Raises:
      UserError: if the learner has no modules.
    """
    config, options = program.config, program.config.evaluation
    env = program.env.at(max(int(state.step) - 1, 0))
    if not isinstance(config.learner, ModularOptions):
        raise UserError(
            f"learner={config.learner.name!r} has no modules: give a run of 'modular' or 'tuned_modular'"
        )
    task_key, trial_key = jax.random.split(make_key(seed))
    tasks = jax.vmap(lambda key: env.sample(key, "test"))(keys_by_index(task_key, num_tasks))
    advantages = make_estimator(config.advantage)
    if not config.learner.needs_round_advantages:  # whose trials need none
        advantages = make_estimator(PLAIN_RETURNS)

    learner = evaluated_learner(config).make(program.env)

    def one(task, key):
        trial = collect_trial(
            env,
            learner,
            advantages,
            state.meta,
            task,
            key,
            num_rounds=options.num_rounds or config.num_rounds,
            num_episodes=options.num_episodes or config.num_episodes,
            deterministic=options.deterministic,
        )
        last = jax.tree.map(lambda x: x[-1], trial.rollout)
        return mean_routing(last.policy.latent, last.timestep.valid)

    # A few tasks at once: a record of them all may be large.
    routing = jax.jit(lambda *args: jax.lax.map(lambda x: one(*x), args, batch_size=16))(
        tasks, keys_by_index(trial_key, num_tasks)
    )
    skill = jax.vmap(env.skill)(tasks) if env.num_skills else jnp.zeros(0, jnp.int32)
    gates = connection_gates(state.meta.params)
    strength = connection_strength(gates, config.learner.discrete_connections)
    return LearnedStructure(int(state.step), *map(np.asarray, (strength, routing, skill)))


def skill_information(routing: np.ndarray, skill: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Returns the information of the strongest modules about the skill, in bits, and the same for shuffled skills.

    I(module; skill) of the most informative layer, the entropy of the skills, which bounds it, and the greatest value
    over 100 shuffles.

    Args:
      routing: `[N, L, M]`.
      skill: `[N]` integers.
    """
    chosen, num_modules = routing.argmax(axis=-1), routing.shape[-1]
    random = np.random.default_rng(seed)

    def best(skill: np.ndarray) -> float:
        return max(mutual_information(layer, skill, num_modules) for layer in chosen.T)

    return {
        "skill_information": best(skill),
        "skill_entropy": mutual_information(skill, skill, int(skill.max()) + 1),
        "shuffled_information": max(best(random.permutation(skill)) for _ in range(100)),
    }


def mutual_information(first: np.ndarray, second: np.ndarray, num_first: int) -> float:
    """I(X; Y) = Σ p(x, y) log₂ p(x, y) / (p(x) p(y)) of paired draws of integers `[N]`, in bits."""
    counts = np.zeros((num_first, int(second.max()) + 1))
    np.add.at(counts, (first, second), 1.0)
    joint = counts / counts.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log2(joint[seen] / independent[seen])))
