"""What a search has found so far: its trials, the importance of its fields, and how to train the best again."""

import math
import shlex
import warnings
from typing import TYPE_CHECKING, Any

from metarl_jax.console.tables import Column, Table, number
from metarl_jax.searches.study import BATCH, REASON, WORKER, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def results(study: Study) -> dict[str, Any]:
    """Returns the trials, the best first, and remarks on them.

    Returns:
      `trials`: of each, `number`, `state`, `score` (None without one), `values`, and `run_dir`, the folder of its run
      with the first seed. `best`: the first of them, None if none has a score. `importances`: the share of each field
      in what makes good trials good (PED-ANOVA), empty for too few trials. `remarks`: lines for the user.
    """
    trials = [_row(study, trial) for trial in study.trials()]
    trials.sort(key=lambda row: -math.inf if row["score"] is None else row["score"], reverse=True)
    best = next((row for row in trials if row["state"] == "done"), None)
    found = {
        "folder": str(study.folder.path),
        "num_trials": study.search.num_trials,
        "num_seeds": study.search.num_seeds,
        "trials": trials,
        "best": best,
        "importances": _importances(study),
    }
    return found | {"remarks": _remarks(study, found)}


def results_table(found: dict[str, Any]) -> Table:
    """Formats `results` as a table."""
    rows = found["trials"]
    ended = sum(row["state"] not in ("running", "stopped") for row in rows)
    title = (
        f"{ended} of {found['num_trials']} trials of {found['folder']}, by the held-out score by which checkpoints are "
        f"chosen, {found['num_seeds']} seed(s)"
    )
    columns = [
        Column("trial", [str(row["number"]) for row in rows]),
        Column("score", ["" if row["score"] is None else number(row["score"]) for row in rows]),
        Column("state", [row["state"] for row in rows], is_text=True),
    ]
    for name in dict.fromkeys(name for row in rows for name in row["values"]):
        values = [row["values"].get(name, "") for row in rows]
        cells = [f"{x:.6g}" if isinstance(x, float) else str(x) for x in values]
        columns.append(Column(name, cells))
    return Table(title, columns)


def _row(study: Study, trial: "FrozenTrial") -> dict[str, Any]:
    state, batch = trial.state.name, trial.user_attrs.get(BATCH)
    folder = None
    if batch is not None:
        folder = str(study.folder.member(batch, trial.number, study.search.config.seed).path)
    words = {
        "COMPLETE": "done",
        "PRUNED": "diverged" if REASON in trial.user_attrs else "pruned",
        "FAIL": f"cannot be: {trial.user_attrs.get(REASON)}",
    }
    if state not in words:
        is_alive = study.folder.is_alive(trial.user_attrs.get(WORKER, ""))
        words[state] = "running" if is_alive else "stopped"
    return {
        "number": trial.number,
        "state": words[state],
        "score": trial.value
        if state == "COMPLETE"
        else trial.intermediate_values.get(trial.last_step or 0),
        "values": dict(trial.params),
        "run_dir": folder,
    }


def _importances(study: Study) -> dict[str, float]:
    """The importances of the fields; none if the trials are too few or too alike to tell."""
    from optuna.importance import get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", UserWarning
            )  # Where it cannot tell, it warns and returns equal shares.
            found = get_param_importances(study.optuna)
    except (ValueError, RuntimeError, UserWarning):
        return {}
    return {name: float(share) for name, share in found.items()}


def _remarks(study: Study, found: dict[str, Any]) -> list[str]:
    lines = []
    if found["importances"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found["importances"].items())
        lines.append(f"importance of the fields (PED-ANOVA): {shares}")
    if found["best"] is not None:
        best = found["best"]
        run_dir = shlex.quote(best["run_dir"])
        lines.append(f"the best, trial {best['number']}, again: metarl train --from {run_dir}")
    if not study.is_done():
        lines.append(f"to go on, in any number of processes: metarl search {found['folder']}")
    return lines
