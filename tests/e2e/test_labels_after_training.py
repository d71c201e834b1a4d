"""What the verbs after ``quantize`` do with several labels to an image: they work, or say in one line why not."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import toys
import toys_labels
from easy import Run
from PIL import Image
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from benchmarks import quantization_methods
from edgecell import corruptions
from edgecell.config import Config, DataConfig, ModelConfig, QuantizeConfig
from edgecell.config_file import to_toml
from edgecell.data import load_dataset
from edgecell.data.channels import measure
from edgecell.disk import atomic_write_text
from edgecell.pipeline.conversion import quantize_target
from edgecell.progress import Silent
from edgecell.record import Measurement
from edgecell.rundir import RunDir
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL, ORDINAL

COUNTS = {"train": 64, "val": 40, "test": 60}
BRIEF = ("--runs", "16", "--seconds", "0.1", "--unverified")


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy with a float32 and an int8 file."""
    folder = tmp_path_factory.mktemp("blobs")
    np.savez(folder / "blobs.npz", **toys_labels.arrays(COUNTS))
    config = Config(
        name="blobs",
        data=DataConfig(source=str(folder / "blobs.npz")),
        model=ModelConfig(weights="none"),
        quantize=QuantizeConfig(precisions=("float32", "int8"), calibration_images=32),
    )
    run = RunDir.at(folder / "run")
    atomic_write_text(run.path / "config.toml", to_toml(config))
    model = run.stage("train") / "model.keras"
    model.parent.mkdir()
    toys_labels.trained().save(model)
    dataset = load_dataset(config.data)
    score = Measurement(0.9, "fraction", n=COUNTS["val"]).to_json()
    results = {
        "val_auc": score,
        "val_accuracy": score,
        **{"best_epoch": 15, "epochs": 15, "seconds": 3.0, "device": "CPU"},
        "parameters": int(toys_labels.trained().count_params()),
        "class_names": list(toys_labels.LABELS),
        "data": {
            "name": "blobs",
            "kind": "npz",
            "task": MULTI_LABEL,
            "fingerprint": dataset.fingerprint,
            "notes": [],
        },
        "images": COUNTS,
        "channels": measure(*toys_labels.images(COUNTS["train"], 0)).to_json(),
    }
    tables = {name: table for name, table in asdict(config).items() if name != "name"}
    run.write_record("train", inputs=[], outputs=[model], config=tables, results=results)
    quantize_target(run.path, lambda found: found, None, None, Silent())
    return run.path


def test_bench_and_compare(edgecell: Run, blobs: Path, tmp_path: Path) -> None:
    files = sorted((blobs / "quantize").glob("*.tflite"))
    models = [word for path in files for word in ("--model", path)]
    done = edgecell("bench", *models, *BRIEF, "--output", tmp_path / "bench")
    assert done.code == 0, done.err
    assert "mean AUC" in done.out and "worst label AUC" in done.out
    results = json.loads((tmp_path / "bench" / "bench" / "bench.json").read_text("utf-8"))
    images, labels = toys_labels.images(COUNTS["test"], 2)
    for path, model in zip(files, results["models"], strict=True):
        expected = roc_auc_score(labels, TFLitePredictor.open(path).predict(images))
        assert model["quality"]["auc"]["value"] == pytest.approx(expected)
    again = ("--against", tmp_path / "bench" / "bench" / "bench.json", "--max-regress", "100%")
    done = edgecell("bench", *models, *BRIEF, *again, "--output", tmp_path / "again")
    assert done.code == 0, done.err
    assert "mean AUC" in done.out.split("against the baseline")[1]
    done = edgecell("compare", tmp_path / "bench" / "bench", "--output", tmp_path / "compared")
    assert done.code == 0, done.err
    assert "mean AUC drop" in done.out
    assert "Mean AUC drop" in (tmp_path / "compared" / "compare.html").read_text("utf-8")


def test_robustness_ranks_the_labels_of_worse_images(edgecell: Run, blobs: Path) -> None:
    done = edgecell("robustness", blobs, "--images", "0", "--split", "test")
    assert done.code == 0, done.err
    assert (
        "mean AUC on test, n=60" in done.out and "falls faster than the trained model?" in done.out
    )
    record = RunDir(blobs).read_record("robustness")
    results = record["results"]
    images, labels = toys_labels.images(COUNTS["test"], 2)
    paths = sorted((blobs / "quantize").glob("*.tflite"))
    assert results["models"] == ["model.keras", *(path.name for path in paths)]
    for condition in (results["conditions"][0], results["conditions"][-1]):
        shown = images
        if condition["strength"]:
            shown = corruptions.corrupt(images, condition["corruption"], condition["strength"], 0)
        for path, model in zip(paths, condition["models"][1:], strict=True):
            expected = roc_auc_score(labels, TFLitePredictor.open(path).predict(shown))
            assert model["auc"]["value"] == pytest.approx(expected)
            assert f"{expected:.4f}" in done.out
    assert (condition["corruption"], condition["strength"]) == ("noise", 5)
    assert {row["label"] for row in results["labels"]} == set(toys_labels.LABELS)
    assert {"robustness/curves.png", "robustness/strip.png"} <= set(record["outputs"])
    page = (blobs / "report.html").read_text("utf-8")
    assert "Mean AUC at each strength" in page and "Each label by itself" in page
    assert "still above chance" in page and "commonest class" not in page


def test_robustness_says_when_too_few_images_have_a_label(edgecell: Run, blobs: Path) -> None:
    done = edgecell("robustness", blobs, "--images", "4", "--output", blobs.parent / "few")
    assert done.code == 3
    [line] = [line for line in done.err.splitlines() if line.startswith("edgecell: ")]
    assert "none of the 4 labels has 3 images" in line and "--images (0: all)" in line


def test_thresholds_from_calibrate_to_an_app(edgecell: Run, blobs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(blobs, tmp_path / "run"))
    done = edgecell(
        "calibrate", run, "--sensitivity", "0.85", "--coverage", "0.9", "--split", "test"
    )
    assert done.code == 0, done.err
    assert "note: --coverage is not used: an image can have several labels here" in done.err
    assert "--sensitivity is not used" not in done.err
    record = RunDir(run).check_outputs("calibrate")
    assert record["results"]["task"] == MULTI_LABEL
    assert record["config"] == {
        **{"sensitivity": 0.85, "certainty": 0.95, "seed": 0},
        "split": "test",
    }
    entry = next(e for e in record["results"]["models"] if e["precision"] == "int8")
    file = run / "quantize" / entry["file"]
    (val, truth), (test, test_truth) = (
        toys_labels.images(COUNTS[name], seed) for seed, name in ((1, "val"), (2, "test"))
    )
    p, unseen = (TFLitePredictor.open(file).predict(x) for x in (val, test))
    limits: list[float | None] = []
    for i, name in enumerate(toys_labels.LABELS):
        mine = np.sort(p[truth[:, i] == 1, i])[::-1]
        rank = int(np.ceil((len(mine) + 1) * 0.85))
        found = entry["sensitivity"]["labels"][name]
        limits.append(None if rank > len(mine) else mine[rank - 1])
        assert found["threshold"] == limits[-1] and found["positives"] == len(mine)
        if limits[-1] is not None:
            assert found["threshold_quanta"] == round(limits[-1] * 256)
    # 0.85 takes 6 images with a label; val has 5 of 40 with the frame.
    assert [limit is None for limit in limits] == [False, False, False, True]
    assert "too few images in val to promise 0.85, which takes 6" in done.out
    assert "white frame (5)" in done.out and "0.5, kept" in done.out
    called = np.stack(
        [q > 0.5 if t is None else q >= t - 1e-7 for q, t in zip(unseen.T, limits, strict=True)], 1
    )
    for i, name in enumerate(toys_labels.LABELS):
        decided = entry["test"]["labels"][name]
        y = test_truth[:, i] == 1
        assert decided["sensitivity"]["value"] == pytest.approx(called[y, i].mean(), abs=1e-6)
        assert decided["specificity"]["value"] == pytest.approx((~called[~y, i]).mean(), abs=1e-6)
    page = (run / "report.html").read_text("utf-8")
    assert (
        "Thresholds for a sensitivity of 0.85" in page
        and "What each label&#x27;s threshold" in page
    )

    done = edgecell("bundle", file, "--unverified", "--target", "python")
    assert done.code == 0, done.err
    folder = run / "bundle" / f"{file.stem}-python"
    card = json.loads((folder / "model.json").read_text("utf-8"))
    assert card["decision"]["label_threshold"] == 0.5
    assert card["decision"]["labels"]["thresholds"] == limits
    assert card["decision"]["labels"]["sensitivity"] == 0.85
    for name in ("README.md", "MODEL_CARD.md"):
        assert "From which probability on a label is present" in (folder / name).read_text("utf-8")
    pictures = []
    for number, pixels in enumerate(test[:12]):
        pictures.append(tmp_path / f"{number:02d}.png")
        Image.fromarray(pixels).save(pictures[-1])
    at_half = [set(np.flatnonzero(row > 0.5)) for row in unseen[:12]]
    said = [set(np.flatnonzero(row)) for row in called[:12]]
    assert said != at_half
    for model in (folder, file):  # of the bundle by model.json, of the run by its record
        done = edgecell("predict", "--model", model, *pictures, "--json", "--top", "4")
        assert done.code == 0, done.err
        assert "too few images to choose a threshold for white frame: called above 0.5" in done.err
        answers = json.loads(done.out)
        assert answers["label_thresholds"] == limits and answers["sensitivity"] == 0.85
        names = [{toys_labels.LABELS[i] for i in row} for row in said]
        assert [set(row["answer"]) for row in answers["images"]] == names


def test_test_is_not_looked_at_unasked(edgecell: Run, blobs: Path, tmp_path: Path) -> None:
    """Val alone gives the thresholds that val and test give, and the record names no image of test."""
    found = []
    for words in ((), ("--split", "test")):
        out = tmp_path / f"out{len(words)}"
        done = edgecell("calibrate", blobs, *words, "--output", out, "--json")
        assert done.code == 0, done.err
        record = json.loads(done.out)
        found.append(
            [(m["scaling"], m["sensitivity"], m["val"]) for m in record["results"]["models"]]
        )
        looked = any(name.endswith(":test") for name in record["inputs"])
        assert looked == bool(words) == ("test" in record["results"]["models"][0])
    assert found[0] == found[1]


def test_calibrate_refuses_what_it_cannot_promise_on(
    edgecell: Run, blobs: Path, tmp_path: Path
) -> None:
    done = edgecell("calibrate", blobs, "--sensitivity", "1")
    assert done.code == 2 and "confidence.sensitivity is 1.0; allowed: 0.5 to 0.9999" in done.err
    np.savez(tmp_path / "few.npz", **toys_labels.arrays(COUNTS | {"val": 19}))
    done = edgecell(
        "calibrate", blobs, "--data", tmp_path / "few.npz", "--output", tmp_path / "out"
    )
    assert done.code == 3 and "19 images are too few to check confidence on" in done.err
    arrays = toys_labels.arrays(COUNTS)
    arrays |= {key: arrays[key].argmax(1)[:, None] for key in arrays if key.endswith("labels")}
    np.savez(tmp_path / "one.npz", **arrays)
    done = edgecell(
        "calibrate", blobs, "--data", tmp_path / "one.npz", "--output", tmp_path / "out"
    )
    assert done.code == 3 and "ends in a sigmoid and decides each label by itself" in done.err


def test_the_table_of_methods_says_so_before_it_makes_any(
    blobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((blobs / "quantize").iterdir())
    with pytest.raises(SystemExit) as end:
        quantization_methods.main([str(blobs), "--make"])
    assert end.value.code == 2
    assert "trained on several labels to an image" in capsys.readouterr().err
    assert sorted((blobs / "quantize").iterdir()) == before


def test_peers_predict_and_report_work(edgecell: Run, blobs: Path, tmp_path: Path) -> None:
    done = edgecell("peers", blobs, "--peers", "keras", "--runs", "16", "--seconds", "0.1")
    assert done.code == 0, done.err
    assert "mean AUC" in done.out and "decisions as trained" in done.out
    assert "<th>Mean AUC</th>" in (blobs / "report.html").read_text("utf-8").replace(
        ' scope="col"', ""
    )
    done = edgecell("audit", blobs)
    assert done.code == 0, done.out


def test_predict_counts_images_without_a_label(edgecell: Run, blobs: Path, tmp_path: Path) -> None:
    pixels, _ = toys_labels.images(30, seed=8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    [file] = (blobs / "quantize").glob("*int8.tflite")
    said = TFLitePredictor.open(file).predict(pixels) > 0.5
    done = edgecell("predict", tmp_path, "--model", file)
    assert done.code == 0, done.err
    [line] = [line for line in done.out.splitlines() if line.startswith("30 images: ")]
    none = int((~said.any(axis=1)).sum())
    assert none > 0 and line.endswith(f", none {none}")
    assert f"red blob {said[:, 0].sum()}" in line


def test_bench_and_evaluate_refuse_another_form_in_the_same_line(
    edgecell: Run, blobs: Path, tmp_path: Path
) -> None:
    arrays = toys_labels.arrays(COUNTS)
    for split in COUNTS:
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"].argmax(axis=1)
    np.savez(tmp_path / "one.npz", **arrays)
    (tmp_path / "loose.tflite").write_bytes(toys_labels.converted("int8"))
    words = ("--data", tmp_path / "one.npz", "--output", tmp_path / "out")
    said = []
    for verb in (("bench", *BRIEF, "--model"), ("evaluate",)):
        done = edgecell(*verb, tmp_path / "loose.tflite", *words)
        assert done.code == 3, done.err
        said.append([line for line in done.err.splitlines() if line.startswith("edgecell: ")])
    assert said[0] == said[1] and len(said[0]) == 1
    assert "loose.tflite ends in a sigmoid" in said[0][0] and "an image of 'one'" in said[0][0]
    assert not (tmp_path / "out" / "bench").exists()


def test_a_bench_of_grades_shows_their_kappa(edgecell: Run, tmp_path: Path) -> None:
    arrays = {"task": np.array(ORDINAL), "class_names": np.array(toys.CLASSES)}
    for seed, (split, count) in enumerate(COUNTS.items()):
        arrays[f"{split}_images"], labels = toys.images(count, seed)
        arrays[f"{split}_labels"] = labels[:, None]
    np.savez(tmp_path / "grades.npz", **arrays)
    path = tmp_path / "grades.tflite"
    path.write_bytes(toys.converted("int8"))
    words = ("--model", path, "--data", tmp_path / "grades.npz", "--output", tmp_path / "out")
    done = edgecell("bench", *words, *BRIEF)
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "out" / "bench" / "bench.json").read_text("utf-8"))
    said = TFLitePredictor.open(path).predict(arrays["test_images"]).argmax(axis=1)
    expected = cohen_kappa_score(arrays["test_labels"][:, 0], said, weights="quadratic")
    assert results["models"][0]["quality"]["kappa"]["value"] == pytest.approx(expected)
    assert f"{expected:.3f}" in (tmp_path / "out" / "bench" / "bench.md").read_text("utf-8")
