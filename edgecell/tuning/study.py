"""A study that several processes or machines work on: made or joined, its trials taken one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError

from edgecell.errors import ArtifactError, ConfigError, EdgecellError
from edgecell.interrupts import InterruptsUncovered
from edgecell.progress import Progress
from edgecell.tuning.storage import ENDED, SURPLUS, Storage, retry

WORKER = "worker"
"""The user attribute of a trial that names who has it."""

_DEFINITION = "edgecell"
_POLL_SECONDS = 2.0

optuna.logging.set_verbosity(optuna.logging.ERROR)


class PrunedError(Exception):
    """Raised by an objective whose trial is not worth finishing; the message says why."""


class TakenError(Exception):
    """The trial is not ours: one too many, or given to another worker while we were silent."""


class SharedStudy:
    """A study that is the same for all workers: same settings, same images."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        definition: Mapping[str, Any],
        *,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        first: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Make the study, or join it; ``first`` are the values of the first trials of a new one.

        Raises:
            ConfigError: the study is there and differs in ``definition``. ArtifactError: the storage
                is damaged.
        """
        self.storage, self.name = storage, name
        with storage_errors():
            try:
                self.study = optuna.create_study(
                    storage=storage.backend,
                    study_name=name,
                    direction="maximize",
                    sampler=sampler,
                    pruner=pruner,
                )
                self.is_new = True
                self._begin(definition, first)
            except DuplicatedStudyError:
                self.is_new = False
                self.study = optuna.load_study(
                    storage=storage.backend, study_name=name, sampler=sampler, pruner=pruner
                )
                self._check(definition, first)

    def _begin(self, definition: Mapping[str, Any], first: Sequence[Mapping[str, Any]]) -> None:
        """Queue the first trials, then say what the study is: whoever has said it has done both."""
        for values in first:
            self.study.enqueue_trial(dict(values))
        self.study.set_user_attr(_DEFINITION, dict(definition))

    def _check(self, definition: Mapping[str, Any], first: Sequence[Mapping[str, Any]]) -> None:
        for _ in range(10):  # its maker may still be writing
            found = self.study.user_attrs.get(_DEFINITION)
            if found is not None:
                break
            time.sleep(0.5)
        else:  # its maker died
            self._begin(definition, first[len(self.study.get_trials(deepcopy=False)) :])
            return
        differing = [key for key in definition if found.get(key) != definition[key]]
        if differing:
            raise ConfigError(
                f"the study '{self.name}' was begun with another {', another '.join(differing)}; give"
                " the same settings, or start anew with another --study or --output"
            )

    @staticmethod
    def exists(storage: Storage, name: str) -> bool:
        """Whether the storage holds a study of this name."""
        with storage_errors():
            return name in optuna.get_all_study_names(storage.backend)

    def work(
        self,
        objective: Callable[[optuna.Trial], float],
        more: Callable[[list[FrozenTrial]], bool],
        timeout: float | None,
        progress: Progress,
        after: Callable[[int], None] = lambda number: None,
        concerns: Callable[[FrozenTrial], bool] = lambda trial: True,
    ) -> None:
        """Take trials while ``more`` says of all trials that there are some, wait for others', return.

        ``after`` gets the number of each trial of this worker when it is over. Waited is for the
        running trials that it ``concerns``. A trial that this process is in when the time is over is
        finished. An interrupt leaves the trial to be taken up again, and so does an ArtifactError: a
        full disk, say. After another error of ours the trial is over.
        """
        begun = time.monotonic()
        waiting_said = False
        with self.storage.worker() as worker, storage_errors():
            while timeout is None or time.monotonic() - begun < timeout:
                died = self.storage.revive(self.study, WORKER)
                if died:
                    progress.say(f"{died} trial(s) of a worker that died: to be done again")
                trials = self.study.get_trials(deepcopy=False)
                if more(trials):
                    number = self._one(objective, worker)
                    if number is not None:
                        after(number)
                    waiting_said = False
                    continue
                running = sum(t.state == TrialState.RUNNING and concerns(t) for t in trials)
                if not running:
                    return
                if not waiting_said:
                    progress.say(f"waiting for {running} trial(s) of other workers")
                    waiting_said = True
                time.sleep(_POLL_SECONDS)

    def _one(self, objective: Callable[[optuna.Trial], float], worker: str) -> int | None:
        """Take a trial and finish it; its number, or None where it was not ours in the end."""
        taken: list[optuna.Trial] = []
        lost = False

        def call(trial: optuna.Trial) -> float:
            nonlocal lost
            taken.append(trial)
            try:
                self.storage.sign(trial, WORKER, worker)
                with InterruptsUncovered():
                    return objective(trial)
            except PrunedError as reason:
                if str(reason):
                    trial.set_user_attr("reason", str(reason))
                raise optuna.TrialPruned from reason
            except (UpdateFinishedTrialError, TakenError) as error:
                lost = True
                raise TakenError from error
            except ArtifactError:
                raise  # of the disk or another process: a repetition need not meet it
            except EdgecellError as error:
                with suppress(UpdateFinishedTrialError):
                    trial.set_user_attr(ENDED, str(error))
                raise

        try:
            self.study.optimize(call, n_trials=1, catch=(TakenError,))
        except (KeyboardInterrupt, ArtifactError):
            if taken and self.storage.requeues:
                self._queue_again(taken[0].number)
            raise
        except UpdateFinishedTrialError:
            lost = True  # told too late: another worker took us for dead and repeats the trial
        return taken[0].number if taken and not lost else None

    def _queue_again(self, number: int) -> None:
        # Where the storage is on the full disk, the next worker that looks queues it.
        with suppress(StorageInternalError):
            trial = self.study.trials[number]
            if trial.state == TrialState.FAIL:  # not one that was told just before
                retry(self.study, trial, limit=None)

    @staticmethod
    def step_back(trial: optuna.Trial) -> None:
        """Give up a trial that is one too many.

        Raises:
            TakenError: always.
        """
        trial.set_user_attr(SURPLUS, True)
        raise TakenError

    @staticmethod
    def stepped_back(trial: FrozenTrial) -> bool:
        """Whether a worker gave it up as one too many."""
        return SURPLUS in trial.user_attrs

    def trials(self) -> list[FrozenTrial]:
        """All trials but those that a worker stepped back from."""
        with storage_errors():
            found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if not self.stepped_back(trial)]


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a storage that fails raises into an ArtifactError."""
    try:
        yield
    except (StorageInternalError, OperationalError, AssertionError, UnboundLocalError) as error:
        # Optuna tells the trial next, fails at that too, and trips over what it then does not know:
        # an assertion, or a variable of its own that has no value.
        failure = _storage_failure(error)
        if failure is None:
            raise
        # The driver knows why; what Optuna says around it is a guess.
        known = getattr(failure, "orig", None) or getattr(failure.__cause__, "orig", None)
        reason = str(known or failure).splitlines()[0]
        raise ArtifactError(
            f"the storage of the study failed: {reason}; once it works again, the same command goes on"
        ) from error


def _storage_failure(error: BaseException) -> BaseException | None:
    """The last failure of a storage among an error and what it came from; None where there is none."""
    ahead, seen = [error], set()
    while ahead:
        each = ahead.pop(0)
        if isinstance(each, (StorageInternalError, OperationalError)):
            return each
        seen.add(id(each))
        behind = (each.__cause__, each.__context__)
        ahead += [one for one in behind if one is not None and id(one) not in seen]
    return None
