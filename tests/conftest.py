"""What all tests share: the real images beside the project, and a data set learnt in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent

# What decides on a change gives the same verdict twice: Hypothesis tries the same examples every time.
# Others, drawn anew, with: pytest --hypothesis-profile=explore. No test asserts a time (by default one that takes
# 0.2 s fails, as any does on a busy machine).
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("fixed")


class Pictures:
    """An ImageSource over an array, as the loaders' own."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray:
        return self.images[index]

    def name(self, index: int) -> str:
        return f"picture {index}"


def separable(count: int, seed: int, side: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, side, side, 3) and int64 (count,): three colours with noise, in turn."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
    noise = random.normal(0, 20, (count, side, side, 3))
    images = (colours[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    return images, labels.astype(np.int64)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """An .npz of :func:`separable` images: 48 of train, 15 of val and of test."""
    arrays = {}
    for seed, (name, count) in enumerate((("train", 48), ("val", 15), ("test", 15))):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = separable(count, seed)
    np.savez(tmp_path / "colours.npz", **arrays)
    return tmp_path / "colours.npz"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights; the test is skipped where there is none."""
    path = Path(os.environ.get("EDGECELL_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no real images at {path}; set EDGECELL_SHARED")
    return path


@pytest.fixture(scope="session")
def litertjs() -> Path:
    """The folder of packages that npm installed LiteRT.js into; the test is skipped where it cannot."""
    from benchmarks.devices import litert_js
    from benchmarks.devices.interface import DeviceError

    if shutil.which("npm") is None:
        pytest.skip("no npm here, which installs LiteRT.js")
    try:
        return litert_js.packages()
    except DeviceError as error:
        pytest.skip(f"LiteRT.js cannot be installed: {error}")


@pytest.fixture(scope="session")
def tiny_dataset():
    """A Dataset in memory: 3 classes of 20 × 20, told apart by colour; 48, 15 and 15 images."""
    from edgecell.data.types import Dataset, Split

    splits = {}
    for seed, (name, count) in enumerate((("train", 48), ("val", 15), ("test", 15))):
        images, labels = separable(count, seed)
        splits[name] = Split(name, Pictures(images), labels)
    origin = {"kind": "test", "fingerprint": "0" * 64}
    return Dataset("colours", "multi-class", ("red", "green", "blue"), **splits, origin=origin)


@pytest.fixture
def toy_network(monkeypatch):
    """Instead of MobileNetV2, whose first step takes seconds: a small CNN with the same frame.

    ``weights`` other than "none" is taken as given, so that there is a head stage.
    """
    import tf_keras as keras

    from edgecell import train as train_module
    from edgecell.models.registry import HEAD

    def build(model, classes: int, momentum: float, activation: str = "softmax"):
        x = inputs = keras.Input((model.image_size, model.image_size, 3), name="pixels")
        x = keras.layers.Rescaling(1 / 128, offset=-1.0, name="input_scaling")(x)
        x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False, name="conv")(x)
        x = keras.layers.BatchNormalization(momentum=momentum, name="norm")(x)
        x = keras.layers.ReLU(name="relu")(x)
        x = keras.layers.Conv2D(6, 3, strides=2, name="conv2")(x)
        x = keras.layers.GlobalAveragePooling2D(name=HEAD[0])(x)
        x = keras.layers.Dropout(model.dropout, name=HEAD[1])(x)
        x = keras.layers.Dense(classes, activation=activation, name=HEAD[2])(x)
        return keras.Model(inputs, x)

    monkeypatch.setattr(train_module, "build_model", build)


@pytest.fixture(scope="session")
def mediapipe_python() -> str:
    """A Python that has mediapipe, which does not install beside TensorFlow 2.21; skipped without one."""
    candidate = os.environ.get("EDGECELL_MEDIAPIPE_PYTHON", sys.executable)
    code = "from mediapipe.tasks.python import vision"
    try:
        found = subprocess.run([candidate, "-c", code], capture_output=True, timeout=120).returncode
    except OSError:
        found = 1
    if found != 0:
        pytest.skip("no mediapipe; name a Python that has it in EDGECELL_MEDIAPIPE_PYTHON")
    return candidate


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and quantized run of the toy, beside its images; not to be written to."""
    import toy_run

    return toy_run.make(tmp_path_factory.mktemp("toy") / "run")


@pytest.fixture
def toy_copy(toy: Path, tmp_path: Path) -> Path:
    """A copy of it, to be written to."""
    return Path(shutil.copytree(toy, tmp_path / "run"))
