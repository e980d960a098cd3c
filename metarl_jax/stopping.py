"""How training stops before its end, and what the user is told."""

from pathlib import Path
from typing import Any


class Interrupted(Exception):  # noqa: N818 - not an error
    """The run was asked to stop, and is saved. The message says how to go on."""


class Diverged(Exception):  # noqa: N818 - not an error of the program
    """`config.max_skipped` updates in a row were not finite. The last good checkpoint is kept."""


def interrupted(
    path: Path, signal_name: str, doing: str, saved: int | None, seed: int
) -> Interrupted:
    """What to raise after a signal.

    Args:
      path: the folder of the run or sweep.
      signal_name: such as `SIGTERM`.
      doing: what was left, as in `during step 3 of 100`.
      saved: the step of the last checkpoint, where there is one.
      seed: of the run, which begins with it again where there is no checkpoint.
    """
    where = f"step {saved}" if saved is not None else f"seed {seed}"
    return Interrupted(
        f"stopped by {signal_name} {doing}; to go on from {where}: metarl resume {path}"
    )


def diverged(
    path: Path,
    skipped_in_row: int,
    step: int,
    max_skipped: int,
    saved: int | None,
    what: str,
    fault: str | None,
) -> Diverged:
    """What to raise when `what` (training, or all members of a sweep) skipped too many updates.

    Args:
      saved: the step of the last checkpoint, where there is one.
      fault: `environment_fault` of the last chunk.
    """
    kept = (
        f"the last good checkpoint, of step {saved}, is kept (metarl eval {path})"
        if saved is not None
        else "there is no good checkpoint"
    )
    advice = "Train anew, for example with smaller step sizes" if fault is None else f"{fault}"
    return Diverged(
        f"{what} diverged: the last {skipped_in_row} updates up to step {step} were not finite "
        f"and were skipped (max_skipped={max_skipped}); {kept}. {advice}"
    )


def environment_fault(name: str, line: dict[str, Any]) -> str | None:
    """What is wrong with the environment `name`, after the metrics of a chunk; None where its numbers are finite."""
    places = {
        "nonfinite_reset": "observations of `reset`",
        "nonfinite_observation": "observations of `step`",
        "nonfinite_reward": "rewards of `step`",
    }
    found = [
        f"{what} in {line[metric]} episodes" for metric, what in places.items() if line.get(metric)
    ]
    if not found:
        return None
    return (
        f"env {name!r} gave numbers that are not finite, though the actions were: {' and '.join(found)} of the "
        f"meta-steps up to {line['step']}. Updates from such episodes are skipped: mend the environment"
    )
