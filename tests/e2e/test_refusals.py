"""Bad input: one line that says what is wrong and what to do, the documented code, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from easy import SMALL, Run, easy_images
from PIL import Image


def refuse(result: object, code: int, *words: str) -> None:
    """The command ended with ``code`` and one line on stderr that holds ``words``."""
    lines = [line for line in result.err.splitlines() if not line.startswith("note:")]
    assert result.code == code, result.err
    assert lines[-1].startswith("edgecell: "), result.err
    assert len([line for line in lines if line.startswith("edgecell: ")]) == 1
    for word in words:
        assert word in lines[-1]
    assert result.out == ""
    assert "Traceback" not in result.err


def npz(path: Path, **changes: np.ndarray | None) -> Path:
    """A MedMNIST-like file with some arrays replaced or (None) left out."""
    images, labels = easy_images(30, 0)
    arrays: dict[str, np.ndarray | None] = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_missing_data(edgecell: Run) -> None:
    refuse(edgecell("train", "--data", "nowhere.npz", *SMALL[:4]), 3, "nowhere.npz")


def test_misspelt_medmnist_name(edgecell: Run) -> None:
    refuse(edgecell("train", "--data", "bloodmist"), 3, "bloodmnist")


def test_wrong_keys(edgecell: Run, tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", train_images=None, images=np.zeros((3, 28, 28), np.uint8))
    refuse(edgecell("train", "--data", path), 3, "train_images")


def test_one_class_only(edgecell: Run, tmp_path: Path) -> None:
    zeros = np.zeros((30, 1), np.uint8)
    path = npz(tmp_path / "x.npz", train_labels=zeros, val_labels=zeros, test_labels=zeros)
    refuse(edgecell("train", "--data", path), 3, "class")


def test_float_pixels(edgecell: Run, tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", train_images=np.zeros((30, 20, 20, 3), np.float32))
    refuse(edgecell("train", "--data", path), 3, "float32", "uint8")


def test_pickled_arrays_are_not_run(edgecell: Run, tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", train_labels=np.array([{"a": 1}] * 30, object))
    refuse(edgecell("data", "show", "--data", path), 3)


def test_empty_folder(edgecell: Run, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    refuse(edgecell("train", "--data", tmp_path / "images"), 3, "images")


def test_corrupt_image(edgecell: Run, tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i, image in enumerate(easy_images(12, ord(label))[0]):
            Image.fromarray(image).save(tmp_path / "images" / label / f"{i}.png")
    for broken in (tmp_path / "images" / "a").iterdir():  # all, so that the split does not matter
        broken.write_bytes(broken.read_bytes()[:200])
    refuse(
        edgecell("train", "--data", tmp_path / "images", *SMALL[:4], "--output", tmp_path / "run"),
        3,
        ".png",
        "corrupt",
    )
    assert not (tmp_path / "run" / "train" / "record.json").exists()


def test_output_that_cannot_be_written(edgecell: Run, tmp_path: Path, easy_npz: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    refuse(
        edgecell("train", "--data", easy_npz, *SMALL[:4], "--output", tmp_path / "file" / "run"),
        6,
        "--output",
    )


def test_output_folder_of_something_else(edgecell: Run, tmp_path: Path, easy_npz: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    refuse(
        edgecell("train", "--data", easy_npz, "--output", tmp_path / "thesis"),
        2,
        "not a run folder",
    )
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 200])
def test_not_a_tflite_file(edgecell: Run, tmp_path: Path, easy_npz: Path, content: bytes) -> None:
    path = tmp_path / "x-int8.tflite"
    path.write_bytes(content)
    flags = ["--data", easy_npz, "--output", tmp_path / "out"]
    refuse(edgecell("evaluate", path, *flags), 6, "x-int8.tflite")
    refuse(edgecell("bench", "--model", path, "--unverified", *flags), 6, "x-int8.tflite")


def test_not_a_keras_file(edgecell: Run, tmp_path: Path, easy_npz: Path) -> None:
    path = tmp_path / "x.keras"
    path.write_text("hello")
    refuse(
        edgecell("quantize", path, "--data", easy_npz, "--output", tmp_path / "out"), 6, "x.keras"
    )
    assert not list((tmp_path / "out").rglob("*.tflite"))


def test_model_without_a_run_needs_data(edgecell: Run, finished_run: Path, tmp_path: Path) -> None:
    import shutil

    lone = Path(shutil.copy(finished_run / "train/model.keras", tmp_path / "lone.keras"))
    refuse(edgecell("quantize", lone, "--int8", "--output", tmp_path / "out"), 2, "--data")


def test_data_set_of_other_classes(edgecell: Run, finished_run: Path, tmp_path: Path) -> None:
    labels = (np.arange(30) % 5)[:, None].astype(np.uint8)
    path = npz(tmp_path / "five.npz", train_labels=labels, val_labels=labels, test_labels=labels)
    refuse(
        edgecell("evaluate", finished_run, "--data", path, "--output", tmp_path / "out"),
        3,
        "3 classes",
        "5",
    )


def test_settings_out_of_range(edgecell: Run) -> None:
    refuse(edgecell("train", "--epochs", "-3"), 2, "-3", "allowed")
    refuse(edgecell("train", "--recipe", "syntetic"), 2, "synthetic")
    refuse(
        edgecell("train", "--model", "mobilenet_v3", "--weights", "none", "--limit", "50"),
        2,
        "mobilenet_v2",
    )


def test_recipe_with_an_unknown_key(edgecell: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[train]\nepoch = 3\n")
    refuse(edgecell("run", tmp_path / "mine.toml"), 2, "train.epoch", "did you mean 'train.epochs'")


def test_unknown_flag_is_a_usage_error(edgecell: Run) -> None:
    result = edgecell("train", "--leraning-rate", "1")
    assert result.code == 2
    assert "--learning-rate" in result.err


def test_verbs_before_their_time(edgecell: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text('name = "x"\n')
    refuse(edgecell("quantize", tmp_path / "run"), 6, "edgecell train")
    refuse(edgecell("evaluate", tmp_path / "nowhere"), 6, "nowhere")


def test_resume_takes_learning_rates_and_nothing_else(edgecell: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    refuse(edgecell("train", "--resume", nowhere, "--epochs", "3"), 2, "but for --learning-rate")
    rates = ["--learning-rate", "1e-4", "--head-learning-rate", "1e-3"]
    refuse(edgecell("train", "--resume", nowhere, *rates), 6, "nowhere")


def test_interrupted_training_goes_on(easy_npz: Path, tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and leaves a state that --resume takes to the end."""
    import signal
    import time

    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "edgecell",
        "train",
        "--data",
        easy_npz,
        *SMALL[:6],
        "--epochs",
        "12",
    ]
    command += ["--batch-size", "24", "--output", run]
    # A shell's background jobs ignore Ctrl-C, and what they start inherits that; a handler does not pass on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    state = run / "train" / "state" / "state.json"
    deadline = time.monotonic() + 300
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert not (run / "train" / "record.json").exists()

    config = run / "config.toml"
    config.write_text(config.read_text())  # unchanged: the state's key must still fit
    again = subprocess.run(
        [sys.executable, "-m", "edgecell", "train", "--resume", run],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "going on after epoch" in again.stderr
    assert (run / "train" / "record.json").exists()
    assert not state.exists()


def test_nothing_is_left_of_a_run_that_found_no_data(edgecell: Run, tmp_path: Path) -> None:
    refuse(edgecell("train", "--data", "nowhere.npz", "--output", tmp_path / "run"), 3)
    assert not (tmp_path / "run").exists()
    refused = edgecell("run", "--data", "nowhere.npz")
    assert refused.code == 3
    assert not list((tmp_path / "artifacts").rglob("*-*Z"))


def test_random_layers_are_not_frozen(edgecell: Run) -> None:
    refuse(edgecell("train", "--weights", "none", "--fine-tune-layers", "20"), 2, "20")
