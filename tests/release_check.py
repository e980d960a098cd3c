"""`make release-check`: builds the package, installs it into fresh environments, and tries it there.

The wheel and the source distribution stay in `dist/` if all went well.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from packages import ROOT, build, copy_sources

TINY = (
    "--num-meta-steps 2 --num-tasks 4 --num-rounds 2 --log-every 1 --outer.num-minibatches 1 --learner.hidden-size 8 "
    "--evaluation.every 0 --evaluation.num-tasks 4 --runtime.platform cpu --run-dir run"
)
PRETRAINED = "pretrained:rl2-grid-navi"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        copy_sources(work / "tree")
        (work / "dist").mkdir()
        built = build(work / "tree", work / "dist")
        for package in built:
            check(package, work / package.suffix.lstrip("."))
        dist = ROOT / "dist"
        dist.mkdir(exist_ok=True)
        for package in built:
            shutil.copy(package, dist)
            print(f"release-check: {dist / package.name} is ready")


def check(package: Path, folder: Path) -> None:
    """Installs a package and its dependencies into a new environment, and lists, trains and evaluates there."""
    say(f"installing {package.name} into a fresh environment")
    venv.create(folder, with_pip=True)
    python, empty = folder / "bin" / "python", folder / "empty"
    empty.mkdir()
    constraints = str(ROOT / "constraints.txt")
    call([python, "-m", "pip", "install", "--quiet", "-c", constraints, str(package)], empty)

    def metarl(*words: str) -> str:
        say(f"metarl {' '.join(words)}")
        return call([folder / "bin" / "metarl", *words], empty)

    listed = json.loads(metarl("list", "--json"))
    assert {"learners", "environments"} <= listed.keys(), listed.keys()
    metarl("train", "rl2-bandit", *TINY.split())
    assert (empty / "run" / "eval.json").is_file()
    found = json.loads(metarl("eval", PRETRAINED, "--num-tasks", "100", "--json"))
    assert found["total_mean"] > 30, found["total_mean"]  # 37.2 at best, a random policy has -4.6
    say(f"{PRETRAINED} has a total of {found['total_mean']:.2f}")


def call(command: list, folder: Path) -> str:
    """Runs a command outside of the tree; returns its output, or ends with it if it fails."""
    known = {name: x for name, x in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=known, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\nrelease-check: {command} failed with {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    print(f"release-check: {text}", flush=True)


if __name__ == "__main__":
    main()
