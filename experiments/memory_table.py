"""Trains the learners that remember within a trial on the bandits and MDPs of Duan et al. (2016), and prints the table.

    python experiments/memory_table.py --root runs/memory
    python experiments/memory_table.py --problems bandit-10-5 mdp-10 --learners gru transformer --effort 3

What was trained before under the same root is not trained again; a run that was cut off goes on; two processes may
train different learners under the same root. Every cell is the mean total return over the same held-out tasks ± one
standard error, of the greedy policy of the best checkpoint, beside known strategies; below it the env-steps and the
seconds of its training.

Trainings are told what actions cost (`advantage.payoff`), the learners are not. In MDPs of 25 and 50 episodes they
begin with what was learned in those of 10 and 25, which is trained first and counts as training too. Each takes some
minutes on one core of a CPU, times `--effort`: see `NUM_META_STEPS`.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl_jax.config import Config
from metarl_jax.envs.bandit import Bandit
from metarl_jax.experiments import memory_family, rl2_bandit
from metarl_jax.learners.belief import VariBAD
from metarl_jax.learners.key_value import KeyValue
from metarl_jax.learners.recurrent import RL2
from metarl_jax.learners.sequence import SequenceLearner
from metarl_jax.learners.symmetric import SymmetricRL2

LEARNERS: dict[str, SequenceLearner] = {
    "gru": RL2(),
    "lstm": RL2(core="lstm"),
    "min_gru": RL2(core="min_gru"),
    "transformer": RL2(core="transformer", hidden_size=64, num_layers=2, num_heads=2),
    "symmetric": SymmetricRL2(),
    "key_value": KeyValue(num_slots=64),
    "varibad": VariBAD(decoder_sizes=(32,)),
}
NUM_META_STEPS = {
    "bandit": {
        "gru": 400,
        "lstm": 250,
        "min_gru": 3000,
        "transformer": 200,
        "symmetric": 400,
        "key_value": 400,
        "varibad": 300,
    },
    "mdp": {
        "gru": 400,
        "lstm": 250,
        "min_gru": 400,
        "transformer": 1000,
        "symmetric": 400,
        "key_value": 400,
        "varibad": 300,
    },
}
NUM_META_STEPS["bandit-100-5"] = NUM_META_STEPS["bandit"] | {"min_gru": 1500, "key_value": 200}
NUM_META_STEPS["bandit-100-50"] = NUM_META_STEPS["bandit"] | {"min_gru": 5000, "key_value": 200}
LATER = {"gru": 200, "lstm": 150, "symmetric": 200, "key_value": 100, "varibad": 150}
NUM_META_STEPS["mdp-25"] = NUM_META_STEPS["mdp"] | LATER | {"transformer": 1500}
NUM_META_STEPS["mdp-50"] = NUM_META_STEPS["mdp"] | LATER | {"transformer": 300}
"""Meta-steps of a training, by problem or family of problems: more for cores that are fast, and most for the one that
does best. Bandits of ten pulls take a third of them."""
PROBLEMS = [f"bandit-{n}-{k}" for n, k in ((10, 5), (10, 50), (100, 5), (100, 10), (100, 50))]
PROBLEMS += [f"mdp-{n}" for n in (10, 25, 50)]
STRATEGIES = {
    "bandit": ("random", "oracle", "gittins", "ucb1", "thompson", "greedy"),
    "mdp": ("random", "oracle", "psrl", "opsrl", "ucrl2", "greedy"),
}
STEPS_OF_A_META_STEP = 25_600
"""Env-steps that a meta-step collects, where that takes at least 48 tasks."""
ROOT = Path("runs/memory")
"""Folder of all cells, unless another is given."""
CELL, CONTROLS = "table.json", "controls.json"
"""What is kept of a cell in its run folder, and of the controls in the folder of a problem."""
SHORTER = {"mdp-25": "mdp-10", "mdp-50": "mdp-25"}
"""Problems whose learners begin with what they have learned in a shorter one."""
FEWER_ARMS = {"bandit-10-50": "bandit-10-5", "bandit-100-50": "bandit-100-10"}
"""Problems that learners whose parameters fit any number of arms begin with what they have learned of fewer."""
HELD_OUT_SEED = 1
"""Seed of the held-out tasks, and of what happens in them."""


def configuration(problem: str, learner: str, root: Path = ROOT, effort: float = 1.0) -> Config:
    """The configuration of a cell: `bandit-PULLS-ARMS` or `mdp-EPISODES`, and a key of `LEARNERS`.

    `root` is the folder of all cells, one of which it may begin from.
    """
    family, *sizes = problem.split("-")
    num_rounds = int(sizes[0])
    base = memory_family.RL2_TABULAR_MDP
    if family == "bandit":
        base = dataclasses.replace(rl2_bandit.CONFIG, env=Bandit(num_arms=int(sizes[1])))
    env = base.env
    num_steps = num_rounds * env.episode_length
    network = sized(LEARNERS[learner], num_steps, has_dynamics=family == "mdp")
    num_meta_steps = NUM_META_STEPS.get(problem, NUM_META_STEPS[family])[learner]
    outer = dataclasses.replace(
        memory_family.RL2_TABULAR_MDP.outer,
        learning_rate=1e-3 if learner == "transformer" else 2e-3,
    )
    advantage = base.advantage
    if isinstance(env, Bandit):
        # Values of the order of 1: their gradient would otherwise be nearly all of one whose norm is bounded.
        advantage = dataclasses.replace(advantage, payoff="regret", reward_scaling=0.1)
        # The more arms there are, the longer a policy stays uniform; a long training has the time for it among few.
        entropy = 0.05 * min(1.0, 10 / env.num_arms)
        if env.num_arms <= 10 and num_steps >= 100 and num_meta_steps >= 1000:
            entropy = 0.1
        if isinstance(network, SymmetricRL2):
            # All arms are learned at once: the rest of the training is for what pays late.
            entropy = min(entropy, 0.02)
            advantage = dataclasses.replace(advantage, gae_lambda=0.98)
        outer = dataclasses.replace(outer, entropy_coefficient=entropy)
    if num_steps < 100:
        num_meta_steps //= 3
    if problem in SHORTER:
        # What is learned of a task pays for hundreds of steps.
        advantage = dataclasses.replace(advantage, discount=1.0, gae_lambda=0.97)
        outer = dataclasses.replace(outer, entropy_coefficient=0.03)
    before = begins_from(problem, learner)
    return dataclasses.replace(
        base,
        name=f"{problem}-{learner}",
        init_from=None if before is None else str((root / before / learner).resolve()),
        learner=network,
        outer=outer,
        advantage=advantage,
        num_meta_steps=round(effort * num_meta_steps),
        num_rounds=num_rounds,
        num_tasks=max(48, STEPS_OF_A_META_STEP // num_steps // 16 * 16),
        evaluation=dataclasses.replace(base.evaluation, every=50, num_tasks=2000),
    )


def begins_from(problem: str, learner: str) -> str | None:
    """The problem whose result a training begins from, if any."""
    fewer_arms = FEWER_ARMS if isinstance(LEARNERS[learner], SymmetricRL2) else {}
    return (SHORTER | fewer_arms).get(problem)


def sized(learner: SequenceLearner, num_steps: int, has_dynamics: bool) -> SequenceLearner:
    """The learner for trials of so many steps."""
    options: dict[str, Any] = {"reads_previous_observation": has_dynamics}
    if isinstance(learner, SymmetricRL2) and has_dynamics:
        options["hidden_size"] = 64  # what an action brings in each of ten states
    if isinstance(learner, RL2):
        options["context_length"] = num_steps
    if num_steps >= 100 and not learner.make_core().is_parallel:
        # The parallel cores remember long before they are trained.
        options["longest_memory"] = num_steps
    if isinstance(learner, VariBAD):
        # Of a mean step, not of the sum over all of them, which would take nearly all of the bounded gradient.
        options["elbo_coefficient"] = 1.0 / num_steps
        options["transition_coefficient"] = 1.0 if has_dynamics else 0.0
    return dataclasses.replace(learner, **options)


def cell(
    problem: str, learner: str, root: Path, effort: float = 1.0, num_tasks: int = 2000
) -> dict[str, Any]:
    """What is printed of a cell, trained if need be, after the one that it begins from; kept in its run folder.

    Raises:
      ValueError: if something else was trained in this folder.
    """
    import jax

    from metarl_jax import train
    from metarl_jax.run_folder import RunFolder, open_existing

    config = configuration(problem, learner, root, effort)
    run_dir = root / problem / learner
    before, earlier = {"env_steps": 0, "seconds": 0.0}, begins_from(problem, learner)
    if earlier is not None:
        before = cell(earlier, learner, root, effort, num_tasks)
    folder, kept = RunFolder(run_dir), run_dir / CELL
    if not run_dir.exists():
        train.train(config, run_dir)
    elif open_existing(run_dir)[1] != config:
        raise ValueError(f"{run_dir} holds a run with other settings: give another --root")
    elif not folder.evaluation.exists():
        train.resume(run_dir)
    found = json.loads(kept.read_text()) if kept.exists() else {}
    if found.get("num_tasks") != num_tasks:
        program, state = train.load(run_dir)
        evaluate = jax.jit(lambda state, key: program.evaluate(state, key, "test", num_tasks))
        last = folder.last_metrics() or {}
        found = {name: last[name] + before[name] for name in ("env_steps", "seconds")}
        found |= total(evaluate(state, jax.random.key(HELD_OUT_SEED))) | {
            "num_tasks": num_tasks,
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        }
        kept.write_text(json.dumps(found))
    return found


def controls(problem: str, path: Path, num_tasks: int) -> dict[str, dict[str, float]]:
    """Totals of the known strategies and of the Bayes-optimal policy, in the tasks of the cells; kept in `path`."""
    import jax

    from metarl_jax.program import build

    kept = json.loads(path.read_text()) if path.exists() else {}
    if kept.get("num_tasks") == num_tasks:
        return kept["totals"]
    config = configuration(problem, "gru")
    program, key, totals = build(config), jax.random.key(HELD_OUT_SEED), {}
    for name in STRATEGIES[problem.partition("-")[0]]:
        evaluate = jax.jit(
            lambda key, name=name: program.evaluate_control(name, key, "test", num_tasks)
        )
        totals[name] = total(evaluate(key))
    ceiling = config.env.bayes_optimal_value(config.num_rounds)
    if ceiling is not None:
        totals["Bayes-optimal"] = {"mean": float(ceiling.sum())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"num_tasks": num_tasks, "totals": totals}))
    return totals


def total(returns: Any) -> dict[str, float]:
    """Mean and standard error of the sum over the rounds, of returns `[tasks, K]`."""
    import numpy as np

    sums = np.asarray(returns, np.float64).sum(axis=1)
    return {"mean": float(sums.mean()), "se": float(sums.std(ddof=1) / len(sums) ** 0.5)}


def table(root: Path, problems: Sequence[str], learners: Sequence[str]) -> str:
    """The table of the cells and controls that are in `root`, in Markdown."""

    def read(path: Path) -> dict[str, Any] | None:
        return json.loads(path.read_text()) if path.exists() else None

    known = [(read(root / problem / CONTROLS) or {}).get("totals", {}) for problem in problems]
    lines = [f"\n|  | {' | '.join(problems)} |", "| --- |" + " --- |" * len(problems)]
    for name in dict.fromkeys(name for totals in known for name in totals):
        lines.append(row(name, [totals.get(name) for totals in known]))
    devices = set()
    for learner in learners:
        cells = [read(root / problem / learner / CELL) for problem in problems]
        lines.append(row(learner, cells))
        costs = [f"{c['env_steps'] / 1e6:.1f}M, {c['seconds']:.0f} s" if c else "" for c in cells]
        lines.append(f"| training of {learner} | {' | '.join(costs)} |")
        devices |= {found["device"] for found in cells if found}
    lines.append(f"\nTrained on {', '.join(sorted(devices)) or 'nothing yet'}.")
    return "\n".join(lines)


def row(name: str, cells: Sequence[dict[str, Any] | None]) -> str:
    """A line of the table."""
    words = ["" if found is None else f"{found['mean']:.2f}" for found in cells]
    for index, found in enumerate(cells):
        if found is not None and "se" in found:
            words[index] += f" ± {found['se']:.2f}"
    return f"| {name} | {' | '.join(words)} |"


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the runs")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=PROBLEMS)
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument(
        "--effort", type=float, default=1.0, help="factor of the meta-steps of all trainings"
    )
    parser.add_argument("--num-tasks", type=int, default=2000, help="held-out tasks")
    parser.add_argument(
        "--print-only", action="store_true", help="print the cells that are there, and train none"
    )
    options = parser.parse_args(args)

    from metarl_jax.commands.backend import start_backend

    start_backend("auto")
    if not options.print_only:
        for problem in options.problems:
            for learner in options.learners:
                cell(problem, learner, options.root, options.effort, options.num_tasks)
            controls(problem, options.root / problem / CONTROLS, options.num_tasks)
    print(table(options.root, options.problems, options.learners))


if __name__ == "__main__":
    main(sys.argv[1:])
