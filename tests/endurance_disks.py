"""Fills disks, and takes away the right to write, while runs train on them. For users; needs root, to mount.

  sudo python tests/endurance_disks.py full read-only

A small disk in memory (tmpfs) holds the folder of a run. It fills up in the middle of training, or has become read-only
when a killed run is resumed; the process must end with a message that names the folder, and not with 0. After the cause
is removed, `metarl resume` must reach the bits of an undisturbed run. Prints JSON, and ends with 1 if that does not
hold.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from endurance import SIZES, Process, describe, last_step, saved_steps


def mount(*words: str) -> None:
    """Calls `mount`."""
    subprocess.run(["mount", *words], check=True)


def disturb(folder: Path, disk: Path, harm: str, expected: str) -> dict:
    """Trains on a new disk, harms it in the middle, mends it and resumes."""
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk))
    run_dir, output = disk / "run", folder / f"{harm}.txt"
    try:
        process = Process(["train", *SIZES, "--run-dir", str(run_dir)], output)
        process.wait_for(lambda: last_step(run_dir) >= 40)
        if harm == "full":
            _fill(disk / "filler")
        else:  # A disk becomes read-only while no process writes to it.
            process.send(signal.SIGKILL)
            process.wait()
            mount("-o", "remount,ro", str(disk))
            process = Process(["resume", str(run_dir)], output)
        process.wait(300)
        saved = saved_steps(run_dir)
        if harm == "full":
            (disk / "filler").unlink()
        else:
            mount("-o", "remount,rw", str(disk))
        message = output.read_text().strip().splitlines()[-1]
        resumed = Process(["resume", str(run_dir)], folder / f"{harm}-resumed.txt")
        resumed.wait()
        return {
            "harm": harm,
            "exit_code": process.returncode,
            "message": message,
            "names_the_folder": str(run_dir) in message,
            "last_checkpoint_then": max(saved, default=None),
            "resume_exit_code": resumed.returncode,
            "same_bits": describe(run_dir, folder) == expected,
        }
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(path: Path) -> None:
    """Writes until nothing fits any more."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def main() -> int:
    """Runs both."""
    if "XDG_CACHE_HOME" not in os.environ:
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="endurance-cache-")

    import metarl_jax.cli.train
    import metarl_jax.runs.train  # noqa: F401 - so that forked processes have it

    folder = Path(tempfile.mkdtemp(prefix="endurance-"))
    disk = folder / "disk"
    disk.mkdir()
    reference = Process(["train", *SIZES, "--run-dir", str(folder / "reference")], folder / "r.txt")
    reference.wait()
    expected = describe(folder / "reference", folder)
    began = time.monotonic()
    found = [
        disturb(folder, disk, harm, expected) for harm in sys.argv[1:] or ("full", "read-only")
    ]
    print(json.dumps({"found": found, "seconds": round(time.monotonic() - began)}, indent=2))
    holds = all(
        x["exit_code"] not in (0, None) and x["names_the_folder"] and x["same_bits"] for x in found
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
