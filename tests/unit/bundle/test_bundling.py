"""Bundles of runs of every task and input type: what goes in, what is left out, what a sample says then."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
import toys_labels
from asked import make_run
from PIL import Image

from edgecell.bundle import manifest
from edgecell.bundle.targets import TARGETS
from edgecell.disk import sha256_bytes
from edgecell.errors import ArtifactError, ConvertError
from edgecell.pipeline import bundling
from edgecell.pipeline.bundling import Bundled, Wishes, bundle_model
from edgecell.progress import Silent
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL, ORDINAL


class Heard(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)


def bundled(file: Path, target: str, heard: Heard | None = None) -> Bundled:
    wishes = Wishes(target, images="synthetic")
    return bundle_model(file, wishes, None, None, heard or Silent())


def sample(bundle: Path, *words: object) -> subprocess.CompletedProcess[str]:
    program = bundle / "samples" / "python" / "classify.py"
    command = [sys.executable, program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("precision", "input_type", "refused"),
    [("int8", "int8", {"web", "ios"}), ("int16x8", "int16", {"web"}), ("int8", "uint8", set())],
)
def test_a_target_whose_runtime_does_not_take_the_file(tmp_path, precision, input_type, refused):
    """ "all" goes without its sample and says so; alone it is refused before anything is written."""
    file = make_run(tmp_path / "run", toys.converted(precision, input_type))
    heard = Heard()
    made = bundled(file, "all", heard)
    taken = [name for name in TARGETS if name not in refused]
    assert {path.name for path in (made.folder / "samples").iterdir()} == set(taken)
    results = made.record["results"]
    assert (results["targets"], set(results["left_out"])) == (taken, refused)
    said = [note for note in heard.notes if note.startswith("note: no sample for ")]
    assert {note.split(":")[1].split()[-1] for note in said} == refused
    readme = (made.folder / "README.md").read_text()
    for name in TARGETS:
        assert (f"- no `samples/{name}`: " in readme) == (name in refused)
    for name in refused:
        with pytest.raises(
            ConvertError, match=f"takes .* input is {input_type}.*--input-type uint8"
        ):
            bundled(file, name)
        assert not (tmp_path / "run" / "bundle" / f"toy-{name}").exists()


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("crop", "Cut out the middle 0.875 of each side of the largest centred square and resize"),
        ("stretch", "Cut out the middle 0.875 of each side of it and resize that, ignoring the"),
    ],
)
def test_what_the_model_sees_of_an_image_arrives(tmp_path, fit, said):
    """From the run's config over model.json to the sample, and to people."""
    file = make_run(tmp_path / "run", toys.converted("int8"), fit=fit, fraction=0.875)
    made = bundled(file, "python")
    card = json.loads((made.folder / "model.json").read_text())
    assert card["preprocessing"]["fit"] == {"mode": fit, "central_fraction": 0.875}
    assert f"2. {said}" in (made.folder / "README.md").read_text()
    assert "the middle 0.875 of each side" in (made.folder / "MODEL_CARD.md").read_text()
    done = sample(made.folder, "--self-test")
    assert (done.returncode, done.stdout[:12]) == (0, "PASS decode,")


def test_the_verdict_is_on_the_bytes_that_are_shipped(tmp_path, monkeypatch):
    """Another process converts anew while the images are read: its file was verified by nobody."""
    file = make_run(tmp_path / "run", toys.converted("int8"))
    verified = file.read_bytes()

    def replaced(*_: object) -> None:
        file.write_bytes(toys.converted("int8", "int8"))

    monkeypatch.setattr(bundling, "_images", replaced)
    made = bundle_model(file, Wishes("python"), None, None, Silent())
    card = json.loads((made.folder / "model.json").read_text())
    assert card["verified"]["status"] == "passed"
    assert card["model"]["verified_sha256"] == sha256_bytes(verified)


def test_several_labels_arrive(tmp_path):
    """From the run over model.json to the words of the sample, which are those of the file's numbers."""
    data = toys_labels.converted("int8")
    file = make_run(tmp_path / "run", data, toys_labels.LABELS, task=MULTI_LABEL)
    folder = bundled(file, "python").folder
    card = json.loads((folder / "model.json").read_text())
    assert (card["task"]["kind"], card["output"]["activation"]) == ("multi-label", "sigmoid")
    assert card["decision"]["label_threshold"] == 0.5
    readme = (folder / "README.md").read_text()
    assert "Every label whose probability is above 0.5" in readme
    assert "no threshold: each label is decided by itself, above 0.5" in readme
    assert "edgecell calibrate" not in readme  # it refuses several labels
    pixels, _ = toys_labels.images(12, seed=8)
    files = [tmp_path / f"{number:02d}.png" for number in range(len(pixels))]
    for path, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(path)
    done = sample(folder, "--self-test")
    assert (done.returncode, done.stdout[:5]) == (0, "PASS ")
    said = [
        line.split(": ")[1].split(" (")[0] for line in sample(folder, *files).stdout.splitlines()
    ]
    held = [
        " and ".join(np.array(toys_labels.LABELS)[p > 0.5]) or "not sure"
        for p in TFLitePredictor(data).predict(pixels)
    ]
    assert said == held and len(set(held)) >= 3


def test_grades_arrive(tmp_path):
    file = make_run(tmp_path / "run", toys.converted("int8"), task=ORDINAL)
    folder = bundled(file, "python").folder
    card = json.loads((folder / "model.json").read_text())
    assert (card["task"]["kind"], card["output"]["activation"]) == ("ordinal", "softmax")
    assert card["labels"] == list(toys.CLASSES)  # in the order of the grades
    assert sample(folder, "--self-test").returncode == 0
    assert "(ordinal)" in (folder / "README.md").read_text()


def test_a_grey_image_is_an_image_of_three_equal_channels(tmp_path):
    folder = bundled(make_run(tmp_path / "run", toys.converted("int8")), "python").folder
    pixels = toys.images(1, seed=11)[0][0]
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    Image.fromarray(grey).save(tmp_path / "cell.png")
    first = sample(folder, tmp_path / "cell.png").stdout
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "cell.png")
    assert sample(folder, tmp_path / "cell.png").stdout == first
    Image.fromarray(pixels).save(tmp_path / "cell.png")
    assert sample(folder, tmp_path / "cell.png").stdout != first


def test_a_training_that_does_not_say_what_it_trained_is_one_line():
    with pytest.raises(ArtifactError, match=r"the record of train is not of the form .*'model'"):
        manifest.architecture({"train": {"config": {}}})
