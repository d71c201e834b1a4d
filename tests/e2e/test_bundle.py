"""``edgecell bundle`` on a finished run: what is written, what is refused, what runs without edgecell."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from easy import CLASSES, Run

from edgecell.bundle.targets import TARGETS

INT8 = "quantize/easy-mobilenet_v2-0.35-32-int8.tflite"
STEM = Path(INT8).stem


def test_a_bundle_tests_itself(edgecell: Run, run_copy: Path, tmp_path: Path) -> None:
    done = edgecell("bundle", run_copy / INT8, "--target", "python", "--licence", "CC BY 4.0")
    assert done.code == 0, done.err
    folder, archive = (run_copy / "bundle" / f"{STEM}-python{end}" for end in ("", ".zip"))
    model = json.loads((folder / "model.json").read_text())
    assert (model["schema"], model["schema_version"]) == ("edgecell/bundle", 1)
    assert model["labels"] == list(CLASSES)
    assert model["licence"] == {"model": "CC BY 4.0"}
    assert model["verified"]["status"] == "passed"
    for name, digest in model["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    on_disk = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert on_disk == {*model["files"], "model.json"}
    assert set(model["records"]) >= {"train", "quantize", "verify", "bench"}
    verify = (run_copy / "verify" / "record.json").read_bytes()
    assert model["records"]["verify"]["sha256"] == hashlib.sha256(verify).hexdigest()
    for line in ("Not for clinical use", "CC BY 4.0", "classify.py", "uint8"):
        assert line in (folder / "README.md").read_text() + str(sorted(on_disk))
    card = (folder / "MODEL_CARD.md").read_text()
    assert "this file on test" in card
    assert "Not calibrated" in card
    assert "this file on test" in (folder / "MODEL_CARD.html").read_text()
    with zipfile.ZipFile(archive) as inside:
        assert inside.testzip() is None
        inside.extractall(tmp_path / "phone")
    program = tmp_path / "phone" / folder.name / "samples" / "python" / "classify.py"
    tested = subprocess.run(
        [sys.executable, program, "--self-test"], capture_output=True, text=True, cwd=tmp_path
    )
    assert tested.stdout == "PASS decode, resize, scale, inference: 32 images\n", tested.stderr
    record = json.loads((run_copy / "bundle" / "record.json").read_text())
    assert record["outputs"][f"bundle/{archive.name}"] == sha256(archive)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_bundle_twice_is_the_same_bytes(edgecell: Run, run_copy: Path, tmp_path: Path):
    hashes = []
    for name in ("one", "two"):
        done = edgecell("bundle", run_copy / INT8, "--output", tmp_path / name)
        assert done.code == 0, done.err
        hashes.append(sha256(tmp_path / name / f"{STEM}-all.zip"))
    assert hashes[0] == hashes[1]
    again = edgecell("bundle", run_copy / INT8, "--output", tmp_path / "one", "--json")
    assert again.code == 0, again.err
    results = json.loads(again.out)["results"]
    assert results["targets"] == list(TARGETS)
    assert sha256(tmp_path / "one" / results["archive"]) == hashes[0]
    assert not list((tmp_path / "one").glob(".*"))


def test_what_was_never_verified_is_refused(edgecell: Run, run_copy: Path) -> None:
    (run_copy / "verify" / "record.json").unlink()
    done = edgecell("bundle", run_copy / INT8)
    assert done.code == 6
    assert "is in no passing verify record; run 'edgecell verify' first" in done.err
    assert not (run_copy / "bundle").exists()
    said = edgecell("bundle", run_copy / INT8, "--unverified", "--golden", "synthetic")
    assert said.code == 0, said.err
    assert "UNVERIFIED (not verified)" in said.out
    folder = run_copy / "bundle" / f"{STEM}-all"
    assert json.loads((folder / "model.json").read_text())["verified"]["status"] == "not verified"
    for name in ("README.md", "MODEL_CARD.md", "MODEL_CARD.html"):
        assert "was never compared with the trained model" in (folder / name).read_text()
    golden = json.loads((folder / "golden" / "golden.json").read_text())
    assert golden["images"] == "drawn"
    assert {case["label"] for case in golden["cases"]} == {None}


def test_what_failed_verify_is_refused_with_five(edgecell: Run, run_copy: Path) -> None:
    path = run_copy / "verify" / "record.json"
    record = json.loads(path.read_text())
    for entry in record["results"]["models"]:
        entry["passed"] = False
    path.write_text(json.dumps(record))
    done = edgecell("bundle", run_copy / INT8)
    assert done.code == 5
    assert "failed verify against its reference" in done.err


def test_a_changed_file_is_not_the_verified_one(edgecell: Run, run_copy: Path) -> None:
    path = run_copy / INT8
    path.write_bytes(path.read_bytes() + b"\0")
    assert edgecell("bundle", path).code == 6


def test_a_folder_of_something_else_stays(edgecell: Run, run_copy: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / f"{STEM}-python"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years")
    done = edgecell("bundle", run_copy / INT8, "--target", "python", "--output", tmp_path / "out")
    assert done.code == 2
    assert "exists and is no bundle" in done.err
    assert (mine / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("train/model.keras", 2, "is no .tflite file"),
        ("quantize/none.tflite", 6, "no run folder or model"),
    ],
)
def test_what_is_no_converted_model(
    edgecell: Run, finished_run: Path, name: str, code: int, said: str
) -> None:
    done = edgecell("bundle", finished_run / name)
    assert done.code == code
    assert said in done.err


def test_a_file_of_no_run(edgecell: Run, finished_run: Path, easy_npz: Path, tmp_path: Path):
    alone = tmp_path / "alone-int8.tflite"
    alone.write_bytes((finished_run / INT8).read_bytes())
    assert edgecell("bundle", alone).code == 6
    nameless = edgecell("bundle", alone, "--unverified", "--output", tmp_path / "out")
    assert nameless.code == 2
    assert "the classes of alone-int8.tflite are not known" in nameless.err
    named = edgecell(
        *("bundle", alone, "--unverified", "--output", tmp_path / "out", "--data", easy_npz)
    )
    assert named.code == 0, named.err
    model = json.loads((tmp_path / "out" / "alone-int8-all" / "model.json").read_text())
    assert model["records"] == {}
    assert model["model"]["precision"] is None


def test_thresholds_come_from_calibrate(edgecell: Run, run_copy: Path) -> None:
    assert edgecell("calibrate", run_copy, "--target-accuracy", "0.5").code == 0
    done = edgecell("bundle", run_copy / INT8, "--target", "python")
    assert done.code == 0, done.err
    folder = run_copy / "bundle" / f"{STEM}-python"
    model = json.loads((folder / "model.json").read_text())
    entries = json.loads((run_copy / "calibrate" / "record.json").read_text())["results"]["models"]
    [entry] = [each for each in entries if each["file"] == Path(INT8).name]
    decision = model["decision"]
    assert decision["abstention"] == entry["abstention"]
    assert decision["temperature"]["value"] == entry["temperature"]["value"]
    assert decision["conformal"]["class_thresholds"] == list(
        entry["conformal"]["class_thresholds"].values()
    )
    assert "at least 0.5 of the answers are right" in (folder / "README.md").read_text()
