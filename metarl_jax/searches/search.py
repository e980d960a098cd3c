"""Workers of a search: each trains batches of trials as sweeps, until no trial is left."""

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.config import Config
from metarl_jax.runs.callbacks import Callback
from metarl_jax.runs.folder import RunFolder
from metarl_jax.runs.json_files import read_json, whole_lines
from metarl_jax.runs.reporter import Reporter
from metarl_jax.runs.stopping import Diverged, Interrupted, StopNow, StopRequest
from metarl_jax.searches import folder as search_folder
from metarl_jax.searches.folder import Search, trial_name
from metarl_jax.searches.space import dimensions, with_values
from metarl_jax.searches.status import results, results_table
from metarl_jax.searches.storage import check_storage, require_optuna
from metarl_jax.searches.study import WORKER, Study
from metarl_jax.sweeps import folder as sweep_folder
from metarl_jax.sweeps.sweep import Sweep, sweep_functions
from metarl_jax.sweeps.train import check_traceable, resume_sweep, train_sweep

SECONDS_BETWEEN_LOOKS = 2.0
"""How often a worker without work looks whether another has died."""


def search(
    config: Config,
    space: Mapping[str, str],
    run_dir: Path | str,
    *,
    console: Reporter | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Searches for the values of some fields with the best held-out score, as one of any number of workers.

    Every process that calls this with the same arguments works on the same search, and one that dies is replaced by the
    others, which restore its batch.

    Args:
      config: the configuration of all trials.
      space: ranges by dotted name: `{"learner.inner_lr": "1e-3..1:log", "learner.hidden_size": "64,128"}`.
      run_dir: the folder of the search; new, empty, or of the same search.
      console: for progress and results; standard output when not given.
      options: other fields of `Search`, such as `num_trials`.

    Returns:
      The trials, as `status` does, when all are done.

    Raises:
      UserError: for a space, an option or a folder that cannot work, before anything is compiled.
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP.
    """
    return start(Search(config, dict(space), **options), run_dir, console=console)


def start(
    wanted: Search, run_dir: Path | str, *, console: Reporter | None = None
) -> dict[str, Any]:
    """Works on a search that is new or has begun; see `search`."""
    return _work(prepare(wanted, run_dir), console or Reporter())


def prepare(wanted: Search, run_dir: Path | str) -> Study:
    """Makes the folder and the study of a search, if they are not there; trains nothing."""
    require_optuna()
    wanted.validate()
    if wanted.storage:
        wanted = dataclasses.replace(wanted, storage=check_storage(wanted.storage))
    _check_traceable(wanted)
    return Study(search_folder.join(Path(run_dir), wanted), wanted)


def resume_search(
    run_dir: Path | str, *, num_trials: int | None = None, console: Reporter | None = None
) -> dict[str, Any]:
    """Works on an existing search, with another number of trials if one is given; see `search`."""
    return _work(reopen(run_dir, num_trials), console or Reporter())


def reopen(run_dir: Path | str, num_trials: int | None = None) -> Study:
    """Opens an existing search, with another number of trials if one is given."""
    folder, found = search_folder.open_existing(Path(run_dir))
    if num_trials is not None:
        found = dataclasses.replace(found, num_trials=num_trials)
        found.validate()
        search_folder.join(folder.path, found)
    return Study(folder, found)


def _check_traceable(wanted: Search) -> None:
    """Raises `UserError` if a float field of the space must be known at compilation."""
    floats = [x for x in dimensions(wanted.config, wanted.space) if x.is_float]
    sweep = Sweep(wanted.config, [{x.name: float(x.ends()[0]) for x in floats}])
    check_traceable(sweep, sweep_functions(sweep))


def _work(study: Study, reporter: Reporter) -> dict[str, Any]:
    """Trains batches until all trials are done; shows and returns them."""
    path = study.folder.path
    with study.folder.worker() as me:
        try:
            while not study.is_done():
                batch = study.next_batch(me)
                if batch is None:
                    _wait(study, reporter)
                    continue
                _train(study, batch, reporter)
                _say_progress(study, reporter)
        except Interrupted as stop:
            remedy = f"to go on with the search: metarl search {path}"
            raise Interrupted(stop.what, remedy) from None
    found = results(study)
    reporter.table(results_table(found))
    for line in found["remarks"]:
        reporter.say(line)
    return found


def _wait(study: Study, reporter: Reporter) -> None:
    """Waits while other workers train the last trials, and all of them live; raises `Interrupted`."""
    reporter.say("waiting for the trials of other workers")
    with StopRequest() as stop:
        try:
            with stop.at_once():
                while running := study.running():
                    workers = {trial.user_attrs.get(WORKER, "") for trial in running}
                    if not all(study.folder.is_alive(worker) for worker in workers):
                        return
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except StopNow:
            raise Interrupted(f"stopped by {stop.name} while waiting for other workers") from None


def _train(study: Study, batch: str, reporter: Reporter) -> None:
    """Trains the sweep of a batch from where it is, and tells the scores of its trials."""
    path, trials = study.folder.batch(batch), study.running(batch)
    numbers = [trial.number for trial in trials]
    members = {number: _members(study, batch, number) for number in numbers}
    follow = [_Follow(study, members)]
    config = with_values(study.search.config, study.structure(trials[0].params))
    try:
        if not sweep_folder.is_sweep(path):
            shutil.rmtree(path, ignore_errors=True)  # of a worker that died while it was made
            sweep = Sweep(
                config,
                [study.floats(trial.params) for trial in trials],
                num_seeds=study.search.num_seeds,
                group_size=study.search.group_size,
                names=[trial_name(number) for number in numbers],
            )
            train_sweep(sweep, path, callbacks=follow, console=reporter)
        elif not (path / "results.json").is_file():
            resume_sweep(path, callbacks=follow, console=reporter)
    except Diverged as error:
        reporter.warn(str(error))
    for trial in study.running(batch):
        study.tell(trial.number, _score(members[trial.number]))


def _say_progress(study: Study, reporter: Reporter) -> None:
    trials = study.trials()
    ended = [t for t in trials if t.state.is_finished()]
    scores = {t.number: t.value for t in ended if t.value is not None}
    text = f"{len(ended)} of {study.search.num_trials} trials are done"
    if scores:
        best = max(scores, key=scores.__getitem__)
        text += f"; the best is trial {best}, with a held-out score of {scores[best]:.4g}"
    reporter.say(text)


def _members(study: Study, batch: str, number: int) -> list[RunFolder]:
    """The folders of a trial, one for each seed."""
    first, count = study.search.config.seed, study.search.num_seeds
    return [study.folder.member(batch, number, seed) for seed in range(first, first + count)]


def _score(members: Sequence[RunFolder]) -> float | None:
    """The score of a trial: of the best checkpoints of its members in the evaluations of training, by which they were
    chosen, averaged; None if one of them has none.
    """
    scores = []
    for member in members:
        if not member.evaluation.is_file():
            return None
        step = read_json(member.evaluation, lambda evaluation: evaluation["step"])
        scores.append(_score_at(member, step))
    return _mean(scores)


def _score_at(member: RunFolder, step: int) -> float | None:
    lines = whole_lines(member.metrics)
    found = [x["held_out_return"] for x in lines if x["step"] == step and "held_out_return" in x]
    return found[-1] if found else None


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None


class _Follow(Callback):
    """Reports the held-out scores of trials while they train; stops the batch when all of them were ended early."""

    def __init__(self, study: Study, members: dict[int, list[RunFolder]]):
        self._study, self._members = study, members
        self._active = set(members)

    def on_evaluation(self, line: dict[str, Any]) -> bool:
        if line["step"] >= self._study.search.config.num_meta_steps:
            return False
        for number in sorted(self._active):
            score = _mean([_score_at(member, line["step"]) for member in self._members[number]])
            if score is not None and self._study.report(number, line["step"], score):
                self._active.remove(number)
        return not self._active
