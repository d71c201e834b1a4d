"""A journal: a study in a text file that is only appended to, a line of JSON for each change."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage

from edgecell.errors import ArtifactError

_BEGINNING = b'{"op_code":'


class _JournalFile(JournalFileBackend):
    """Optuna's; where it fails, it raises what a database raises."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """As Optuna's."""
        try:
            yield from super().read_logs(log_number_from)
        except (OSError, ValueError) as error:
            raise StorageInternalError(f"{self._file_path}: {error}") from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """As Optuna's."""
        try:
            super().append_logs(logs)
        except OSError as error:
            raise StorageInternalError(f"{self._file_path}: {error.strerror}") from error


def _cut_half_line(path: Path) -> None:
    """Remove what a full disk left of a last line: the next one would be written on to it.

    Of a journal only: a file of something else, named by mistake, stays as it is.
    """
    with path.open("r+b") as stream:
        data = stream.read()
        if data.startswith(_BEGINNING):
            stream.truncate(data.rfind(b"\n") + 1)


def open_journal(path: Path) -> BaseStorage:
    """The storage in the journal at ``path``, which is made where there is none.

    Raises:
        ArtifactError: it cannot be opened, or is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileSymlinkLock(str(path))
        file = _JournalFile(str(path), lock_obj=lock)
        lock.acquire()
        try:
            _cut_half_line(path)
        finally:
            lock.release()
        return JournalStorage(file)
    except (OSError, ValueError, OptunaError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"cannot open the journal {path}: {reason}; choose another") from error
