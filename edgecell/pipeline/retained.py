"""What a stage recorded of files that a later call, for one file of the run, does not look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgecell import former
from edgecell.disk import cannot_write, sha256_file
from edgecell.errors import ArtifactError
from edgecell.naming import owner_of
from edgecell.pipeline.read_files import ReadFiles
from edgecell.progress import Progress
from edgecell.record import is_inside, of_our_form
from edgecell.rundir import RunDir

Entry = dict[str, Any]


def write_beside(
    run: RunDir,
    verb: str,
    read: ReadFiles,
    *,
    images: dict[str, str],
    pictures: list[Path],
    config: dict[str, Any],
    results: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Write the record of ``verb`` about ``results["models"]``, beside what it says of other files.

    ``read`` are the reference, first, and the files that were judged. Entries of the record that is
    there stay, behind the new ones, where reference, ``images`` (as the record names them, with their
    hashes) and ``config`` are those of now, and the file is the run's still. What does not hold is
    given up, and said; its pictures go, and come back if the record is never written (see former).

    Raises:
        ArtifactError: a file was replaced meanwhile, a damaged record of quantize, or a folder that
            cannot be written. A damaged record of ``verb`` is only said: it is written anew.
    """
    before, entries = _before(run, verb, progress)
    others = _others(run, entries, results["models"])
    reference, digest = next(iter(read.digests.items()))
    if others and not _rests_on(before, {run.relative(reference): digest} | images, config):
        progress.say(
            f"note: what '{verb}' found earlier, with other settings or images, is given up for"
            f" {', '.join(entry['file'] for entry in others)}; 'edgecell {verb}' of the run looks at all"
        )
        others = []
    theirs = _pictures(run, before, entries, others)
    outputs = list(dict.fromkeys([*pictures, *theirs]))
    read.require_same(verb)
    remove_given_up(run, verb, before["outputs"], outputs)
    return run.write_record(
        verb,
        inputs=[*read.digests, *(run.stage("quantize") / entry["file"] for entry in others)],
        input_hashes=images,
        outputs=outputs,
        config=config,
        results=results | {"models": results["models"] + others},
    )


def _before(run: RunDir, verb: str, progress: Progress) -> tuple[dict[str, Any], list[Entry]]:
    """The record that is there and its entries; empty where there is none, or none that can be read."""
    record: dict[str, Any] = {"outputs": {}}
    if not run.has(verb):
        return record, []
    try:
        record = run.read_record(verb)
        return record, _entries(run, verb, record)
    except ArtifactError:
        progress.say(
            f"note: the record of '{verb}' that was there cannot be read and is written anew"
        )
        return record, []


def _others(run: RunDir, entries: list[Entry], judged: list[Entry]) -> list[Entry]:
    """Those of ``entries`` about files of the run's quantize record that were not judged now."""
    if not (entries and run.has("quantize")):
        return []
    there = {entry["file"] for entry in _entries(run, "quantize", run.read_record("quantize"))}
    there -= {entry["file"] for entry in judged}
    folder = run.stage("quantize")
    return [e for e in entries if e["file"] in there and _same(folder / e["file"], e["sha256"])]


def _rests_on(record: dict[str, Any], inputs: dict[str, str], config: dict[str, Any]) -> bool:
    seen = {name: record["inputs"].get(name) for name in inputs}
    return bool(seen == inputs and record["config"] == json.loads(json.dumps(config)))


def _pictures(
    run: RunDir, record: dict[str, Any], entries: list[Entry], others: list[Entry]
) -> list[Path]:
    """The record's pictures of the files in ``others``."""
    known = [Path(entry["file"]).stem for entry in entries]
    kept = {Path(entry["file"]).stem for entry in others}
    drawn = [run.path / name for name in record["outputs"]]
    return [path for path in drawn if owner_of(path.stem, known) in kept and path.is_file()]


def remove_given_up(
    run: RunDir, verb: str, recorded: Mapping[str, str], outputs: Iterable[Path]
) -> None:
    """Remove what the record that is there names, ``recorded``, and the next one, of ``outputs``, will not.

    What was altered since, and what no record names, is somebody's own and stays.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    kept = {run.relative(path) for path in outputs}
    for name, digest in recorded.items():
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


def _entries(run: RunDir, verb: str, record: dict[str, Any]) -> list[Entry]:
    with of_our_form(f"{run.path}: the record of {verb}"):
        return [entry for entry in record["results"]["models"] if isinstance(entry["file"], str)]


def _same(path: Path, digest: Any) -> bool:
    return path.is_file() and sha256_file(path) == digest
