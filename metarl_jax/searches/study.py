"""The study of a search in Optuna: storage, sampler, pruner, and who trains which trial."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.config import validate
from metarl_jax.core.errors import UserError
from metarl_jax.searches.folder import Search, SearchFolder
from metarl_jax.searches.space import Dimension, dimensions, with_values
from metarl_jax.searches.storage import FOLDER, open_storage, readable_errors, require_optuna

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

WORKER, BATCH, REASON = "worker", "batch", "reason"
"""Attributes of a trial: who trains it, in which sweep, and why it has no score."""


class Study:
    """The trials of a search, shared by all workers.

    A trial is RUNNING from when it is asked for until its score is told. Its attribute `worker` names who trains it,
    and `batch` the sweep in which; both are set under the lock of the folder, so that under this lock a running trial
    without them, or of a worker that is dead, is nobody's.
    """

    def __init__(self, folder: SearchFolder, search: Search):
        """Opens or makes the study.

        Raises:
          UserError: if Optuna is missing, the database cannot be opened, or it holds a study of this name for another
            folder.
        """
        require_optuna()
        import optuna

        self.folder, self.search = folder, search
        self._space = dimensions(search.config, search.space)
        self._distributions = {x.name: _distribution(x) for x in self._space}
        with folder.locked(), readable_errors(search.storage):
            self._storage = open_storage(folder, search.storage)
            self._study = optuna.create_study(
                study_name=folder.path.name,
                storage=self._storage,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(search),
            )
            if search.storage:
                self._check_folder()

    @property
    def optuna(self) -> "optuna.Study":
        """The study as Optuna has it."""
        return self._study

    def trials(self) -> "list[FrozenTrial]":
        """Returns all trials that count: those that were dropped before training are left out."""
        trials = self._study.get_trials(deepcopy=False)
        return [t for t in trials if t.state.name != "FAIL" or REASON in t.user_attrs]

    def running(self, batch: str | None = None) -> "list[FrozenTrial]":
        """Returns the trials that are being trained, in all batches or in this one."""
        return [
            t
            for t in self.trials()
            if t.state.name == "RUNNING" and batch in (None, t.user_attrs.get(BATCH))
        ]

    def is_done(self) -> bool:
        """Whether no trial is running and none is left to ask for."""
        return not self.running() and len(self.trials()) >= self.search.num_trials

    def next_batch(self, me: str) -> str | None:
        """Returns the name of a batch that is now this worker's: one asked for before, one of a dead worker, or a new
        one; None if there is nothing to do at present.
        """
        with self.folder.locked():
            mine = self._batches_of({me})
            if not mine:
                mine = self._take_over(me) or self._ask(me)
        return min(mine, default=None)

    def _batches_of(self, workers: set[str]) -> set[str]:
        return {t.user_attrs[BATCH] for t in self.running() if t.user_attrs.get(WORKER) in workers}

    def _take_over(self, me: str) -> set[str]:
        """Takes over one batch of a dead worker, if there is one; returns its name. Drops trials that nobody began."""
        from optuna.trial import TrialState

        owners = set()
        for trial in self.running():
            if BATCH not in trial.user_attrs:
                self._study.tell(trial.number, state=TrialState.FAIL)
            else:
                owners.add(trial.user_attrs[WORKER])
        dead = {worker for worker in owners - {me} if not self.folder.is_alive(worker)}
        batch = min(self._batches_of(dead), default=None)
        if batch is None:
            return set()
        for trial in self.running(batch):
            self._set(trial.number, WORKER, me)
        return {batch}

    def _ask(self, me: str) -> set[str]:
        """Asks for a batch of new trials, as far as any are left; returns the names of its groups, one for each
        program.
        """
        from optuna.trial import TrialState

        count = min(self.search.batch_size, self.search.num_trials - len(self.trials()))
        self._study.sampler = self._sampler()
        groups: dict[str, str] = {}
        for _ in range(count):
            trial = self._study.ask(fixed_distributions=self._distributions)
            try:
                validate(with_values(self.search.config, trial.params))
            except UserError as error:
                trial.set_user_attr(REASON, str(error))
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            batch = groups.setdefault(repr(self.structure(trial.params)), f"{trial.number:05}")
            trial.set_user_attr(WORKER, me)
            trial.set_user_attr(BATCH, batch)
        return set(groups.values())

    def structure(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns those of these values that make another program."""
        return {x.name: values[x.name] for x in self._space if not x.is_float}

    def floats(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns those of these values that one program can train side by side."""
        return {x.name: float(values[x.name]) for x in self._space if x.is_float}

    def report(self, number: int, step: int, score: float) -> bool:
        """Records the held-out score of a trial in the middle of training, and returns whether it was ended for it."""
        from optuna.trial import TrialState

        trial_id = self._id(number)
        self._storage.set_trial_intermediate_value(trial_id, step, score)
        trial = self._storage.get_trial(trial_id)
        if not self._study.pruner.prune(self._study, trial):
            return False
        self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        return True

    def tell(self, number: int, score: float | None) -> None:
        """Ends a trial with its score. Without one it has diverged, and counts as the worst."""
        from optuna.trial import TrialState

        if score is None:
            self._set(number, REASON, "no finite score")
            self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self._study.tell(number, score, skip_if_finished=True)

    def _set(self, number: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._id(number), name, value)

    def _id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _sampler(self) -> "optuna.samplers.BaseSampler":
        """Returns a sampler whose random numbers depend on the seed and on how many trials there are: no two batches
        begin alike.
        """
        import optuna

        entropy = [self.search.config.seed, len(self._study.get_trials(deepcopy=False))]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        if self.search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def _check_folder(self) -> None:
        """Binds a study in a database to its folder; raises `UserError` if it has another."""
        mine = str(self.folder.path.absolute())
        theirs = self._study.user_attrs.get(FOLDER)
        if theirs is None:
            self._study.set_user_attr(FOLDER, mine)
        elif theirs != mine:
            raise UserError(
                f"storage={self.search.storage!r} has a study {self.folder.path.name!r} with the folder {theirs}: give "
                f"--run-dir {theirs}, or a --run-dir of another name"
            )


def _distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if dimension.choices:
        return distributions.CategoricalDistribution(dimension.choices)
    low, high = dimension.ends()
    is_log = dimension.interval.is_log
    if dimension.is_float:
        return distributions.FloatDistribution(float(low), float(high), log=is_log)
    return distributions.IntDistribution(int(low), int(high), log=is_log)


def _pruner(search: Search) -> "optuna.pruners.BasePruner":
    from optuna import pruners

    config = search.config
    first = max(config.evaluation.every, config.log_every)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Hyperband is marked as experimental.
        if search.pruner == "asha":
            return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
        if search.pruner == "hyperband":
            return pruners.HyperbandPruner(
                min_resource=first, max_resource=config.num_meta_steps, reduction_factor=3
            )
        if search.pruner == "median":
            return pruners.MedianPruner()
        return pruners.NopPruner()
