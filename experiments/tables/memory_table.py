"""Trains the learners that remember within a trial on the bandits and MDPs of Duan et al. (2016), and prints the table.

    python experiments/tables/memory_table.py --root runs/memory
    python experiments/tables/memory_table.py --problems bandit-10-5 mdp-10 --learners gru transformer --effort 3

Finished runs under the same root are not trained again; interrupted runs are resumed; two processes may train different
learners under the same root. Every cell is the mean total return over the same held-out tasks ± one standard error over
tasks, of the greedy policy of the best checkpoint of one training (one seed: of other seeds it says nothing), beside
known strategies; below it the env-steps and the seconds of its training, and at the end the machines. Bandits have ten
times as many held-out tasks as MDPs, for what separates good policies in them is less than 1%.

Trainings are told what actions cost (`advantage.training_reward`), the learners are not. Some begin with the result of
another cell (`memory_cells.begins_from`), which is trained first and counts as training too. Each takes some minutes on
one core of a CPU, times `--effort`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl_jax.config import Config, changes
from metarl_jax.core.errors import UserError
from metarl_jax.core.jax_settings import make_key, under_fixed_settings
from metarl_jax.core.paths import local_path
from metarl_jax.experiments.tables.memory_cells import (
    LEARNERS,
    PROBLEMS,
    ROOT,
    begins_from,
    configuration,
)

STRATEGIES = {
    "bandit": [
        "random",
        "oracle",
        "gittins",
        "ucb1",
        "thompson",
        "optimistic_thompson",
        "epsilon_greedy",
        "greedy",
    ],
    "mdp": ["random", "oracle", "psrl", "opsrl", "ucrl2", "beb", "epsilon_greedy", "greedy"],
}
NUM_TASKS = {"bandit": 20_000, "mdp": 2000}
"""Default number of held-out tasks."""
CELL, CONTROLS = "table.json", "controls.json"
"""Names of the files with the results of a cell, and of the controls of a problem."""
HELD_OUT_SEED = 1
"""Seed of the held-out tasks, and of all random draws in them."""


def cell(
    problem: str, learner: str, root: Path, effort: float = 1.0, num_tasks: int | None = None
) -> dict[str, Any]:
    """Returns the results of a cell; trains it first if needed, after the cell that it starts from.

    Raises:
      UserError: if something else was trained in this folder.
    """
    import jax

    from metarl_jax.core.machine import describe
    from metarl_jax.runs import train
    from metarl_jax.runs.folder import RunFolder, open_existing
    from metarl_jax.runs.restore import load

    num_tasks = num_tasks or NUM_TASKS[problem.partition("-")[0]]
    config = configuration(problem, learner, root, effort)
    run_dir = root / problem / learner
    before: dict[str, Any] = {"env_steps": 0, "seconds": 0.0, "machines": []}
    earlier = begins_from(problem, learner)
    if earlier is not None:
        before = cell(earlier, learner, root, effort, num_tasks)
    folder, kept = RunFolder(run_dir), run_dir / CELL
    if not run_dir.exists():
        train.train(config, run_dir)
    elif changed := differing(open_existing(run_dir)[1], config):
        raise UserError(
            f"{run_dir} holds a run with other settings ({', '.join(changed)}): give another --root"
        )
    elif not folder.evaluation.exists():
        train.resume(run_dir)
    found = json.loads(kept.read_text()) if kept.exists() else {}
    if found.get("num_tasks") != num_tasks or "machines" not in found:
        program, state, *_ = load(run_dir)
        evaluate = jax.jit(lambda state, key: program.evaluate(state, key, "test", num_tasks))
        last = folder.last_metrics() or {}
        found = {name: last[name] + before[name] for name in ("env_steps", "seconds")}
        found |= total(evaluate(state, make_key(HELD_OUT_SEED))) | {
            "num_tasks": num_tasks,
            "machines": sorted({*before["machines"], *map(describe, folder.starts())}),
        }
        kept.write_text(json.dumps(found))
    return found


def differing(found: Config, wanted: Config) -> list[str]:
    """Returns the fields that differ, except the path of `init_from`: folders of cells may be moved."""
    moved = {"init_from"} if found.init_from and wanted.init_from else set()
    return [name for name in changes(found, wanted) if name not in moved]


def controls(problem: str, path: Path, num_tasks: int | None = None) -> dict[str, dict[str, float]]:
    """Returns totals of the known strategies and of the Bayes-optimal policy, in the tasks of the cells; cached in
    `path`."""
    import jax

    from metarl_jax.baselines import evaluate_control
    from metarl_jax.program.build import build

    family = problem.partition("-")[0]
    num_tasks = num_tasks or NUM_TASKS[family]
    kept = json.loads(path.read_text()) if path.exists() else {}
    known = kept["totals"] if kept.get("num_tasks") == num_tasks else {}
    if set(STRATEGIES[family]) <= set(known):
        return known
    config = configuration(problem, "gru")
    program, key, totals = build(config), make_key(HELD_OUT_SEED), {}
    for name in STRATEGIES[family]:
        if name in known:
            totals[name] = known[name]
            continue
        evaluate = jax.jit(
            lambda key, name=name: evaluate_control(program, name, key, "test", num_tasks)
        )
        totals[name] = total(evaluate(key))
    ceiling = config.env.bayes_optimal_value(config.num_rounds)
    if ceiling is not None:
        totals["Bayes-optimal"] = {"mean": float(ceiling.sum())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"num_tasks": num_tasks, "totals": totals}))
    return totals


def total(returns: Any) -> dict[str, float]:
    """Returns mean and standard error of the sum over the rounds of returns `[tasks, K]`."""
    import numpy as np

    sums = np.asarray(returns, np.float64).sum(axis=1)
    return {"mean": float(sums.mean()), "se": float(sums.std(ddof=1) / len(sums) ** 0.5)}


def table(root: Path, problems: Sequence[str], learners: Sequence[str]) -> str:
    """Returns the table of the cells and controls that are in `root`, in Markdown."""

    def read(path: Path) -> dict[str, Any] | None:
        return json.loads(path.read_text()) if path.exists() else None

    known = [(read(root / problem / CONTROLS) or {}).get("totals", {}) for problem in problems]
    lines = [f"\n|  | {' | '.join(problems)} |", "| --- |" + " --- |" * len(problems)]
    for name in dict.fromkeys(name for totals in known for name in totals):
        lines.append(row(name, [totals.get(name) for totals in known]))
    machines = set()
    for learner in learners:
        cells = [read(root / problem / learner / CELL) for problem in problems]
        lines.append(row(learner, cells))
        costs = [f"{c['env_steps'] / 1e6:.1f}M, {c['seconds']:.0f} s" if c else "" for c in cells]
        lines.append(f"| training of {learner} | {' | '.join(costs)} |")
        machines |= {machine for found in cells if found for machine in found["machines"]}
    lines.append(f"\nTrained on {'; '.join(sorted(machines)) or 'nothing yet'}.")
    return "\n".join(lines)


def row(name: str, cells: Sequence[dict[str, Any] | None]) -> str:
    """Returns a line of the table."""
    words = ["" if found is None else f"{found['mean']:.2f}" for found in cells]
    for index, found in enumerate(cells):
        if found is not None and "se" in found:
            words[index] += f" ± {found['se']:.2f}"
    return f"| {name} | {' | '.join(words)} |"


@under_fixed_settings
def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=local_path, default=ROOT, help="folder of the runs")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=PROBLEMS)
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument(
        "--effort", type=float, default=1.0, help="factor of the meta-steps of all trainings"
    )
    parser.add_argument("--num-tasks", type=int, help=f"held-out tasks; {NUM_TASKS} when not given")
    parser.add_argument(
        "--print-only", action="store_true", help="print the cells that are there, and train none"
    )
    options = parser.parse_args(args)

    from metarl_jax.cli.backend import start_backend

    start_backend("auto")
    if not options.print_only:
        for problem in options.problems:
            for learner in options.learners:
                cell(problem, learner, options.root, options.effort, options.num_tasks)
            controls(problem, options.root / problem / CONTROLS, options.num_tasks)
    print(table(options.root, options.problems, options.learners))


if __name__ == "__main__":
    main(sys.argv[1:])
