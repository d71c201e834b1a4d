"""The record of ``edgecell quantize``: the files of this call, and those of earlier ones that still hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.calibration import CalibrationSet
from edgecell import disk, packing, plots
from edgecell.config import PRECISIONS, Config
from edgecell.data import Dataset
from edgecell.pipeline import manifests
from edgecell.pipeline.quantize_settings import hashes_behind, hashes_of, settings_of
from edgecell.pipeline.targets import Target
from edgecell.rundir import RunDir

_ORDER = (*PRECISIONS, "mixed")


def write(
    run: RunDir,
    target: Target,
    config: Config,
    entries: list[dict[str, Any]],
    chosen: CalibrationSet | None,
    dataset: Dataset | None,
) -> dict[str, Any]:
    """Write the record of ``entries`` and of what is kept, with the picture of all sizes.

    ``chosen`` is the calibration set, None where no images were needed.
    """
    folder = run.stage("quantize")
    before = run.read_record("quantize") if run.has("quantize") else None
    valid = [] if before is None else _still_valid(run, before, entries, target)
    read = {} if before is None else hashes_behind(valid, before)
    kept = [_completed(entry, folder, target) for entry in valid]
    settled = manifests.settle(run, before, kept, entries, chosen)
    results: dict[str, Any] = {
        "models": sorted(
            settled.entries,
            key=lambda entry: (_ORDER.index(entry["precision"]), Path(entry["file"]).stem),
        )
    }
    if settled.newest is not None:
        results["calibration"] = settled.newest
    made_with = [name for entry in results["models"] for name in entry.get("made_with", ())]
    names = [*(entry["file"] for entry in results["models"]), *made_with]
    drawn = [
        {"label": Path(e["file"]).stem.removeprefix(f"{target.name}-"), **e}
        for e in results["models"]
    ]
    outputs = [folder / name for name in dict.fromkeys(names)]
    outputs.append(plots.save(plots.file_sizes(drawn), folder / "sizes.png"))
    return run.write_record(
        "quantize",
        inputs=[target.model],
        input_hashes=read | (hashes_of(config, dataset) if dataset else {}),
        outputs=[*outputs, *settled.paths],
        config=settings_of(config),
        results=results,
    )


def _still_valid(
    run: RunDir, record: dict[str, Any], entries: list[dict[str, Any]], target: Target
) -> list[dict[str, Any]]:
    """Entries of ``record``, of an earlier call, for files that are still there and came from the same model.

    A file of a pruning of which there is another now, with other settings, is not among them: the
    model it came from was replaced. Nor is one with a resize inside whose source is another file now.
    """
    if record["inputs"].get(run.relative(target.model)) != disk.sha256_file(target.model):
        return []
    replaced = {entry["file"] for entry in entries}
    slim = {entry["slim"]["name"]: entry["slim"]["key"] for entry in entries if "slim" in entry}

    def current(entry: dict[str, Any]) -> bool:
        made, source = entry.get("slim", {}), entry.get("made_from")
        if source is not None and source["file"] in replaced:
            anew = run.stage("quantize") / source["file"]
            if disk.sha256_file(anew) != source["sha256"]:
                return False
        return slim.get(made.get("name"), made.get("key")) == made.get("key")

    return [
        manifests.named(entry, record)
        for entry in record["results"]["models"]
        if entry["file"] not in replaced
        and current(entry)
        and (run.stage("quantize") / entry["file"]).is_file()
        and disk.sha256_file(run.stage("quantize") / entry["file"])
        == record["outputs"][f"quantize/{entry['file']}"]
    ]


def _completed(entry: dict[str, Any], folder: Path, target: Target) -> dict[str, Any]:
    """An entry of before 0.2 with what later ones have; what was removed since is left out."""
    data = (folder / entry["file"]).read_bytes()
    of_qat = (f"{target.name}-qat.keras", "qat-history.json", "qat.png")
    with_it = entry.get("made_with", of_qat if entry.get("method") == "qat" else ())
    made_with = [name for name in with_it if (folder / name).is_file()]
    return (
        {"packed_bytes": packing.deflated_bytes(data)}
        | entry
        | ({"made_with": made_with} if made_with else {})
    )
