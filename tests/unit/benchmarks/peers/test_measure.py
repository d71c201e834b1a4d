"""The comparison with peers, with runtimes that are made up: who is left out, what ratios are to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_run
import toys

from benchmarks.latency import Pace
from benchmarks.peers import keras_plain, registry, report
from benchmarks.peers import run as peers
from benchmarks.peers.interface import Absent, Candidate, Material, missing
from edgecell.data import load_dataset
from edgecell.errors import ConfigError, DataError
from edgecell.pipeline.peering import calibration_images
from edgecell.pipeline.targets import resolve
from edgecell.report.peers import render_peers
from edgecell.runtime import KerasPredictor

PACE = Pace(runs=16, seconds=0.0, warmup_runs=1)


class Echo:
    """Answers as the trained model, with something added."""

    def __init__(self, error: float = 0.0) -> None:
        self._keras, self._error = KerasPredictor(toys.trained()), error
        self.seen = 0

    def invoke_once(self, image: np.ndarray) -> None:
        assert image.shape == (toys.SIZE, toys.SIZE, 3) and image.dtype == np.uint8
        self.seen += 1

    def predict(self, images: np.ndarray) -> np.ndarray:
        probabilities = self._keras.predict(images).copy()
        probabilities[:, 0] += self._error
        return probabilities


def echo(name: str, file: Path, error: float = 0.0, **more) -> Candidate:
    return Candidate(name, "Echo 1.0", "float32", lambda: Echo(error), (file,), "float32", **more)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"toy-{precision}.tflite" for precision in ("float32", "int8")]
    for path in paths:
        path.write_bytes(toys.converted(path.stem.removeprefix("toy-")))
    return paths


def measured(candidates: list[Candidate], absent: tuple[Absent, ...] = ()) -> dict:
    images, labels = toys.images(24, seed=30)
    reference = KerasPredictor(toys.trained()).predict(images)
    found = peers.measure(
        *(candidates, absent, images, labels, toys.CLASSES, reference, PACE, 1),
        lambda text, share: None,
    )
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.fixture(scope="module")
def results(files: list[Path]) -> dict:
    twin, other = (
        echo("twin", files[0], faithful=True),
        echo("<b>other</b>", files[0], 0.01, faithful=True),
    )
    rounded = replace(echo("rounded", files[0], 0.01), precision="int8")
    return measured([*peers.ours(files, 1), twin, other, rounded], (Absent("gone", "not here"),))


def test_a_float32_peer_that_computes_something_else_is_left_out(results: dict) -> None:
    names = [model["name"] for model in results["models"]]
    assert names == ["toy-float32", "toy-int8", "twin", "rounded"]
    assert results["absent"][0] == {"name": "gone", "reason": "not here"}
    assert results["absent"][1]["name"] == "<b>other</b>"
    assert "differ by up to 0.01 from the trained model's" in results["absent"][1]["reason"]


def test_ratios_are_to_our_float32_and_our_int8(results: dict) -> None:
    for i, model in enumerate(results["models"]):
        assert list(model["ratios"]) == ["toy-float32", "toy-int8"]
        assert all(ratio["n"] >= 8 for ratio in model["ratios"].values())
        if i < 2:
            assert model["ratios"][model["name"]]["value"] == 1.0
        assert model["latency"]["n"] >= 16
        assert model["quality"]["n"] == 24
        assert model["size"]["value"] > 1000
    assert [model["precision"] for model in results["models"][:2]] == ["float32", "int8"]
    assert results["models"][2]["agreement"]["value"] == 1.0
    assert results["models"][0]["detail"] == "XNNPACK"
    assert results["models"][0]["runtime"].startswith("LiteRT 2")


def test_without_a_file_of_ours_there_is_nothing_to_compare_with(files: list[Path]) -> None:
    with pytest.raises(ConfigError, match="nothing to compare with"):
        measured([echo("twin", files[0], faithful=True)])
    with pytest.raises(ConfigError, match="run 'edgecell quantize' first"):
        peers.ours([], 1)


def test_the_table_begins_with_the_fastest_and_the_page_escapes_names(results: dict) -> None:
    rows = report.rows(results)
    times = [float(row["p50 ms"]) for row in rows]
    assert times == sorted(times)
    assert {"× toy-float32", "× toy-int8", "top-1 as trained", "runs in"} <= set(rows[0])
    text = report.markdown(results)
    assert "- **Not measured:** gone: not here" in text
    page = render_peers("toy", results)
    assert "<b>other" not in page and "&lt;b&gt;other" in page
    assert "× toy-int8" in page and "gone: not here" in page


def test_peers_are_named() -> None:
    assert registry.parse_names("") == ("onnxruntime", "openvino", "keras")
    assert registry.parse_names(" keras, onnxruntime,keras") == ("keras", "onnxruntime")
    with pytest.raises(ConfigError, match="no peer 'torch'; allowed: onnxruntime, openvino, keras"):
        registry.parse_names("keras,torch")


def test_what_is_not_installed_is_a_reason() -> None:
    assert missing("json", "numpy") == ""
    assert missing("json", "a_runtime_of_mars").startswith("a_runtime_of_mars not installed: pip ")


def test_keras_with_other_threads_is_a_reason(tmp_path: Path) -> None:
    import tensorflow as tf

    threads = tf.config.threading.get_intra_op_parallelism_threads()
    file = tmp_path / "model.keras"
    file.write_bytes(b"x" * 10)
    nothing = np.zeros((0, toys.SIZE, toys.SIZE, 3), np.uint8)
    material = Material(toys.trained(), file, nothing, threads + 1, tmp_path)
    [found] = keras_plain.candidates(material)
    assert isinstance(found, Absent) and "in a process of its own" in found.reason
    [found] = keras_plain.candidates(replace(material, threads=threads))
    assert isinstance(found, Candidate) and found.size_bytes == 10
    images, _ = toys.images(3, seed=4)
    expected = KerasPredictor(toys.trained()).predict(images)
    np.testing.assert_allclose(found.opener().predict(images), expected, atol=1e-6)


def test_calibration_is_on_the_run_s_own_images(tmp_path: Path) -> None:
    target = resolve(toy_run.make(tmp_path / "run"))
    dataset = load_dataset(target.config.data)
    images = calibration_images(target, target.config, dataset)
    manifest = tmp_path / "run" / "quantize" / "calibration.json"
    told = json.loads(manifest.read_text())
    assert images.shape == (toy_run.CALIBRATED_ON, toys.SIZE, toys.SIZE, 3)
    train, _ = toys.images(64, seed=5)
    np.testing.assert_array_equal(images, train[told["indices"]])
    manifest.write_text(json.dumps(told | {"indices": told["indices"][::-1]}))
    with pytest.raises(DataError, match="not those that this run's int8 was calibrated on"):
        calibration_images(target, target.config, dataset)
    manifest.write_text(json.dumps(told | {"indices": [64]}))
    with pytest.raises(DataError, match="not those that"):
        calibration_images(target, target.config, dataset)
    manifest.unlink()
    np.testing.assert_array_equal(calibration_images(target, target.config, dataset), images)
