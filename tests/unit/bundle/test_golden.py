from __future__ import annotations

import hashlib
import json
import zlib

import numpy as np
import pytest
import toys
from conftest import Pictures
from PIL import Image

from edgecell.bundle import golden
from edgecell.data.types import Split
from edgecell.preprocess import PreprocessSpec, resize
from edgecell.runtime import TFLitePredictor

SPEC = PreprocessSpec(toys.SIZE, toys.SIZE)


@pytest.fixture(scope="module")
def predictor() -> TFLitePredictor:
    return TFLitePredictor(toys.converted("int8"))


@pytest.fixture(scope="module")
def split() -> Split:
    images, labels = toys.images(200, seed=4)
    return Split("val", Pictures(images), labels)


def reasons(images) -> dict[str, int]:
    return {why: sum(image.why == why for image in images) for why in {i.why for i in images}}


@pytest.fixture(scope="module")
def threshold(predictor, split) -> float:
    """Half of the images are above it."""
    return float(np.median(predictor.predict(split.source.images).max(axis=1)))


def test_thirty_two_of_three_kinds(predictor, split, threshold):
    images = golden.gather(predictor, SPEC, split, threshold)
    assert reasons(images) == {"class": 20, "near threshold": 8, "shape": 4}
    of_class = [image.label for image in images if image.why == "class"]
    assert np.bincount(of_class).tolist() == [5, 5, 5, 5]
    assert [image.pixels.shape[:2] for image in images[-4:]] == list(golden.SHAPES)


def test_near_the_threshold_means_from_both_sides(predictor, split, threshold):
    images = golden.gather(predictor, SPEC, split, threshold)
    near = np.stack([image.pixels for image in images if image.why == "near threshold"])
    top = predictor.predict(near).max(axis=1)
    assert (np.sum(top >= threshold), np.sum(top < threshold)) == (4, 4)
    everyone = np.abs(predictor.predict(split.source.images).max(axis=1) - threshold)
    assert np.abs(top - threshold).max() <= np.sort(everyone)[40]


def test_a_threshold_that_all_pass_has_one_side(predictor, split):
    images = golden.gather(predictor, SPEC, split, 0.0)
    assert reasons(images)["near threshold"] == 8


def test_without_images_they_are_drawn(predictor):
    images = golden.gather(predictor, SPEC, None, None)
    assert len(images) == golden.COUNT
    assert all(image.label is None for image in images)
    again = golden.gather(predictor, SPEC, None, None)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(images, again, strict=True))


def test_few_images_are_filled_up(predictor):
    images, labels = toys.images(5, seed=4)
    found = golden.gather(predictor, SPEC, Split("val", Pictures(images), labels), None)
    assert len(found) == golden.COUNT
    assert sum(image.label is not None for image in found) == 5


def test_several_labels_at_once(predictor):
    images, labels = toys.images(60, seed=4)
    several = np.eye(4, dtype=np.int64)[labels] | np.eye(4, dtype=np.int64)[(labels + 1) % 4]
    several[::7] = 0
    found = golden.gather(predictor, SPEC, Split("val", Pictures(images), several), None)
    assert len(found) == golden.COUNT
    assert [0, 0, 0, 0] in [image.label for image in found]
    json.dumps([image.label for image in found])


def test_answers_that_hang_on_a_step_are_left_out():
    p = np.array([[0.50, 0.499, 0.001], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    rows = dict(golden.pick(p.astype(np.float32), np.zeros(4, int), None, 4, 1 / 256))
    assert sorted(rows) == [1, 2, 3]


def test_a_model_that_cannot_decide_still_gets_its_images(predictor, tmp_path):
    class Undecided:
        output_scale, output_dtype = 1 / 256, np.dtype(np.uint8)

        def predict(self, images):
            return np.full((len(images), 4), 0.25, np.float32)

        def raw(self, images):
            return np.full((len(images), 4), 64, np.uint8)

        def entry(self, pixels):
            return pixels

    images = golden.gather(Undecided(), SPEC, None, None)
    assert len(images) == golden.COUNT
    written = golden.write(tmp_path, images, Undecided(), SPEC, toys.CLASSES, {})
    assert {case["top1"] for case in written["cases"]} == {None}


@pytest.mark.parametrize(("precision", "suffix"), [("int8", "rgb"), ("float16", "input")])
def test_what_is_written_is_what_the_model_saw(precision, suffix, split, tmp_path):
    model = TFLitePredictor(toys.converted(precision))
    images = golden.gather(model, SPEC, split, None)
    golden.write(tmp_path, images, model, SPEC, toys.CLASSES, {"images": "toys"})
    read = json.loads((tmp_path / "golden.json").read_text())
    assert (read["schema"], read["images"], len(read["cases"])) == ("edgecell/golden", "toys", 32)
    for image, case in zip(images, read["cases"], strict=True):
        decoded = np.asarray(Image.open(tmp_path / case["image"]))
        np.testing.assert_array_equal(decoded, image.pixels)
        assert case["decoded"]["crc32"] == zlib.crc32(decoded.tobytes())
        assert (case["decoded"]["height"], case["decoded"]["width"]) == decoded.shape[:2]
        pixels = np.frombuffer((tmp_path / case["resized"]["file"]).read_bytes(), np.uint8)
        np.testing.assert_array_equal(pixels.reshape(16, 16, 3), resize(decoded, SPEC))
        entry = (tmp_path / case["input"]["file"]).read_bytes()
        assert case["input"]["file"].endswith(suffix)
        assert entry == model.entry(resize(decoded, SPEC)).tobytes()
        output = (tmp_path / case["output"]["file"]).read_bytes()
        values = np.frombuffer(output, model.output_dtype)
        np.testing.assert_array_equal(values, model.raw(resize(decoded, SPEC)[None])[0])
        assert values.tolist() == case["output"]["values"]
        assert case["output"]["sha256"] == hashlib.sha256(output).hexdigest()
        assert case["top1"] == {
            "index": int(values.argmax()),
            "label": toys.CLASSES[int(values.argmax())],
        }
