"""What a stage recorded of files that a later call, for one file of the run, does not look at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecell import former
from edgecell.errors import ArtifactError
from edgecell.progress import Progress
from edgecell.record import is_inside, of_our_form
from edgecell.rundir import RunDir, cannot_write, sha256_file


@dataclass(frozen=True)
class Retained:
    """Entries of ``results["models"]`` that still hold, the files they are about, and their pictures."""

    models: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[Path] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)


def retained(
    run: RunDir,
    verb: str,
    judged: Iterable[str],
    *,
    reference: Path,
    images: dict[str, str],
    config: dict[str, Any],
    progress: Progress,
) -> Retained:
    """What ``run`` has of ``verb`` for the files of its quantize record but those named ``judged``.

    It holds where the reference, ``images`` (as the record names them, with their hashes) and
    ``config`` are those of now, and the file is the same. What does not is given up, and said.

    Raises:
        ArtifactError: a damaged record of quantize. One of ``verb`` is only said: it is written anew.
    """
    if not (run.has(verb) and run.has("quantize")):
        return Retained()
    there = {entry["file"] for entry in _models(run, "quantize")}
    folder = run.stage("quantize")
    try:
        record, models = run.read_record(verb), _models(run, verb)
    except ArtifactError:
        progress.say(
            f"note: the record of '{verb}' that was there cannot be read and is written anew"
        )
        return Retained()
    others = [
        entry
        for entry in models
        if entry["file"] in there - set(judged) and _same(folder / entry["file"], entry["sha256"])
    ]
    if not others:
        return Retained()
    wanted = {run.relative(reference): sha256_file(reference)} | images
    seen = {name: record["inputs"].get(name) for name in wanted}
    if seen != wanted or record["config"] != json.loads(json.dumps(config)):
        progress.say(
            f"note: what '{verb}' found earlier, with other settings or images, is given up for"
            f" {', '.join(entry['file'] for entry in others)}; 'edgecell {verb}' of the run looks at all"
        )
        return Retained()
    stems = tuple(f"{verb}/{Path(entry['file']).stem}-" for entry in others)
    drawn = [run.path / name for name in record["outputs"] if name.startswith(stems)]
    return Retained(
        others,
        [folder / entry["file"] for entry in others],
        [path for path in drawn if path.is_file()],
    )


def remove_given_up(run: RunDir, verb: str, outputs: Iterable[Path]) -> None:
    """Remove what the record of ``verb`` that is there names and the next one, of ``outputs``, will not.

    To be called right before that one is written: until then they can come back (see former). What was
    altered since, and what no record names, is somebody's own and stays.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    if not run.has(verb):
        return
    try:
        before = run.read_record(verb)["outputs"]
    except ArtifactError:
        return  # retained has said so
    kept = {run.relative(path) for path in outputs}
    for name, digest in before.items():
        path = run.path / name
        if name in kept or not is_inside(name) or path.parent != run.stage(verb):
            continue
        if path.is_symlink() or not _same(path, digest):
            continue
        try:
            former.keep(path)
            path.unlink()
        except OSError as error:
            raise cannot_write(path, error) from error


def _models(run: RunDir, verb: str) -> list[dict[str, Any]]:
    record = run.read_record(verb)
    with of_our_form(f"{run.path}: the record of {verb}"):
        return [entry for entry in record["results"]["models"] if isinstance(entry["file"], str)]


def _same(path: Path, digest: Any) -> bool:
    return path.is_file() and sha256_file(path) == digest
