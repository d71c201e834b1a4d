"""Where a study is kept, so that several processes or machines work on it, and who of them lives.

A database on another machine keeps heartbeats (Optuna's own): a worker that is silent for too long is
dead. Beside a file, SQLite's or a journal, each worker holds a lock on a file of its own, which the
system releases when the process dies, however it dies.

A trial whose worker died is first marked failed and then queued again. Who dies between the two leaves a
failed trial that nothing repeats; it is queued by the next who looks.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import (
    ExperimentalWarning,
    OptunaError,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from edgecell.errors import ArtifactError, ConfigError
from edgecell.tuning.journal import open_journal

RETRIES = 3
"""How often a trial whose worker died is tried again; one that kills its workers must end."""

SURPLUS = "surplus"
"""User attribute of a trial that its worker gave up as one too many."""
ENDED = "error"
"""User attribute of a trial that an error of ours ended, which a repetition would meet again."""
DRAWN = "drawn"
"""User attribute of a trial all of whose values are there."""

ALLOWED = (
    "sqlite:///PATH, postgresql+psycopg://USER:PASSWORD@HOST/NAME, or the path of a journal file"
)


class Storage:
    """A study's storage, opened; ``kind`` is sqlite, postgresql, … or journal.

    ``requeues``: whether a trial whose worker died is queued again with the same values.
    """

    def __init__(self, url: str, heartbeat_seconds: int, *, requeues: bool = True) -> None:
        """Open ``url``; a file that is not there yet is made.

        Raises:
            ConfigError: a URL that no driver takes. ArtifactError: it cannot be opened.
        """
        self.grace_seconds = 3 * heartbeat_seconds
        self.requeues = requeues
        self.workers: Path | None = None
        self._mine: Path | None = None
        self.backend: BaseStorage
        if "://" in url:
            self.kind = url.split(":")[0].split("+")[0]
            file = url.removeprefix("sqlite:///").partition("?")[0]
            self.backend = _database(url, None if self.kind == "sqlite" else heartbeat_seconds)
        else:
            self.kind, file = "journal", url
            self.backend = open_journal(Path(url))
        if self.kind in ("sqlite", "journal"):
            self.workers = Path(f"{file}.workers")

    @contextmanager
    def worker(self) -> Iterator[str]:
        """Be a worker of this storage: its name; others see until the end that it lives."""
        name = secrets.token_hex(8)
        if self.workers is None:
            yield name
            return
        path = self.workers / name
        try:
            self.workers.mkdir(parents=True, exist_ok=True)
            stream = path.open("xb")
        except OSError as error:
            raise ArtifactError(
                f"cannot write {path}: {error.strerror}; choose another --storage"
            ) from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._mine = path
            try:
                yield name
            finally:
                self._mine = None
                path.unlink(missing_ok=True)

    def sign(self, trial: optuna.Trial, attribute: str, worker: str) -> None:
        """Put the worker's name on the trial it has taken.

        The first heartbeat comes before the name: Optuna takes a trial without any for one that may
        still be starting, and would wait for it for ever.
        """
        if self.workers is None and isinstance(self.backend, RDBStorage):
            self.backend.record_heartbeat(trial._trial_id)
        trial.set_user_attr(attribute, worker)

    def revive(self, study: optuna.Study, attribute: str) -> int:
        """Mark the trials of dead workers failed and queue them again; returns how many died.

        Queued is also what died before and whose repetition was never queued. A trial holds its worker's
        name as user attribute ``attribute``.
        """
        before = _count_failed(study)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_dead(trial, trial.user_attrs.get(attribute)):
                _fail(study, trial)
        if self.requeues:
            _requeue(study)
        return _count_failed(study) - before

    def _is_dead(self, trial: FrozenTrial, worker: str | None) -> bool:
        if worker is None:
            # About to put its name on the trial, or dead; the trial was there before this look around.
            if self.workers is not None and not self._others():
                return True
            begun = trial.datetime_start
            return begun is not None and time.time() - begun.timestamp() > self.grace_seconds
        if self.workers is None:
            return False  # its heartbeat tells
        return not _is_held(self.workers / worker)

    def _others(self) -> bool:
        """Whether another worker than this lives."""
        assert self.workers is not None
        files = list(self.workers.iterdir()) if self.workers.is_dir() else []
        return any(_is_held(path) for path in files if path != self._mine)


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Keep other workers on this folder out while the block runs; ``path`` is the lock's file.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    try:
        stream = path.open("ab")
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror}") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _is_held(path: Path) -> bool:
    """Whether the worker whose lock this is lives; the file of a dead one is removed."""
    try:
        # NFS gives no such lock on what is open for reading alone.
        with path.open("r+b" if os.access(path, os.W_OK) else "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    path.unlink(missing_ok=True)
    return False


def retry(study: optuna.Study, trial: FrozenTrial, limit: int | None = RETRIES) -> None:
    """Queue a trial again that did not come to its end, with the same values.

    One that died while its values were drawn has only some of them; all are drawn again.
    """
    again = copy.deepcopy(trial)
    if DRAWN in trial.user_attrs:
        again.user_attrs = {DRAWN: True}  # the others name its worker
    else:
        again.user_attrs, again.params, again.distributions = {}, {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(max_retry=limit)(study, again)


def attempts_before(trial: FrozenTrial) -> list[int]:
    """The numbers of the trials that this one is another attempt at, the first one first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback.retry_history(trial)


def retried_from(trial: FrozenTrial) -> int | None:
    """The number of the trial that this one is another attempt at; None for a first attempt."""
    history = attempts_before(trial)
    return history[-1] if history else None


def _fail(study: optuna.Study, trial: FrozenTrial) -> None:
    with contextlib.suppress(UpdateFinishedTrialError, ValueError):  # another worker was quicker
        study.tell(trial.number, state=TrialState.FAIL)


def _requeue(study: optuna.Study) -> None:
    """Queue each trial that died and that no other repeats.

    Two workers may do so at once; see :func:`edgecell.tuning.search.is_twin`.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {retried_from(trial) for trial in trials}
    for trial in trials:
        over = SURPLUS in trial.user_attrs or ENDED in trial.user_attrs
        if trial.state == TrialState.FAIL and trial.number not in repeated and not over:
            retry(study, trial)


def _count_failed(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))


def _database(url: str, heartbeat: int | None) -> BaseStorage:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    scheme = url.split(":")[0]
    options: dict[str, Any] = {}
    try:
        if scheme == "sqlite":
            # A worker waits for another's write rather than fail.
            options["connect_args"] = {"timeout": 60}
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        else:
            # A training is silent for long: the server, or what lies between, may have hung up.
            options["pool_pre_ping"] = True
        return _connect(url, heartbeat, options)
    except ImportError as error:
        raise ConfigError(
            f"--storage {scheme}://… needs a driver that is not installed; for PostgreSQL:"
            " pip install -c constraints.txt -e '.[postgresql]'"
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        # The message of these errors may hold the password.
        raise ConfigError(f"--storage {scheme}://… is no storage; allowed: {ALLOWED}") from error
    except (SQLAlchemyError, OptunaError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ArtifactError(f"cannot open the storage {scheme}://…: {reason}") from error


class _Database(RDBStorage):
    """Optuna's; a heartbeat that fails is missed, the next one is tried.

    In Optuna's it ends with a traceback the thread whose heartbeats others wait for.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        """As Optuna's."""
        with contextlib.suppress(StorageInternalError):
            super().record_heartbeat(trial_id)


def _connect(url: str, heartbeat: int | None, options: dict[str, Any]) -> RDBStorage:
    """Two workers that make the tables of a new database at once get in each other's way."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    def connect() -> RDBStorage:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return _Database(
                url,
                engine_kwargs=dict(options),
                heartbeat_interval=heartbeat,
                grace_period=None if heartbeat is None else 3 * heartbeat,
            )

    for pause in (0.5, 1.0, 2.0):
        try:
            return connect()
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if "exist" not in str(error) and "UNIQUE" not in str(error).upper():
                raise
            time.sleep(pause)
    return connect()
