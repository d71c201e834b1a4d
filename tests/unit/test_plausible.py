"""Data that is wrong but plausible, verb by verb: the right answer, a warning with numbers, or a refusal.

Partners beside them hold that what is right raises nothing. ``docs/plausible.md`` has the table.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image

from converters.calibration import calibration_set
from converters.gate import judge
from edgecell import train as train_module
from edgecell.cli.trust import _calibrated
from edgecell.config import AugmentConfig, Config, DataConfig, ModelConfig, TrainConfig
from edgecell.data import load_dataset
from edgecell.data.types import Split
from edgecell.errors import DataError, ParityError
from edgecell.evaluate import evaluate
from edgecell.pipeline.benching import bench_models
from edgecell.pipeline.comparing import compare_paths
from edgecell.pipeline.confidence import calibrate_target
from edgecell.pipeline.conversion import quantize_target
from edgecell.pipeline.evaluation import evaluate_target
from edgecell.pipeline.opening import open_model
from edgecell.pipeline.predicting import predict_files
from edgecell.pipeline.training import load_noted
from edgecell.pipeline.verification import verify_target
from edgecell.preprocess import PreprocessSpec, decode_file
from edgecell.progress import Silent
from edgecell.report.elements import Pictures
from edgecell.report.trust import calibrate_section

REPOSITORY = Path(__file__).resolve().parents[2]
Arrays = dict[str, np.ndarray]


class Said(Silent):
    """A Progress that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def run(toy: Path) -> Path:
    """A finished toy run; tests write elsewhere."""
    return toy


@pytest.fixture
def arrays(run: Path) -> Arrays:
    """The images of the run, to be spoilt."""
    with np.load(run.parent / "toy.npz") as file:
        return dict(file)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Arrays], DataConfig]:
    def save(arrays: Arrays) -> DataConfig:
        np.savez(tmp_path / "spoilt.npz", **arrays)
        return DataConfig(source=str(tmp_path / "spoilt.npz"))

    return save


def evaluated(run: Path, data: DataConfig | None, output: Path, split: str = "val") -> dict:
    found = evaluate_target(run, split, data, output, threads=1, progress=Silent()).results
    json.dumps(found, allow_nan=False)
    return found


def same(config: Config) -> Config:
    return config


def int8_alone(config: Config) -> Config:
    return replace(config, quantize=replace(config.quantize, precisions=("int8",)))


def verified(run: Path, data: DataConfig | None, output: Path) -> tuple[dict, ParityError | None]:
    return verify_target(run, None, same, data, output, Silent())


def quick(config: Config) -> Config:
    return replace(config, bench=replace(config.bench, runs=10, seconds=0.0))


def benched(run: Path, data: DataConfig | None, output: Path) -> dict:
    file = run / "quantize/toy-int8.tflite"
    record, _ = bench_models([file], quick, data, output, Silent(), allow_unverified=True)
    return record["results"]


def test_the_run_s_own_images_raise_nothing(run: Path, tmp_path: Path) -> None:
    for split in ("val", "test"):
        notes = evaluated(run, None, tmp_path / "out", split)["notes"]
        assert [note for note in notes if "fewer than 30" not in note] == []
    record, failure = verified(run, None, tmp_path / "out")
    assert failure is None
    assert record["results"]["notes"] == []
    warnings = benched(run, None, tmp_path / "out")["warnings"]
    assert [w for w in warnings if "look" in w or "duplicates" in w or "flat" in w] == []


# ------------------------------------------------------------------------------ labels


def test_shifted_labels_are_named_by_evaluate_verify_and_bench(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    for split in ("val", "test"):
        arrays[f"{split}_labels"] = (arrays[f"{split}_labels"] + 1) % 4
    data = saved(arrays)
    shifted = "look shifted: class k is predicted as k-1 in 100% of "
    assert shifted + "32 images" in evaluated(run, data, tmp_path / "out")["notes"][0]
    _, failure = verified(run, data, tmp_path / "out")
    assert failure is not None
    assert "reference alive" in str(failure)
    assert shifted in str(failure)
    assert any(shifted + "48" in line for line in benched(run, data, tmp_path / "out")["warnings"])


def test_training_says_that_labels_of_val_are_shifted(
    tiny_dataset, tmp_path, toy_network, colours
) -> None:
    right = train_module.train(colours, tiny_dataset, tmp_path / "right", Silent())
    assert right.facts["warnings"] == []
    val = tiny_dataset.val
    moved = replace(tiny_dataset, val=Split("val", val.source, (val.labels + 1) % 3))
    said = Said()
    wrong = train_module.train(colours, moved, tmp_path / "wrong", said)
    assert "labels of val look shifted: class k is predicted as k-1" in wrong.facts["warnings"][0]
    assert f"warning: {wrong.facts['warnings'][0]}" in said.lines


def test_labels_from_one_are_told_how_to_begin_at_zero(arrays: Arrays, saved) -> None:
    del arrays["class_names"]
    for split in ("train", "val", "test"):
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"] + 1
    with pytest.raises(DataError, match=r"no train images of '0'; labels run from 1 to 4 in train"):
        load_dataset(saved(arrays))


def test_a_class_that_is_missing_from_val_has_no_figure_and_no_zero(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    kept = arrays["val_labels"][:, 0] != 2
    arrays["val_images"], arrays["val_labels"] = (
        arrays["val_images"][kept],
        arrays["val_labels"][kept],
    )
    data = saved(arrays)
    results = evaluated(run, data, tmp_path / "out")
    row = results["classes"][2]
    assert row["support"] == 0
    assert row["recall"]["reason"] == "no image of this class"
    assert "value" not in row["recall"]
    assert results["accuracy"]["value"] == results["macro_f1"]["value"] == 1.0
    assert any(note.startswith("no image of dark blue: left out") for note in results["notes"])
    record, failure = verified(run, data, tmp_path / "out")
    assert failure is None
    tested = record["results"]["models"][0]["gate"]["classes"][2]
    assert tested["f1_drop"]["reason"] == "no images of this class"
    assert any("val has no images of 'dark blue'" in note for note in load_dataset(data).notes)


def test_one_image_a_class_is_answered_with_its_wide_interval_but_not_divided(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    few = {key: value if key == "class_names" else value[:4] for key, value in arrays.items()}
    results = evaluated(run, saved(few), tmp_path / "out")
    accuracy = results["accuracy"]
    assert accuracy["n"] == 4
    assert accuracy["high"] - accuracy["low"] > 0.4
    assert any(note.startswith("fewer than 30 images of dark red") for note in results["notes"])
    alone = {key: few[key] for key in ("class_names", "train_images", "train_labels")}
    with pytest.raises(DataError, match="too few distinct images to make 3 splits: 'dark red' 1"):
        load_dataset(saved(alone))


# ----------------------------------------------------------------- other data, overlapping splits


def test_a_data_set_of_other_classes_is_refused_even_if_they_are_as_many(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    arrays["class_names"] = np.array(["cat", "dog", "dark blue", "horse"])
    data = saved(arrays)
    said = (
        r"another data set: 3 of its 4 classes \(cat, dog, horse\) are none of the run's \(dark red"
    )
    with pytest.raises(DataError, match=said):
        evaluated(run, data, tmp_path / "out")
    with pytest.raises(DataError, match=said):
        verified(run, data, tmp_path / "out")
    with pytest.raises(DataError, match=said):
        benched(run, data, tmp_path / "out")
    with pytest.raises(DataError, match=said):
        quantize_target(run, same, data, tmp_path / "out", Silent())


def test_the_run_s_classes_in_another_order_are_refused_until_they_are_put_in_it(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    arrays["class_names"] = arrays["class_names"][::-1]
    for split in ("train", "val", "test"):
        arrays[f"{split}_labels"] = 3 - arrays[f"{split}_labels"]
    data = saved(arrays)
    with pytest.raises(DataError, match=r"in another order .* --class-names 'dark red,bright red,"):
        evaluated(run, data, tmp_path / "out")
    ordered = replace(data, class_names=",".join(toys.CLASSES))
    assert evaluated(run, ordered, tmp_path / "out")["accuracy"]["value"] == 1.0


def test_classes_that_are_numbers_may_be_anything(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    del arrays["class_names"]
    assert evaluated(run, saved(arrays), tmp_path / "out")["accuracy"]["value"] == 1.0


def test_images_of_another_look_are_a_warning_in_every_verb(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = arrays[f"{split}_images"] // 8
    data = saved(arrays)
    look = r"images of {} look otherwise than those the model was trained on: mean \w+ \d+ there"
    assert re.match(look.format("val"), evaluated(run, data, tmp_path / "out")["notes"][0])
    record, _ = verified(run, data, tmp_path / "out")
    assert re.match(look.format("val"), record["results"]["notes"][0])
    warnings = benched(run, data, tmp_path / "out")["warnings"]
    assert any(re.match(look.format("test"), line) for line in warnings)
    record, _ = quantize_target(run, int8_alone, data, tmp_path / "other", Silent())
    [line] = record["results"]["calibration"]["warnings"]
    assert re.match(look.format("the calibration set"), line)


def patients(folder: Path, arrays: Arrays, column: str) -> DataConfig:
    """The images as files and a table that says of which of few patients each is."""
    lines = [f"path,label,split,{column}"]
    for split, several in (("train", 8), ("val", 4), ("test", 3)):
        for i, image in enumerate(arrays[f"{split}_images"]):
            Image.fromarray(image).save(folder / f"{split}{i}.png")
            label = toys.CLASSES[int(arrays[f"{split}_labels"][i, 0])]
            lines.append(f"{split}{i}.png,{label},{split},{split}-{i // several}")
    (folder / "cells.csv").write_text("\n".join(lines))
    return DataConfig(source=str(folder / "cells.csv"), class_names=",".join(toys.CLASSES))


def test_several_images_of_a_patient_are_said_wherever_there_are_intervals(
    run: Path, arrays: Arrays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = patients(tmp_path, arrays, "patient"), tmp_path / "out"
    end = "groups: intervals take images as independent, so they are too narrow"
    val, test = f"val: 32 images of 8 {end}", f"test: 48 images of 16 {end}"
    assert val in evaluated(run, data, out)["notes"]
    record, _ = verified(run, data, out)
    assert record["results"]["notes"] == [val]
    record = calibrate_target(run, None, same, data, "test", out, Silent())
    assert record["results"]["notes"] == [val, test]
    _calibrated(record)
    assert f"!! {test}" in capsys.readouterr().out
    assert calibrate_section(record, out / "calibrate", Pictures(), {}).count(end) == 2
    assert test in benched(run, data, out)["warnings"]
    for path in (out / "bench/record.json", out / "evaluate/model-val/record.json"):
        again = path.with_name("again.json")
        shutil.copy(path, again)
        found, _ = compare_paths([path, again], None, tmp_path / "compared")
        assert found["warnings"] == [test if "bench" in str(path) else val]


def test_a_table_without_groups_raises_nothing(run: Path, arrays: Arrays, tmp_path: Path) -> None:
    data = patients(tmp_path, arrays, "remark")
    found = evaluated(run, data, tmp_path / "out")
    assert "groups" not in found and not any("groups" in note for note in found["notes"])
    record = calibrate_target(run, None, same, data, "val", tmp_path / "out", Silent())
    assert "notes" not in record["results"]


def test_files_of_another_look_are_a_warning_of_predict(run: Path, tmp_path: Path) -> None:
    pictures, _ = toys.images(24, seed=3)
    model = open_model(run / "quantize/toy-int8.tflite", threads=1).classifier

    def asked(images: np.ndarray) -> list[str]:
        paths = []
        for number, image in enumerate(images):
            paths.append(tmp_path / f"{number}.png")
            Image.fromarray(image).save(paths[-1])
        return predict_files(model, paths, None, Silent(), lambda row: None).doubts

    assert asked(pictures) == []
    [line] = asked(pictures // 8)
    assert line.startswith("images of these files look otherwise")
    flattened = pictures.copy()
    flattened[:6] = flattened[:6, :1, :1]
    [line] = asked(flattened)
    assert line.startswith("6 of 24 images of these files are one flat colour")


def test_a_test_split_that_is_train_is_refused_and_a_few_copies_are_said(
    run: Path, arrays: Arrays, saved, tmp_path: Path
) -> None:
    arrays["test_images"][:5] = arrays["train_images"][:5]
    arrays["test_labels"][:5] = arrays["train_labels"][:5]
    data = saved(arrays)
    copies = "exact duplicates across splits: 5 of test also in train; figures on test are too good"
    assert evaluated(run, data, tmp_path / "out", "test")["notes"][0] == copies
    assert copies in benched(run, data, tmp_path / "out")["warnings"]
    assert not any("copies" in n for n in evaluated(run, data, tmp_path / "out", "val")["notes"])
    arrays["test_images"][:24] = arrays["train_images"][:24]
    arrays["test_labels"][:24] = arrays["train_labels"][:24]
    data = saved(arrays)
    refused = "24 of the 48 images of test are also in train: .* allowed: less than 50%"
    with pytest.raises(DataError, match=refused):
        evaluated(run, data, tmp_path / "out", "test")
    with pytest.raises(DataError, match=refused):
        benched(run, data, tmp_path / "out")
    with pytest.raises(DataError, match=refused):
        load_noted(Config(data=data), Silent())


# ---------------------------------------------------------------------------- odd images


@pytest.fixture
def colours() -> Config:
    """Enough training for the colours of ``tiny_dataset``."""
    plain = AugmentConfig(
        flip=False, quarter_turns=False, brightness=0, contrast=0, saturation=0, shift=0
    )
    return Config(
        model=ModelConfig(alpha=0.35, image_size=32, weights="none"),
        augment=plain,
        train=TrainConfig(
            head_epochs=0, epochs=5, batch_size=24, learning_rate=0.05, batchnorm_momentum=0.7
        ),
    )


class Flat:
    """An ImageSource of images of one colour."""

    def __init__(self, count: int, colours: list[int]) -> None:
        self.count, self.colours = count, colours

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> np.ndarray:
        return np.full((20, 20, 3), self.colours[index % len(self.colours)], np.uint8)

    def name(self, index: int) -> str:
        return f"flat {index}"


def test_equal_images_are_refused_by_training(tiny_dataset, tmp_path, toy_network, colours) -> None:
    train = Split("train", Flat(48, [7]), tiny_dataset.train.labels)
    with pytest.raises(DataError, match="all 48 train images that were looked at are equal"):
        train_module.train(colours, replace(tiny_dataset, train=train), tmp_path, Silent())


def test_flat_images_are_a_warning_of_training(
    tiny_dataset, tmp_path, toy_network, colours
) -> None:
    train = Split("train", Flat(48, [40, 90, 180]), tiny_dataset.train.labels)
    done = train_module.train(colours, replace(tiny_dataset, train=train), tmp_path, Silent())
    assert "48 of 48 images of train (a sample) are one flat colour" in done.facts["warnings"][0]


def test_calibration_without_any_contrast_is_refused() -> None:
    spec, labels = PreprocessSpec(16, 16), np.arange(12) % 3

    def drawn(colours: list[int]) -> int:
        split = Split("train", Flat(12, colours), labels)
        return len(calibration_set(split, spec, count=6, seed=0, fingerprint="").images)

    with pytest.raises(DataError, match="all pixels of the 6 calibration images are 128"):
        drawn([128])
    assert drawn([128, 129, 130]) == 6


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_an_image_of_one_pixel_or_one_row_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "thin.png"
    Image.new("RGB", size).save(path)
    with pytest.raises(DataError, match=f"has {size[0]}×{size[1]} pixels; allowed: 2×2 and more"):
        decode_file(path)
    Image.new("RGB", (2, 2)).save(path)
    assert decode_file(path).shape == (2, 2, 3)


def test_arrays_of_one_pixel_are_refused(arrays: Arrays, saved) -> None:
    arrays |= {f"{s}_images": arrays[f"{s}_images"][:, :1, :1] for s in ("train", "val", "test")}
    with pytest.raises(DataError, match="train_images has images of 1×1 pixels; allowed: 2×2 to"):
        load_dataset(saved(arrays))


def test_an_image_of_20_000_pixels_a_side_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    Image.new("1", (20_000, 20_000)).save(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="400000000 pixels.*allowed: 100,000,000 pixels"):
        decode_file(path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    )  # kB; it has 1.2 GB


# ------------------------------------------------------------------------- very many classes


def test_a_thousand_classes_are_judged_with_short_notes() -> None:
    classes, images = 1000, 1000
    labels = np.arange(images) % classes
    probabilities = np.full((images, classes), 1e-4)
    probabilities[np.arange(images), labels] = 0.9
    names = [f"species {i}" for i in range(classes)]
    results = evaluate(probabilities, labels, names, resamples=100)
    assert results["accuracy"]["value"] == 1.0
    assert len(results["classes"]) == classes
    [note] = results["notes"]
    assert note.startswith("fewer than 30 images of species 0, ")
    assert " and 992 more: read the interval" in note


def test_of_a_thousand_classes_one_that_fails_is_named_after_correction_over_all() -> None:
    labels = np.repeat(np.arange(1000), 3)
    before = labels.copy()
    after = np.where(labels == 700, 0, labels)
    names = tuple(f"species {i}" for i in range(1000))
    few = judge(labels, before, after, names, margin=0.01, class_budget=0.05)
    assert few.verdict == "equivalent"  # three images of a class prove nothing after 2,000 tests
    assert few.classes[700].recall_p_holm == 1.0
    labels = np.concatenate([labels, np.full(40, 700)])
    before, after = labels.copy(), np.where(labels == 700, 0, labels)
    many = judge(labels, before, after, names, margin=0.01, class_budget=0.05)
    assert many.verdict == "worse"
    # And the one that its images are taken for: its F1, not its recall.
    assert [row.name for row in many.worse_classes] == ["species 700", "species 0"]


# ------------------------------------------------------------------------------- the table


def table_of(text: str) -> list[str]:
    """The tests that the table's last column names, as ``file.py::test``."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`tests/" in line]
    return [name for row in rows for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)]


def missing_tests(names: list[str]) -> list[str]:
    absent = []
    for name in names:
        path, test = name.split("::")
        file = REPOSITORY / path
        if not file.is_file() or f"def {test}(" not in file.read_text(encoding="utf-8"):
            absent.append(name)
    return absent


def test_the_tests_that_the_page_names_are_there() -> None:
    text = (REPOSITORY / "docs/plausible.md").read_text(encoding="utf-8")
    table = text.split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 25
    assert [row for row in rows if not table_of(row) and not row.endswith("| the same |")] == []
    assert missing_tests(table_of(text)) == []


def test_a_name_that_is_no_test_is_found() -> None:
    row = "| case | verb | does | `tests/unit/test_plausible.py::test_that_is_not_there` |"
    assert missing_tests(table_of(row)) == ["tests/unit/test_plausible.py::test_that_is_not_there"]
