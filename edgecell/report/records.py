"""The records of a run, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgecell.rundir import RunDir

Records = dict[str, list[tuple[str, dict[str, Any]]]]


def read_records(run: RunDir, verbs: Iterable[str]) -> Records:
    """verb → [(stage name, record)]; evaluate may hold one stage per model and split.

    Raises:
        ArtifactError: a record is damaged.
    """
    found: Records = {}
    for verb in verbs:
        for name in _stage_names(run, verb):
            found.setdefault(verb, []).append((name, run.read_record(name)))
    return found


def _stage_names(run: RunDir, verb: str) -> Iterator[str]:
    if run.has(verb):
        yield verb
    folder = run.stage(verb)
    if folder.is_dir():
        for child in sorted(folder.iterdir()):
            if run.has(f"{verb}/{child.name}"):
                yield f"{verb}/{child.name}"
