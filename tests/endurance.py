"""Stops and kills runs over and over, and measures what that costs. For users; not part of the test suite.

  python tests/endurance.py signals --count 60      # SIGTERM in every window: resumable, no more than a chunk lost
  python tests/endurance.py kills --count 100       # kill -9: the same bits as undisturbed

Every command prints JSON, and ends with 1 if what it promises does not hold. The training is that of CONFIG below: MAML
on the point robot, so small that starting takes most of the time. Processes are forked from one that has imported the
library, except where the import itself is to be interrupted.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

SIZES = [
    "maml-point-robot",
    "--num-meta-steps",
    "400",
    "--num-tasks",
    "4",
    "--num-rounds",
    "2",
    "--num-episodes",
    "2",
    "--env.horizon",
    "10",
    "--learner.hidden-sizes",
    "8",
    "--outer.num-epochs",
    "2",
    "--log-every",
    "2",
    "--evaluation.every",
    "6",
    "--evaluation.num-tasks",
    "4",
    "--checkpoint.every",
    "4",
    "--normalize-observations",
]
LOG_EVERY, EVALUATION_EVERY, CHECKPOINT_EVERY = 2, 6, 4
WINDOWS = ("import", "compilation", "chunk", "evaluation", "save", "plots")
GRACE_SECONDS = 30.0
"""What a cluster gives a process between SIGTERM and kill -9."""


class Process:
    """`metarl` in a process of its own, with its output in a file."""

    def __init__(self, words: list[str], output: Path, *, fork: bool = True):
        self._output, self.returncode = output, None
        output.write_text("")
        if fork:
            self.pid = os.fork()
            if self.pid == 0:
                _become(words, output)
            self._popen = None
        else:
            command = [sys.executable, "-m", "metarl_jax.cli.main", *words]
            with output.open("a") as file:
                self._popen = subprocess.Popen(command, stdout=file, stderr=file)
            self.pid = self._popen.pid

    def ended(self) -> bool:
        """Whether the process has ended."""
        if self.returncode is None and self._popen is not None:
            self.returncode = self._popen.poll()
        elif self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode is not None

    def wait(self, seconds: float = 600.0) -> bool:
        """Waits for the end; returns whether it came in time."""
        return self.wait_for(lambda: False, seconds) or self.returncode is not None

    def wait_for(self, condition: Callable[[], bool], seconds: float = 600.0) -> bool:
        """Waits until the condition holds; returns False if the process ends, or the time is up, before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            if self.ended():
                return False
            time.sleep(0.002)
        return False

    def says(self, text: str) -> bool:
        """Whether the output has this text."""
        return text in self._output.read_text(errors="replace")

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)


def _become(words: list[str], output: Path) -> None:
    """Turns this forked process into `metarl` with these words; does not return."""
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    sys.argv = ["metarl", *words]
    from metarl_jax.cli.main import main

    code = 1
    try:
        code = main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Trials:
    """One run after another, each interrupted many times until it ends, and then compared with an undisturbed one."""

    def __init__(self, folder: Path, number: int, seed: int):
        self.folder, self.number, self.random = folder, number, random.Random(seed)
        self.windows, self.problems = Counter(), []
        self.lost, self.seconds, self.codes, self.num_runs = [], [], Counter(), 0
        self.reference = folder / "reference"
        output = folder / "reference.txt"
        began = time.monotonic()
        process = Process(["train", *SIZES, "--run-dir", str(self.reference)], output)
        marks: dict[str, float] = {}
        texts = {"compilation": "compiling", "chunk": "compiled in", "plots": "evaluating the tr"}

        def note() -> bool:
            for name, text in texts.items():
                if name not in marks and process.says(text):
                    marks[name] = time.monotonic()
            return False

        process.wait_for(note)
        if process.returncode != 0:
            sys.exit(f"the undisturbed run failed:\n{output.read_text()}")
        ended = time.monotonic()
        self.expected = describe(self.reference, folder)
        self.durations = {
            "import": 2.0 * (marks["compilation"] - began),
            "compilation": marks["chunk"] - marks["compilation"],
            "chunk": min(0.5 * (marks["plots"] - marks["chunk"]), 5.0),
            "evaluation": 0.1,
            "save": 0.2,
            "plots": 0.8 * (ended - marks["plots"]),
        }

    def run(self, count: int, is_late: Callable[[], bool]) -> None:
        """Interrupts `count` processes, or as many as there is time for, in all windows in turn."""
        while sum(self.windows.values()) < count and not is_late():
            run_dir = self.folder / f"run{self.num_runs}"
            self.num_runs += 1
            while sum(self.windows.values()) < count and not is_late():
                order = list(WINDOWS)
                window = min(order, key=lambda name: (self.windows[name], self.random.random()))
                if not self._interrupt(run_dir, window):
                    break
            else:
                self._finish(run_dir)
            self._compare(run_dir)

    def _interrupt(self, run_dir: Path, window: str) -> bool:
        """Starts or resumes the run and interrupts it in a window; returns False if it came to its end before."""
        begun = (run_dir / "config.json").exists()
        words = ["resume", str(run_dir)] if begun else ["train", *SIZES, "--run-dir", str(run_dir)]
        if window == "compilation" and not begun:
            words.append("--runtime.no-compilation-cache")
        output = self.folder / f"{run_dir.name}.txt"
        process = Process(words, output, fork=window != "import")
        if not process.wait_for(self._entry(process, run_dir, window)):
            if process.returncode != 0:
                self.problems.append(
                    f"{window}: exit code {process.returncode}: {output.read_text()[-400:]}"
                )
            return False
        delay = self.random.uniform(0.0, self.durations[window])
        end = time.monotonic() + delay
        if process.wait_for(lambda: time.monotonic() >= end):
            process.send(self.number)
            self._check(process, run_dir, window, output)
            return True
        return False

    def _entry(self, process: Process, run_dir: Path, window: str) -> Callable[[], bool]:
        """Returns what holds when a process enters a window."""
        metrics, before = run_dir / "metrics.jsonl", last_step(run_dir)
        if window == "import":
            return lambda: True
        if window == "compilation":
            return lambda: process.says("compiling")
        if window == "plots":
            return lambda: process.says("evaluating the trained")
        if window == "chunk":
            return lambda: process.says("compiled in")
        if window == "evaluation":
            return lambda: (
                metrics.exists()
                and last_step(run_dir) > before
                and last_step(run_dir) % EVALUATION_EVERY == 0
            )
        return lambda: (
            metrics.exists()
            and last_step(run_dir) > before
            and last_step(run_dir) % CHECKPOINT_EVERY == 0
        )

    def _check(self, process: Process, run_dir: Path, window: str, output: Path) -> None:
        """Checks exit code, time and what is on disk after an interruption."""
        sent = time.monotonic()
        in_time = process.wait(GRACE_SECONDS)
        self.seconds.append(time.monotonic() - sent)
        if not in_time:
            self.problems.append(f"{window}: not ended after {GRACE_SECONDS} s")
            process.send(signal.SIGKILL)
            process.wait()
        code = process.returncode
        self.windows[window] += 1
        self.codes[str(code)] += 1
        if self.number == signal.SIGTERM and code not in (0, 130, -signal.SIGTERM):
            self.problems.append(f"{window}: exit code {code}: {output.read_text()[-400:]}")
        if self.number == signal.SIGTERM and window not in ("import", "compilation"):
            lost = last_step(run_dir) - max(saved_steps(run_dir), default=0)
            self.lost.append(max(lost, 0))
            if lost > LOG_EVERY:
                self.problems.append(f"{window}: {lost} meta-steps lost")

    def _finish(self, run_dir: Path) -> None:
        """Lets a run come to its end."""
        begun = (run_dir / "config.json").exists()
        words = ["resume", str(run_dir)] if begun else ["train", *SIZES, "--run-dir", str(run_dir)]
        output = self.folder / f"{run_dir.name}-end.txt"
        process = Process(words, output)
        process.wait()
        if process.returncode != 0:
            self.problems.append(f"not resumable: {output.read_text()[-600:]}")

    def _compare(self, run_dir: Path) -> None:
        """Compares a run that has ended with the undisturbed one."""
        if describe(run_dir, self.folder) != self.expected:
            self.problems.append(f"{run_dir} differs from the undisturbed run")

    def report(self) -> dict:
        """Returns what was found."""
        return {
            "interrupted": dict(self.windows),
            "total": sum(self.windows.values()),
            "runs_compared": self.num_runs,
            "exit_codes": dict(self.codes),
            "seconds_to_end": {
                "median": sorted(self.seconds)[len(self.seconds) // 2],
                "max": max(self.seconds),
            },
            "most_meta_steps_lost": max(self.lost, default=None),
            "problems": self.problems,
        }


def last_step(run_dir: Path) -> int:
    """Returns the step of the last whole line of metrics.jsonl, 0 if there is none."""
    file = run_dir / "metrics.jsonl"
    for line in reversed(file.read_text().splitlines() if file.exists() else []):
        try:
            return json.loads(line)["step"]
        except ValueError:
            continue
    return 0


def saved_steps(run_dir: Path) -> list[int]:
    """Returns the steps of whole checkpoints."""
    folder = run_dir / "checkpoints"
    return (
        [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
        if folder.exists()
        else []
    )


def describe(run_dir: Path, folder: Path) -> str:
    """Returns a checksum of the bits of the last state and of metrics.jsonl without times, by a process of its own."""
    result = folder / "described.txt"
    result.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        try:
            result.write_text(_describe(run_dir))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return result.read_text() if result.exists() else f"{run_dir} cannot be read"


def _describe(run_dir: Path) -> str:
    import jax
    import numpy as np

    from metarl_jax.cli.backend import start_backend
    from metarl_jax.runs.restore import load

    start_backend("cpu")
    _, state, *_ = load(run_dir, "last")
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        digest.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    for line in (run_dir / "metrics.jsonl").read_text().splitlines():
        values = {name: x for name, x in json.loads(line).items() if "second" not in name}
        digest.update(json.dumps(values).encode())
    return digest.hexdigest()


def interrupt(number: int, count: int, seed: int, minutes: float) -> dict:
    """Interrupts processes by a signal in every window."""
    folder = Path(tempfile.mkdtemp(prefix="endurance-"))
    ends = time.monotonic() + 60 * minutes
    trials = Trials(folder, number, seed)
    trials.run(count, lambda: time.monotonic() > ends)
    found = trials.report()
    if not found["problems"]:
        shutil.rmtree(folder)
    return found | {"folder": str(folder)}


def main() -> int:
    """Runs the command of the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["signals", "kills"])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--minutes", type=float, default=120.0, help="interrupt no more after these"
    )
    options = parser.parse_args()
    if "XDG_CACHE_HOME" not in os.environ:
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="endurance-cache-")

    import metarl_jax.cli.train
    import metarl_jax.runs.train  # noqa: F401 - so that forked processes have it

    number = signal.SIGTERM if options.command == "signals" else signal.SIGKILL
    found = interrupt(number, options.count, options.seed, options.minutes)
    print(json.dumps(found, indent=2))
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
