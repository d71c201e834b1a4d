"""Which images a file was calibrated on stays known as long as the file does, whatever is made beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.calibration import CalibrationSet
from edgecell.cli import show
from edgecell.custody import audit_run
from edgecell.disk import atomic_write_bytes, read_json, sha256_bytes
from edgecell.pipeline import manifests
from edgecell.rundir import RunDir

NEWEST = "calibration.json"


def drawn(seed: int, images: str = "") -> CalibrationSet:
    """Eight images of train; ``images`` tells apart what is in them."""
    facts = {"split": "train", "seed": seed, "count": 8, "indices": list(range(seed, seed + 8))}
    manifest = facts | {"images_sha256": sha256_bytes((images or f"of seed {seed}").encode())}
    return CalibrationSet(np.zeros((8, 4, 4, 3), np.uint8), np.arange(8), manifest)


@dataclass
class Stage:
    """RUN/quantize as calls of ``edgecell quantize`` leave it, but for what is in the files."""

    run: RunDir

    def call(
        self,
        *names: str,
        chosen: CalibrationSet | None = None,
        without: tuple[str, ...] = (),
        says: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make the files ``names``, of which float ones need no images; keep others but ``without``."""
        folder = self.run.stage("quantize")
        before = self.run.read_record("quantize") if self.run.has("quantize") else None
        kept = [
            manifests.named(entry, before)
            for entry in (before["results"]["models"] if before else [])
            if entry["file"] not in (*names, *without)
        ]
        made = [
            {"file": n, "precision": n, "calibrated": n != "float32"} | (says or {}) for n in names
        ]
        for name in names:
            atomic_write_bytes(folder / name, name.encode())
        settled = manifests.settle(self.run, before, kept, made, chosen)
        newest = {} if settled.newest is None else {"calibration": settled.newest}
        return self.record(settled.entries, [path.name for path in settled.paths], newest)

    def record(
        self, entries: list[dict[str, Any]], names: list[str], newest: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the record."""
        paths = [
            self.run.stage("quantize") / name for name in (*(e["file"] for e in entries), *names)
        ]
        results = {"models": entries, **newest}
        return self.run.write_record(
            "quantize", inputs=[], outputs=paths, config={}, results=results
        )

    def older(self, chosen: CalibrationSet, *names: str) -> None:
        """A record of before entries named their manifests."""
        record = self.call(*names, chosen=chosen)
        for entry in record["results"]["models"]:
            entry.pop("calibration", None)
        newest = {"calibration": record["results"]["calibration"]}
        self.record(record["results"]["models"], [NEWEST], newest)

    def there(self) -> set[str]:
        """The manifests on the disk; none of them is unknown to the record, or altered."""
        found = audit_run(self.run.path)
        assert not found.findings
        return {path.name for path in self.run.stage("quantize").glob("calibration*")}

    def of(self, file: str) -> dict[str, Any]:
        """What the record says a file was calibrated on, after a look into the manifest it names."""
        models = self.run.read_record("quantize")["results"]["models"]
        (facts,) = [entry["calibration"] for entry in models if entry["file"] == file]
        manifest = read_json(self.run.stage("quantize") / facts["manifest"])
        assert manifest["images_sha256"] == facts["images_sha256"]
        return facts


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(RunDir(tmp_path))


def aside(chosen: CalibrationSet) -> str:
    return f"calibration-{chosen.manifest['images_sha256'][:8]}.json"


@pytest.mark.parametrize("older", [False, True], ids=["named", "of an older record"])
def test_a_file_that_stays_keeps_the_manifest_of_its_images(stage: Stage, older: bool) -> None:
    first, second = drawn(0), drawn(7)
    if older:
        stage.older(first, "int8", "float32")
    else:
        stage.call("int8", "float32", chosen=first)
    record = stage.call("int16x8", chosen=second)
    assert stage.there() == {NEWEST, aside(first)}
    assert (stage.of("int8")["seed"], stage.of("int8")["manifest"]) == (0, aside(first))
    assert (stage.of("int16x8")["seed"], stage.of("int16x8")["manifest"]) == (7, NEWEST)
    kept = read_json(stage.run.stage("quantize") / aside(first))
    assert kept == first.manifest  # the indices among it
    assert record["results"]["calibration"]["seed"] == 7
    assert ["calibration" in entry for entry in record["results"]["models"]] == [True, False, True]
    assert manifests.manifest_of(record["results"]["models"], "int8") == aside(first)
    # A third call keeps both, and each file made anew gives its former manifest up.
    stage.call("mixed", chosen=drawn(9))
    assert stage.there() == {NEWEST, aside(first), aside(second)}
    stage.call("int8", "int16x8", chosen=drawn(9))
    assert stage.there() == {NEWEST}


def test_of_the_same_images_there_is_one_manifest(stage: Stage) -> None:
    stage.call("int8", chosen=drawn(0, "all of train"))
    stage.call("int16x8", chosen=drawn(7, "all of train"))
    assert stage.there() == {NEWEST}
    assert (stage.of("int8")["seed"], stage.of("int16x8")["seed"]) == (0, 7)
    stage.call("mixed", chosen=drawn(1))
    stage.call("dynamic", chosen=drawn(2, "all of train"))  # the newest and an earlier one again
    assert stage.there() == {NEWEST, aside(drawn(1))}
    assert stage.of("int8")["manifest"] == NEWEST


def test_without_images_the_manifests_stay_as_they_are(stage: Stage) -> None:
    stage.call("int8", chosen=drawn(0))
    stage.call("int16x8", chosen=drawn(7))
    for chosen in (None, drawn(9)):  # drawn for something else, and no file was calibrated on them
        record = stage.call("float32", chosen=chosen)
        assert stage.there() == {NEWEST, aside(drawn(0))}
        assert record["results"]["calibration"]["seed"] == 7
    record = stage.call("float32", without=("int16x8",))
    (stage.run.stage("quantize") / "int16x8").unlink()
    assert stage.there() == {aside(drawn(0))}
    assert "calibration" not in record["results"]
    stage.call("float32", without=("int8",))
    (stage.run.stage("quantize") / "int8").unlink()
    assert stage.there() == set()


def test_a_file_of_another_run_s_images_says_what_is_known(stage: Stage) -> None:
    foreign = {"manifest": NEWEST, "images_sha256": "ab" * 32, "count": 8, "seed": 3}
    stage.call("int8", chosen=drawn(0))
    record = stage.call("int16x8", says={"calibration": foreign})
    (entry,) = [each for each in record["results"]["models"] if each["file"] == "int16x8"]
    del foreign["manifest"]  # this run's is of other images
    assert entry["calibration"] == foreign
    assert stage.of("int8")["manifest"] == NEWEST


def test_what_was_altered_is_nobody_s_manifest_and_stays(stage: Stage) -> None:
    stage.call("int8", chosen=drawn(0))
    path = stage.run.stage("quantize") / NEWEST
    path.write_text('{"mine": 1}')
    record = stage.call("float32")
    assert path.is_file()
    assert "quantize/calibration.json" not in record["outputs"]
    assert record["results"]["models"][0]["calibration"]["seed"] == 0


@pytest.mark.parametrize("name", ["../../else.json", "record.json", 7])
def test_a_record_leads_to_no_other_file(name: Any) -> None:
    entries = [{"precision": "int8", "calibration": {"manifest": name}}]
    assert manifests.manifest_of(entries, "int8") == NEWEST
    assert manifests.manifest_of([], "int8") == NEWEST


def test_the_table_says_which_file_is_of_other_images(stage: Stage) -> None:
    stage.older(drawn(0), "int8")
    folder = stage.run.stage("quantize")
    line = f"calibrated on 8 images of train, seed 0: {folder / NEWEST}"
    assert show._calibrated(stage.run.read_record("quantize")["results"], folder) == [line]
    stage.call("int16x8", chosen=drawn(7))
    assert show._calibrated(stage.run.read_record("quantize")["results"], folder) == [
        line.replace("seed 0", "seed 7"),
        "int8: " + line.replace(NEWEST, aside(drawn(0))),
    ]
