"""A resize put in front of finished files: what it does to pixels, and what of the file stays as it was."""

from __future__ import annotations

import re

import numpy as np
import pytest
import toys
from ai_edge_litert import schema_py_generated as schema

from converters.audit import audit, require
from converters.resizing import enlarged
from converters.verify import VerifyBudget, verify
from edgecell.errors import ConvertError, DataError
from edgecell.graph import enlarging_operators, scaling_operators, stray_operators
from edgecell.preprocess import PreprocessSpec, resize
from edgecell.runtime import ActivationProbe, KerasPredictor, TFLitePredictor
from edgecell.tflite_file import parse
from edgecell.tflite_metadata import Metadata, attach, read

FULL = PreprocessSpec(toys.SIZE, toys.SIZE)
SMALL = (8, 12)


def small_images(count: int, size: tuple[int, int] = SMALL) -> tuple[np.ndarray, np.ndarray]:
    """The toy's images, shrunk."""
    images, labels = toys.images(count, seed=21)
    spec = PreprocessSpec(*size)
    return np.stack([resize(image, spec) for image in images]), labels


def at_full_size(images: np.ndarray) -> np.ndarray:
    return np.stack([resize(image, FULL) for image in images])


@pytest.fixture
def without_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written with the resize that TFLite has where nothing is said."""
    monkeypatch.setattr(schema, "ResizeBilinearOptionsAddHalfPixelCenters", lambda *_: None)


@pytest.mark.parametrize(("precision", "input_type"), toys.KINDS)
def test_every_kind_of_file_answers_as_with_our_own_resize(precision, input_type):
    plain = toys.converted(precision, input_type)
    made = enlarged(plain, SMALL)
    report = audit(made, precision, input_type, source_size=SMALL)
    require(report)
    assert (report.input.shape, report.hygiene["unusual"]) == ((1, *SMALL, 3), 0)
    before = audit(plain, precision, input_type)
    assert (report.input.scale, report.input.zero_point, report.output) == (
        *(before.input.scale, before.input.zero_point, before.output),
    )
    assert report.operators == before.operators | {"RESIZE_BILINEAR": 2}
    assert (report.stray, plain in made) == (before.stray, True)
    images, labels = small_images(48)
    ours, theirs = TFLitePredictor(made), TFLitePredictor(plain)
    found, expected = ours.predict(images), theirs.predict(at_full_size(images))
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert (found.argmax(1) == labels).mean() > 0.9
    # A level of a few pixels is what the two resizes differ by: 1/128 of the first layer's input.
    assert np.abs(found - expected).max() < 0.03


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("size", [(8, 12), (8, 16), (16, 11), (13, 13)])
def test_its_pixels_are_those_of_the_training(precision, size):
    off, equal = pixels_off(enlarged(toys.converted(precision), size), precision, size)
    # Integers: a level where a pass rounds a tie the other way (negative numbers do), carried through the
    # second pass, and another level there. Floats are not rounded after either pass: 1/2 + 1/2.
    assert off <= (2.0 if precision == "int8" else 1.0)
    if precision == "int8":
        assert equal > 0.7


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_resize_without_half_pixel_centres_shows(without_centres, precision):
    made = enlarged(toys.converted(precision), SMALL)
    with pytest.raises(ConvertError, match="resizes without half-pixel centres"):
        require(audit(made, precision, source_size=SMALL))
    off, equal = pixels_off(made, precision, SMALL)
    assert off > 5 and equal < 0.5


def pixels_off(made: bytes, precision: str, size: tuple[int, int]) -> tuple[float, float]:
    """Largest difference to :func:`resize` in levels, and the share of equal pixels."""
    images, _ = small_images(6, size)
    probe = ActivationProbe(made)
    entry = TFLitePredictor(made)
    last = enlarging_operators(probe.file)[-1].outputs[0]
    zero = -128.0 if precision == "int8" else 0.0
    found = []
    for image in images:
        probe.run(entry.entry(image)[None])
        found.append(probe.value(last)[0].astype(np.float64) - zero)
    off = np.abs(np.stack(found) - at_full_size(images))
    return float(off.max()), float((off == 0).mean())


def test_one_pass_where_one_side_fits_already():
    file = parse(enlarged(toys.converted("int8"), (8, 16)))
    assert [file.tensors[op.outputs[0]].shape for op in enlarging_operators(file)] == [
        (1, 16, 16, 3)
    ]


def test_scaling_behind_the_resize_is_still_found():
    made = parse(enlarged(toys.converted("float32"), SMALL))
    assert [op.name for op in scaling_operators(made)] == ["MUL", "ADD"]
    assert "RESIZE_BILINEAR" not in stray_operators(parse(enlarged(toys.converted("int8"), SMALL)))


def test_its_signature_names_the_new_input():
    made = enlarged(toys.converted("float32"), SMALL)
    model = schema.Model.GetRootAs(made, 0)
    assert model.SignatureDefsLength() == 1
    signature = model.SignatureDefs(0)
    index = signature.Inputs(0).TensorIndex()
    assert (index, signature.Inputs(0).Name()) == (model.Subgraphs(0).Inputs(0), b"image")
    assert model.Subgraphs(0).Tensors(index).ShapeAsNumpy().tolist() == [1, *SMALL, 3]


def test_metadata_go_in_front_of_it():
    made = enlarged(toys.converted("int8"), SMALL)
    described = attach(made, Metadata({"name": "toy"}, {"labels.txt": b"a\nb\n"}))
    found = read(described)
    assert found is not None and found.model["name"] == "toy"
    images, _ = small_images(8)
    assert np.array_equal(TFLitePredictor(described).raw(images), TFLitePredictor(made).raw(images))
    # and a file that has metadata already takes the resize
    again = enlarged(attach(toys.converted("int8"), Metadata({"name": "toy"}, {})), SMALL)
    assert np.array_equal(TFLitePredictor(again).raw(images), TFLitePredictor(made).raw(images))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((16, 16), "the model's own size, 16×16 pixels"),
        ((17, 16), "images of 17×16 pixels are larger than the model's 16×16"),
        ((8, 32), "shrinking takes an antialias"),
    ],
)
def test_only_enlarging_is_offered(size, said):
    with pytest.raises(ConvertError, match=said):
        enlarged(toys.converted("int8"), size)


def test_a_second_resize_is_refused():
    with pytest.raises(ConvertError, match="resizes its input already"):
        enlarged(enlarged(toys.converted("int8"), SMALL), (7, 7))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: toys.converted("int8"), "no RESIZE_BILINEAR at its input"),
        (lambda: enlarged(toys.converted("int8"), (9, 9)), r"input shape \(1, 9, 9, 3\), allowed"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused(model, said):
    lines = audit(model(), "int8", source_size=SMALL).violations
    assert any(re.search(said, line) for line in lines), lines


def test_verify_shows_each_model_its_own_images():
    images, labels = small_images(64)
    reference = KerasPredictor(toys.trained())
    made = enlarged(toys.converted("int8"), SMALL)
    rest = (at_full_size(images), labels, toys.CLASSES, VerifyBudget())
    report = verify(reference, TFLitePredictor(made), *rest, shown=images)
    assert report.passed
    turned = verify(reference, TFLitePredictor(made), *rest, shown=images[..., ::-1].copy())
    assert not turned.passed
    with pytest.raises(DataError, match="convert it from this reference"):
        verify(reference, TFLitePredictor(made), *rest)


def test_sizes_are_read_as_height_and_width():
    assert TFLitePredictor(enlarged(toys.converted("int8"), (9, 14))).image_size == (9, 14)
