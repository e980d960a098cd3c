"""Throughput of every task family: the simulator alone, the whole meta-step, and compilation.

  python experiments/tables/families_throughput.py
  python experiments/tables/families_throughput.py ant_dir half_cheetah_vel

Robots are measured with MAML, 20 tasks of two rounds of ten episodes; the others with the defaults of RL². The
simulator's rate counts all steps that it computes, that of the meta-step the valid ones; the ratio is that of the
times. Prints the rows of a Markdown table.
"""

import argparse
import dataclasses
import sys

from metarl_jax import envs
from metarl_jax.analysis.throughput import measure
from metarl_jax.cli.backend import start_backend
from metarl_jax.config import Config
from metarl_jax.core.errors import UserError
from metarl_jax.defaults import default_config
from metarl_jax.envs.brax.base import BraxFamily


def main(args: list[str] | None = None) -> None:
    """Measures the named families, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=sorted(envs.names()), metavar="FAMILY")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(args)
    start_backend()
    print(
        "| family | batch | simulator, env-steps/s | meta-step, env-steps/s | valid | ratio |"
        " compile, s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in given.families:
        try:
            report = measure(config_of(name), repeats=given.repeats, progress=lambda _: None)
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(_row(name, report), flush=True)


def config_of(name: str) -> Config:
    """Returns what is measured of a family."""
    env = envs.make(name)
    if not isinstance(env, BraxFamily):
        return default_config("rl2", env)
    return dataclasses.replace(
        default_config("maml", env), num_tasks=20, num_rounds=2, num_episodes=10
    )


def _row(name: str, report: dict) -> str:
    sizes, seconds = report["sizes"], report["compile_seconds"]
    batch = " × ".join(str(sizes[f"num_{axis}"]) for axis in ("tasks", "rounds", "episodes"))
    cells = [
        f"`{name}`",
        f"{batch} × {sizes['episode_length']}",
        f"{report['simulator_env_steps_per_second']['median']:,.0f}",
        f"{report['meta_step_env_steps_per_second']['median']:,.0f}",
        f"{report['valid_share']['median']:.0%}",
        f"{report['ratio']['median']:.0%}",
        f"{seconds['simulator']:.0f} + {seconds['meta-step']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
