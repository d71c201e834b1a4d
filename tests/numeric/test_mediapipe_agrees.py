"""The released files, bundled, in MediaPipe's ImageClassifier, on all public test images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgecell.bundle import manifest
from edgecell.bundle.metadata import metadata
from edgecell.config import DataConfig
from edgecell.data import load_dataset, materialize
from edgecell.preprocess import PreprocessSpec
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import task_named
from edgecell.tflite_metadata import attach

pytestmark = [pytest.mark.slow, pytest.mark.needs_shared]

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT = REPOSITORY / "tests" / "mediapipe_client.py"
# MediaPipe's own resize is not ours: shrinking 128 to 96 pixels changes few answers, enlarging 28 to 96
# some more. Measured 0.9965 and 0.9959, 0.9912 and 0.9889; one side of the 95 % intervals.
LEAST = {"pbc128": 0.995, "pbc28": 0.982}
SOURCES = {"pbc128": "pbc128", "pbc28": "pbc28.npz"}


@pytest.mark.parametrize("kind", ["int8-search", "float16"])
@pytest.mark.parametrize("name", LEAST)
def test_on_the_same_bytes_and_on_the_originals(
    shared: Path, mediapipe_python: str, tmp_path: Path, name: str, kind: str
) -> None:
    file = REPOSITORY / "artifacts" / name / "quantize" / f"{name}-{kind}.tflite"
    if not file.is_file():
        pytest.skip(f"no released model {file.name}")
    predictor = TFLitePredictor(file)
    spec = PreprocessSpec(*predictor.image_size)
    dataset = load_dataset(DataConfig(source=str(shared / "data" / SOURCES[name])))
    subject = manifest.Subject(
        name=file.stem,
        source=file.read_bytes(),
        predictor=predictor,
        spec=spec,
        labels=dataset.class_names,
        task=task_named(dataset.task),
        verdict="passed",
        precision=None,
        calibration=None,
        records={},
        record_hashes={},
    )
    described = metadata(subject, manifest.model_json(subject, 32))
    (tmp_path / "model.tflite").write_bytes(attach(subject.source, described))
    source = dataset.test.source
    resized = materialize(dataset.test, spec)
    originals = np.stack([source.read(i) for i in range(len(dataset.test))])
    assert len(resized) == 1712
    ours = predictor.predict(resized)

    def theirs(images: np.ndarray) -> np.ndarray:
        np.save(tmp_path / "images.npy", images)
        command = [mediapipe_python, CLIENT, tmp_path / "model.tflite", tmp_path / "images.npy"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["scores"]
        return np.array([[row[label] for label in dataset.class_names] for row in rows])

    same = theirs(resized)
    assert (same.argmax(1) == ours.argmax(1)).all()
    np.testing.assert_allclose(same, ours, atol=0 if kind == "int8-search" else 1e-5)
    agreement = float((theirs(originals).argmax(1) == ours.argmax(1)).mean())
    print(f"{file.name}: {agreement:.4f} of {len(ours)} on the originals")
    assert agreement >= LEAST[name]
