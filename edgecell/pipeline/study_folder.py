"""Whose study a folder is of: its trials or networks must not meet those of another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgecell import disk
from edgecell.errors import ConfigError
from edgecell.rundir import RunDir

FILE = ".study"


def refuse_another(run: RunDir, part: str, study: str, *, exists: bool) -> None:
    """Before a study is made or joined: does the folder hold what another one has made?

    ``part`` is the sub-folder of what studies make, "trials" or "networks"; ``exists`` says whether
    the storage holds the ``study``, without which the ones here are not its own.

    Raises:
        ConfigError: it does. ArtifactError: the folder's note cannot be read.
    """
    if not _holds(run, part):
        return
    noted = _noted(run)
    if noted is not None and noted.get("study") != study:
        theirs = noted.get("study")
        raise _another(run, part, f", '{theirs}'; give --study {theirs}, or")
    if not exists:
        raise _another(run, part, ";")


def note_study(run: RunDir, part: str, study: str, definition: Mapping[str, Any]) -> None:
    """After it was joined: note in the folder whose it is; one of before there was a note gets it now.

    Raises:
        ConfigError: it is of a study of the same name, in another storage, with other settings.
        ArtifactError: the folder cannot be read or written.
    """
    text = json.dumps(definition, sort_keys=True)
    ours = {"study": study, "definition_sha256": disk.sha256_bytes(text.encode())}
    noted = _noted(run)
    if noted == ours:
        return
    if noted is not None and _holds(run, part):
        raise _another(run, part, " of this name, with other settings;")
    disk.atomic_write_json(run.path / FILE, ours)


def _holds(run: RunDir, part: str) -> bool:
    folder = run.path / part
    return folder.is_dir() and any(folder.iterdir())


def _noted(run: RunDir) -> dict[str, Any] | None:
    path = run.path / FILE
    found = disk.read_json(path) if path.is_file() else None
    return found if isinstance(found, dict) else None


def _another(run: RunDir, part: str, which: str) -> ConfigError:
    return ConfigError(
        f"{run.path} holds {part} of another study{which} choose a new folder with --output"
    )
