"""RUN/quantize/calibration*.json: the images that each file was calibrated on, as long as the file is there.

``calibration.json`` is that of the newest call. Where files of an earlier one stay that were made of other
images, theirs goes on as ``calibration-<8 hex digits of the images' sha256>.json``. Each entry of the
record names its own; in records made before they did, all mean ``calibration.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.calibration import CalibrationSet
from edgecell import disk
from edgecell.pipeline.retained import remove_given_up
from edgecell.rundir import RunDir

NEWEST = "calibration.json"

Entry = dict[str, Any]

_NAME = re.compile(r"calibration(-[0-9a-f]{8})?\.json")
_HASH = re.compile("[0-9a-f]{64}")


def named(entry: Entry, record: dict[str, Any]) -> Entry:
    """An entry of ``record`` with what it was calibrated on, which older ones do not say themselves."""
    newest = record["results"].get("calibration")
    if not entry["calibrated"] or "calibration" in entry or newest is None:
        return entry
    return entry | {"calibration": {"manifest": NEWEST} | _facts(newest)}


def manifest_of(entries: Iterable[Entry], precision: str) -> str:
    """The name of the manifest of the first file of ``precision``."""
    for entry in entries:
        if entry["precision"] == precision:
            name = str(entry.get("calibration", {}).get("manifest"))
            return name if _NAME.fullmatch(name) else NEWEST
    return NEWEST


@dataclass(frozen=True)
class Settled:
    """Entries that name their manifests, the manifests, and what is to be said of the newest calibration.

    ``newest`` is None where no file is left of it.
    """

    entries: list[Entry]
    paths: list[Path]
    newest: dict[str, Any] | None


def settle(
    run: RunDir,
    before: dict[str, Any] | None,
    kept: list[Entry],
    made: list[Entry],
    chosen: CalibrationSet | None,
) -> Settled:
    """Write the manifest of ``chosen``, on which ``made`` were calibrated, and keep those of ``kept``.

    ``before`` is the record that is there, ``kept`` are its entries that stay, each :func:`named`. A
    manifest that no entry names any more goes, and comes back if the record is never written (see former).
    """
    folder = run.stage("quantize")
    recorded = _recorded(before)
    newest = before["results"].get("calibration") if before is not None else None
    names = {}
    for facts in (entry["calibration"] for entry in kept if "calibration" in entry):
        name, images = facts.get("manifest"), facts["images_sha256"]
        if name in recorded and _HASH.fullmatch(images) and _is(folder / name, recorded[name]):
            names[images] = name
    if chosen is not None and any(entry["calibrated"] for entry in made):
        images = chosen.manifest["images_sha256"]
        for other in [each for each, name in names.items() if name == NEWEST and each != images]:
            names[other] = f"calibration-{other[:8]}.json"
            disk.atomic_write_bytes(folder / names[other], (folder / NEWEST).read_bytes())
        names[images] = NEWEST
        disk.atomic_write_json(folder / NEWEST, chosen.manifest)
        newest = {key: value for key, value in chosen.manifest.items() if key != "indices"}
        facts = _facts(newest)
        made = [entry | {"calibration": facts} if entry["calibrated"] else entry for entry in made]
    entries = [_placed(entry, names) for entry in (*kept, *made)]
    seen = [entry["calibration"] for entry in entries if "calibration" in entry]
    left = {facts["manifest"] for facts in seen if "manifest" in facts}
    gone = {f"quantize/{name}": recorded[name] for name in recorded if name not in left}
    remove_given_up(run, "quantize", gone, [])
    if newest is not None and newest["images_sha256"] not in [f["images_sha256"] for f in seen]:
        newest = None
    return Settled(entries, [folder / name for name in sorted(left)], newest)


def _recorded(record: dict[str, Any] | None) -> dict[str, str]:
    """Manifest → sha256 by a record."""
    outputs = {} if record is None else record["outputs"]
    found = {name.removeprefix("quantize/"): digest for name, digest in outputs.items()}
    return {name: digest for name, digest in found.items() if _NAME.fullmatch(name)}


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and disk.sha256_file(path) == digest


def _placed(entry: Entry, names: dict[str, str]) -> Entry:
    """``entry`` with the manifest of its images; without one that is another run's, or gone."""
    if "calibration" not in entry:
        return entry
    facts = _facts(entry["calibration"])
    name = names.get(facts["images_sha256"])
    return entry | {"calibration": ({"manifest": name} if name else {}) | facts}


def _facts(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in ("images_sha256", "count", "seed")}
