"""Trains the learners that remember within a trial on the bandits and MDPs of Duan et al. (2016), and prints the table.

    python experiments/memory_table.py --root runs/memory
    python experiments/memory_table.py --problems bandit-10-5 bandit-100-10 --learners gru min_gru varibad

What was trained before under the same root is not trained again; a run that was cut off goes on. Every cell is the mean
total return over the held-out tasks ± one standard error, from the best checkpoint, beside known strategies in the same
tasks; below it the env-steps and the seconds of its training.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from metarl_jax.config import Config
from metarl_jax.envs.bandit import Bandit
from metarl_jax.experiments import memory_family, rl2_bandit
from metarl_jax.learner import LearnerConfig
from metarl_jax.learners.belief import VariBAD
from metarl_jax.learners.key_value import KeyValue
from metarl_jax.learners.recurrent import RL2

LEARNERS: dict[str, LearnerConfig] = {
    "gru": RL2(),
    "lstm": RL2(core="lstm"),
    "min_gru": RL2(core="min_gru"),
    "transformer": RL2(core="transformer", hidden_size=64),
    "key_value": KeyValue(num_slots=64),
    "varibad": VariBAD(decoder_sizes=(32,)),
}
PROBLEMS = [f"bandit-{n}-{k}" for n, k in ((10, 5), (10, 50), (100, 5), (100, 10), (100, 50))]
PROBLEMS += [f"mdp-{n}" for n in (10, 25, 50)]
BANDIT_STRATEGIES = ("gittins", "ucb1", "thompson", "greedy")
MDP_STRATEGIES = ("psrl", "opsrl", "ucrl2")
STEPS_OF_A_META_STEP = 25_600
"""Env-steps that a meta-step collects, where that takes at least 128 tasks."""


def configuration(
    problem: str, learner: str, steps_of_a_meta_step: int = STEPS_OF_A_META_STEP
) -> Config:
    """The configuration of a cell: `bandit-PULLS-ARMS` or `mdp-EPISODES`, and a key of `LEARNERS`."""
    family, *sizes = problem.split("-")
    num_rounds = int(sizes[0])
    if family == "bandit":
        base = dataclasses.replace(rl2_bandit.CONFIG, env=Bandit(num_arms=int(sizes[1])))
    else:
        base = memory_family.RL2_TABULAR_MDP
    num_steps = num_rounds * base.env.episode_length
    outer, advantage = base.outer, base.advantage
    network = sized(LEARNERS[learner], num_steps, has_dynamics=family == "mdp")
    if num_steps >= 100:
        # Credit over a long trial has less noise with a discount. Values are scaled to the order of 1: their gradient
        # would otherwise be nearly all of one whose norm is bounded. Exploring is rewarded at first, and then no more.
        scaling = {"bandit": 0.1, "mdp": 0.03}[family]
        advantage = dataclasses.replace(
            advantage, discount=0.99, gae_lambda=0.9, reward_scaling=scaling
        )
        outer = dataclasses.replace(outer, entropy_coefficient=0.05, final_entropy_coefficient=1e-3)
    if learner == "transformer":
        outer = dataclasses.replace(outer, learning_rate=1e-3)
    if family == "mdp":
        network = dataclasses.replace(network, reads_previous_observation=True)
    return dataclasses.replace(
        base,
        name=f"{problem}-{learner}",
        learner=network,
        outer=outer,
        advantage=advantage,
        num_rounds=num_rounds,
        num_tasks=max(128, steps_of_a_meta_step // num_steps // 8 * 8),
        evaluation=dataclasses.replace(base.evaluation, num_tasks=1000),
    )


def sized(learner: LearnerConfig, num_steps: int, has_dynamics: bool) -> LearnerConfig:
    """The learner for trials of so many steps."""
    options: dict[str, Any] = {}
    if isinstance(learner, RL2):
        options["context_length"] = num_steps
    if isinstance(learner, VariBAD):
        # Of a mean step, not of the sum over all of them, which would take nearly all of the bounded gradient.
        options["elbo_coefficient"] = 1.0 / num_steps
        options["transition_coefficient"] = 1.0 if has_dynamics else 0.0
    return dataclasses.replace(learner, **options)


def cell(config: Config, run_dir: Path, num_tasks: int) -> dict:
    """The evaluation of one cell, trained if need be; kept in `table.json` of its run folder.

    Raises:
      ValueError: if something else was trained in this folder.
    """
    import jax

    from metarl_jax import train
    from metarl_jax.metrics import Reporter
    from metarl_jax.run_folder import open_existing

    kept = run_dir / "table.json"
    if run_dir.exists():
        if open_existing(run_dir)[1] != config:
            raise ValueError(f"{run_dir} holds a run with other settings: give another --root")
        found = json.loads(kept.read_text()) if kept.exists() else {}
        if found.get("num_tasks") == num_tasks:
            return found
        train.resume(run_dir)
    else:
        train.train(config, run_dir)
    strategies = BANDIT_STRATEGIES if isinstance(config.env, Bandit) else MDP_STRATEGIES
    found = train.evaluate_run(
        run_dir, num_tasks=num_tasks, strategies=strategies, console=Reporter()
    )
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    found |= {"env_steps": last["env_steps"], "seconds": last["seconds"], "device": device}
    kept.write_text(json.dumps(found))
    return found


def row(name: str, cells: list[dict | None]) -> str:
    """A line of the table: the total of the learner, or of the control of this name."""
    words = []
    for found in cells:
        numbers = found if found is None or name in LEARNERS else found["controls"].get(name)
        if numbers is None:
            words.append("")
        else:
            low, high = numbers.get("total_ci95") or (numbers["total_mean"],) * 2
            words.append(f"{numbers['total_mean']:.2f} ± {(high - low) / 3.92:.2f}")
    return f"| {name} | {' | '.join(words)} |"


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path("runs/memory"))
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=PROBLEMS)
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--num-meta-steps", type=int, default=500)
    parser.add_argument(
        "--steps-of-a-meta-step",
        type=int,
        default=STEPS_OF_A_META_STEP,
        help="env-steps that a meta-step collects; an accelerator has room for more",
    )
    parser.add_argument("--num-tasks", type=int, default=2000, help="held-out tasks of a cell")
    options = parser.parse_args(args)

    from metarl_jax.commands.backend import start_backend

    start_backend("auto")
    table: dict[str, dict[str, dict]] = {learner: {} for learner in options.learners}
    for problem in options.problems:
        for learner in options.learners:
            config = dataclasses.replace(
                configuration(problem, learner, options.steps_of_a_meta_step),
                num_meta_steps=options.num_meta_steps,
            )
            run_dir = options.root / problem / learner
            table[learner][problem] = cell(config, run_dir, options.num_tasks)
    print(f"\n|  | {' | '.join(options.problems)} |")
    print("| --- |" + " --- |" * len(options.problems))
    some = [next(iter(table.values()))[problem] for problem in options.problems]
    for name in sorted({name for found in some for name in found["controls"]}):
        print(row(name, list(some)))
    for learner, cells in table.items():
        print(row(learner, [cells[problem] for problem in options.problems]))
        costs = [
            f"{c['env_steps'] / 1e6:.1f}M, {c['seconds']:.0f} s, {c['device']}"
            for c in cells.values()
        ]
        print(f"| training of {learner} | {' | '.join(costs)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
