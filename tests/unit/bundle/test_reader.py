"""A bundle read back: whole or refused."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import toy_bundle
import toys
from asked import ABSTAIN_BELOW, SET_FROM, TEMPERATURE, make_bundle

from edgecell.bundle.reader import is_bundle, open_bundle
from edgecell.errors import ArtifactError
from edgecell.record import seal
from edgecell.tasks import MULTI_LABEL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


def edit(bundle: Path, change) -> None:
    path = bundle / "model.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    card["seal"] = seal(card)
    path.write_text(json.dumps(card), encoding="utf-8")


def test_folder_and_zip_are_the_same(made: Path):
    archive = made.with_suffix(".zip")
    assert is_bundle(made) and is_bundle(archive) and not is_bundle(made.parent)
    one, other = open_bundle(made), open_bundle(archive)
    assert one.card == other.card and one.model == other.model and one.rules == other.rules
    assert one.read("labels.txt") == other.read("labels.txt")
    rules = one.rules
    assert rules.labels == toys.CLASSES and rules.kind == "single-label"
    assert (rules.temperature, rules.abstain_below, rules.set_from, rules.coverage) == (
        TEMPERATURE,
        ABSTAIN_BELOW,
        SET_FROM,
        0.9,
    )
    assert (one.spec.height, one.spec.fit) == (toys.SIZE, "stretch")


def test_a_bundle_that_cuts_is_of_the_second_version(tmp_path: Path):
    """A program that knows the first one only would show the model too much of every image."""
    one = open_bundle(toy_bundle.make_bundle(tmp_path / "cuts", [], fraction=0.875))
    assert (one.card["schema_version"], one.spec.central_fraction) == (2, 0.875)
    other = open_bundle(toy_bundle.make_bundle(tmp_path / "whole", []))
    assert (other.card["schema_version"], other.spec.central_fraction) == (1, 1.0)
    assert "central_fraction" not in other.card["preprocessing"]["fit"]


@pytest.mark.parametrize("name", ["model.tflite", "golden/00.png"])
def test_an_altered_file_is_refused(bundle: Path, name: str):
    path = bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=f"{name} was altered"):
        open_bundle(bundle).read(name)


def test_an_altered_card_is_refused(bundle: Path):
    """Labels the other way round would answer, and pass every golden image."""
    path = bundle / "model.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(card | {"labels": card["labels"][::-1]}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"model\.json was altered: its seal is not"):
        open_bundle(bundle)
    del card["seal"]  # of an older edgecell
    path.write_text(json.dumps(card), encoding="utf-8")
    assert open_bundle(bundle).rules.labels == toys.CLASSES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(schema="x"), "no bundle's"),
        (lambda c: c.update(schema_version=3), "format 3"),
        (lambda c: c["labels"].pop(), "3 labels for an output"),
        (lambda c: c["labels"].__setitem__(0, 7), "TypeError: labels"),
        (lambda c: c.pop("decision"), "'decision'"),
        (
            lambda c: c["decision"]["abstention"].update(threshold=float("nan")),
            "NaN is no number",
        ),
        (lambda c: c["decision"]["conformal"].update(threshold=1.5), "1.5 is not a number"),
        (lambda c: c["decision"]["temperature"].update(value=0), "0 is not a number"),
        (lambda c: c["decision"]["abstention"].update(threshold="0.5"), "'0.5' is not a number"),
        (lambda c: c["model"].update(file="../model.tflite"), "no file of the bundle"),
        (lambda c: c["model"].update(file="/etc/hostname"), "no file of the bundle"),
        (lambda c: c["preprocessing"]["fit"].update(mode="pad"), "not known to this edgecell"),
        (lambda c: c["preprocessing"]["fit"].update(central_fraction=0), "central fraction 0 "),
        (lambda c: c["preprocessing"]["fit"].update(central_fraction="1"), "TypeError"),
        (lambda c: c["preprocessing"]["resize"].update(height=4), "image size 4"),
        (lambda c: c["preprocessing"]["fit"].update(top=3), "fit.top"),
        (lambda c: c["preprocessing"]["resize"].update(kernel="cubic"), "resize.kernel"),
        (lambda c: c["preprocessing"].update(colour={"gamma": 2}), "colour.gamma"),
        (lambda c: c["task"].update(name="detection"), "'detection'"),
        (lambda c: c.update(files=[]), "files or verified"),
    ],
)
def test_a_card_of_another_form_is_refused(bundle: Path, change, said: str):
    edit(bundle, change)
    with pytest.raises(ArtifactError, match=said):
        open_bundle(bundle)


LABELS = {"sensitivity": 0.9, "thresholds": [0.1, None, 0.3, 0.2], "scaling": None}
SCALING = {"slopes": [1.0, 2.0, 0.5, 1.0], "offsets": [0.0, -1.0, 0.0, 3.0]}


def several(**changes):
    def change(card):
        card["task"] = {"name": MULTI_LABEL, "kind": "multi-label"}
        card["decision"] |= {"label_threshold": 0.5, "labels": LABELS | changes}

    return change


def test_thresholds_of_labels_are_read(bundle: Path):
    edit(bundle, several())
    rules = open_bundle(bundle).rules
    assert rules.label_thresholds == (0.1, None, 0.3, 0.2) and rules.sensitivity == 0.9
    assert rules.scaling is None and not rules.shows_other
    edit(bundle, several(scaling=SCALING))
    assert open_bundle(bundle).rules.scaling == ((1.0, 2.0, 0.5, 1.0), (0.0, -1.0, 0.0, 3.0))

    def without(card):
        del card["decision"]["labels"]  # as bundles from before they were found

    edit(bundle, without)
    rules = open_bundle(bundle).rules
    assert (rules.label_thresholds, rules.label_threshold) == (None, 0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thresholds": [0.1, 0.2]}, "decision.labels has not 4 entries"),
        ({"thresholds": [0.1, None, 1.2, 0.2]}, "1.2 is not a number from 0 to 1"),
        ({"thresholds": {"a": 0.1}}, "decision.labels has not 4 entries"),
        ({"sensitivity": "high"}, "could not convert string to float"),
        ({"scaling": SCALING | {"slopes": [0.0] * 4}}, "0.0 is not a number from 0.001"),
        ({"scaling": SCALING | {"offsets": [0.0]}}, "decision.labels has not 4 entries"),
        ({"scaling": {"slopes": [1.0] * 4}}, "offsets"),
    ],
)
def test_thresholds_of_another_form_are_refused(bundle: Path, changes, said: str):
    edit(bundle, several(**changes))
    with pytest.raises(ArtifactError, match=f"not of the form of version 1 .*{said}"):
        open_bundle(bundle)


def test_a_pipe_is_not_waited_for(bundle: Path):
    (bundle / "model.tflite").unlink()
    os.mkfifo(bundle / "model.tflite")
    with pytest.raises(ArtifactError, match=r"model\.tflite: it is not a regular file"):
        open_bundle(bundle)


def test_only_listed_files_are_read(bundle: Path):
    (bundle / "notes.txt").write_text("x")
    opened = open_bundle(bundle)
    for name in ("notes.txt", "../toy-python.zip", "model.json"):
        with pytest.raises(ArtifactError, match="lists no file"):
            opened.read(name)


def test_zips_that_are_no_bundles(tmp_path: Path, made: Path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ArtifactError, match="not a zip that can be read"):
        open_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(ArtifactError, match="it holds 0 model.json"):
        open_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(made / "model.json", "a/model.json")
    with pytest.raises(ArtifactError, match="holds no model.tflite"):
        open_bundle(path)
    with pytest.raises(ArtifactError, match="no bundle at"):
        open_bundle(tmp_path / "y.zip")


def test_a_zip_that_unpacks_to_more_than_any_bundle_is_not_read_on(tmp_path: Path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/model.json", b" " * 17_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(ArtifactError, match=r"model.json has more than 16,000,000 bytes"):
        open_bundle(path)


def test_text_that_is_no_json(bundle: Path):
    (bundle / "model.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="not JSON"):
        open_bundle(bundle)
