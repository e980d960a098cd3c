"""What endurance costs: goodput under kills, and memory over many meta-steps and programs. For users; not a test.

  python tests/endurance_costs.py goodput --kills 10   # meta-steps per second of a run that is killed again and again
  python tests/endurance_costs.py memory               # resident memory after 1,000 and 10,000 meta-steps
  python tests/endurance_costs.py programs             # memory maps of a process that builds 30 programs

Every command prints JSON, and ends with 1 if what it promises does not hold.
"""

import argparse
import dataclasses
import gc
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LONG = (
    "rl2-bandit --num-tasks 8 --num-rounds 10 --log-every 5 --evaluation.every 50 "
    "--evaluation.num-tasks 8 --checkpoint.every-seconds 2 --runtime.num-devices 1"
)
"""A run, but for its length."""


class Run:
    """A run with a process that trains it."""

    def __init__(self, path: Path, steps: int):
        self._words = [
            "train",
            *LONG.split(),
            "--num-meta-steps",
            str(steps),
            "--run-dir",
            str(path),
        ]
        self.path, self.seconds, self._since, self._process = path, 0.0, None, None
        self.log = path.with_suffix(".txt")

    def start(self) -> None:
        """Starts the process, or resumes the run."""
        begun = (self.path / "config.json").exists()
        words = ["resume", str(self.path)] if begun else self._words
        command = [sys.executable, "-m", "metarl_jax.cli.main", *words]
        with self.log.open("w") as file:
            self._process, self._since = subprocess.Popen(command, stdout=file, stderr=file), None

    def look(self) -> str:
        """Returns `starting`, `training` or `ended`; counts the seconds of training."""
        assert self._process is not None
        text, now = self.log.read_text(errors="replace"), time.monotonic()
        if self._since is None and "compiled in" in text:
            self._since = now
        if self._since is not None and "evaluating the trained" in text:
            self.seconds += now - self._since
            self._process.wait()
            return "ended"
        if self._process.poll() is not None:
            sys.exit(f"the process ended by itself:\n{text}")
        return "starting" if self._since is None else "training"

    def kill(self) -> None:
        """Kills the process, which trains."""
        assert self._process is not None
        assert self._since is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.seconds += time.monotonic() - self._since


def measure_goodput(kills: int, every: float, steps: int) -> dict:
    """Trains two runs side by side, of which one is killed again and again; both should take longer than the kills."""
    from metarl_jax.runs.timekeeping import goodput

    folder = Path(tempfile.mkdtemp(prefix="goodput-"))
    calm, killed = Run(folder / "calm", steps), Run(folder / "killed", steps)
    calm.start()
    killed.start()
    done, generator, due, has_calm_ended = 0, random.Random(0), None, False
    while True:
        time.sleep(0.005)
        has_calm_ended = has_calm_ended or calm.look() == "ended"
        state = killed.look()
        if state == "ended":
            break
        if state == "training" and due is None and done < kills:
            due = time.monotonic() + every * generator.uniform(0.5, 1.5)
        if due is not None and time.monotonic() >= due:
            killed.kill()
            killed.start()
            done, due = done + 1, None
    while not has_calm_ended:
        time.sleep(0.05)
        has_calm_ended = calm.look() == "ended"
    times = {name: goodput(folder / name) for name in ("calm", "killed")}
    rates = {run.path.name: steps / run.seconds for run in (calm, killed)}
    return {
        "kills": done,
        "meta_steps_per_second_without_starts": rates,
        "ratio": rates["killed"] / rates["calm"],
        "times": {name: found and found._asdict() for name, found in times.items()},
    }


def measure_memory(steps: int) -> dict:
    """Trains a small preset in this process, and notes its resident memory, in MiB."""
    from metarl_jax import presets
    from metarl_jax.config import CheckpointConfig, EvaluationConfig, RuntimeConfig
    from metarl_jax.runs.callbacks import Callback
    from metarl_jax.runs.train import train

    noted = {}

    class Note(Callback):
        def on_chunk(self, line: dict) -> None:
            if line["step"] in (100, 500) or line["step"] % 1000 == 0:
                gc.collect()
                noted[line["step"]] = round(resident_bytes() / 2**20, 1)

    config = dataclasses.replace(
        presets.get("rl2-bandit"),
        num_meta_steps=steps,
        num_tasks=4,
        num_rounds=5,
        log_every=10,
        evaluation=EvaluationConfig(every=100, num_tasks=4),
        checkpoint=CheckpointConfig(every=100),
        runtime=RuntimeConfig(num_devices=1),
    )
    train(config, Path(tempfile.mkdtemp(prefix="memory-")) / "run", callbacks=[Note()])
    return {"MiB": noted, "growth": noted[steps] / noted[1000] - 1}


def measure_programs(count: int) -> dict:
    """Builds programs of different sizes one after the other, as in a notebook, and counts the memory maps."""
    import jax

    from metarl_jax import presets
    from metarl_jax.program.build import build
    from metarl_jax.runs.executables import Executables, run_functions

    maps, memory = [], []
    for number in range(count):
        config = dataclasses.replace(presets.get("rl2-bandit"), num_tasks=4, num_rounds=3 + number)
        executables = Executables(run_functions(build(config)))
        executables.compile_chunk(2)
        state, _, _ = executables.chunk(executables.init(), 2)
        jax.block_until_ready(state)
        del executables, state
        gc.collect()
        maps.append(num_maps())
        memory.append(round(resident_bytes() / 2**20))
    jax.clear_caches()
    gc.collect()
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    return {"maps": maps, "MiB": memory, "maps_after_clear_caches": num_maps(), "limit": limit}


def resident_bytes() -> int:
    """Returns the memory of this process without files, whose pages the system takes back when it likes; with what it
    has swapped out."""
    status = Path("/proc/self/status").read_text().splitlines()
    sizes = {
        name: value.split()[0]
        for name, _, value in (line.partition(":") for line in status)
        if value.split()
    }
    return 1024 * (int(sizes["RssAnon"]) + int(sizes["VmSwap"]))


def num_maps() -> int:
    """Returns the number of memory maps of this process."""
    return len(Path("/proc/self/maps").read_text().splitlines())


def main() -> int:
    """Runs the command of the arguments."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("command", choices=["goodput", "memory", "programs"])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument(
        "--every", type=float, default=60.0, help="seconds of training before a kill"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--programs", type=int, default=30)
    options = parser.parse_args()
    if options.command == "goodput":
        found = measure_goodput(options.kills, options.every, options.steps)
        holds = found["ratio"] >= 0.9
    elif options.command == "memory":
        found = measure_memory(options.steps)
        holds = found["growth"] <= 0.02
    else:
        found = measure_programs(options.programs)
        holds = found["maps"][-1] < found["limit"] / 2
    print(json.dumps(found, indent=2))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
