"""The real runtimes on the toy: the same network, really in int8, and nothing sent to anybody."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import toys

from benchmarks.peers.interface import Absent, Candidate, Material, missing
from edgecell.runtime import KerasPredictor

_GONE = {
    "onnxruntime": missing("onnxruntime", "onnx", "tf2onnx"),
    "openvino": missing("openvino", "nncf", "onnx", "tf2onnx"),
}
needs_onnxruntime = pytest.mark.skipif(bool(_GONE["onnxruntime"]), reason=_GONE["onnxruntime"])
needs_openvino = pytest.mark.skipif(bool(_GONE["openvino"]), reason=_GONE["openvino"])


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("peers")
    calibration = toys.images(64, seed=1)[0]
    return Material(toys.trained(), folder / "model.keras", calibration, 1, folder)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return toys.images(40, seed=8)[0]


@pytest.fixture(scope="module")
def expected(images: np.ndarray) -> np.ndarray:
    return KerasPredictor(toys.trained()).predict(images)


def by_precision(found: list[Candidate | Absent]) -> dict[str, Candidate]:
    assert all(isinstance(each, Candidate) for each in found), found
    return {each.precision: each for each in found if isinstance(each, Candidate)}


@needs_onnxruntime
def test_bytes_are_scaled_by_one_operator(material: Material) -> None:
    import onnx

    from benchmarks.peers.onnx_model import float_model

    graph = onnx.load(str(float_model(material))).graph
    [entry] = graph.input
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    operators = [node.op_type for node in graph.node]
    assert operators[:3] == ["Transpose", "DequantizeLinear", "Conv"]
    assert not {"Mul", "Sub", "BatchNormalization"} & set(operators)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    assert [float(constants[name]) for name in graph.node[1].input[1:]] == [1 / 128, 128]
    assert float_model(material) is material.made["onnx"]  # made once for all runtimes


@needs_onnxruntime
def test_another_scaling_stays_what_it_is(tmp_path: Path, images: np.ndarray) -> None:
    import onnx
    import tf_keras as keras

    from benchmarks.peers.onnx_model import to_onnx
    from benchmarks.peers.onnx_runtime import Session

    other = toys.model(scaling=keras.layers.Rescaling(1 / 255, name="other_scaling"))
    path = tmp_path / "other.onnx"
    path.write_bytes(to_onnx(other))
    operators = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert operators[0] == "Cast" and "Mul" in operators and "DequantizeLinear" not in operators
    found = Session(path, 1).predict(images)
    np.testing.assert_allclose(found, KerasPredictor(other).predict(images), atol=1e-5)


@needs_onnxruntime
def test_onnx_runtime_has_the_same_network_and_a_whole_int8(
    material: Material, images: np.ndarray, expected: np.ndarray
) -> None:
    from benchmarks.peers import onnx_runtime

    found = by_precision(onnx_runtime.candidates(material))
    assert list(found) == ["float32", "int8"]
    real, integer = (found[key].opener().predict(images) for key in found)
    np.testing.assert_allclose(real, expected, atol=1e-5)
    assert found["float32"].faithful and not found["int8"].faithful
    assert (found["float32"].detail, found["int8"].detail) == (
        "float32",
        "2 of 2 convolutions in int8",
    )
    assert not np.allclose(integer, expected, atol=1e-4)
    assert (integer.argmax(1) == expected.argmax(1)).mean() > 0.9


@needs_onnxruntime
def test_bound_memory_holds_the_answer_to_the_last_image(
    material: Material, images: np.ndarray
) -> None:
    import onnxruntime

    from benchmarks.peers.onnx_model import float_model
    from benchmarks.peers.onnx_runtime import Session

    path = float_model(material)
    plain = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = np.concatenate([plain.run(None, {"pixels": image[None]})[0] for image in images])
    np.testing.assert_allclose(Session(path, 1).predict(images), answers, atol=1e-6)
    assert len(np.unique(answers.round(4), axis=0)) > 10


@needs_openvino
def test_openvino_says_what_it_runs_in(
    material: Material, images: np.ndarray, expected: np.ndarray
) -> None:
    from benchmarks.peers import open_vino

    gathered = open_vino.candidates(material)
    found = {each.precision: each for each in gathered if isinstance(each, Candidate)}
    real = found["float32"]
    np.testing.assert_allclose(real.opener().predict(images), expected, atol=1e-5)
    assert real.faithful and real.detail == "float32"
    assert [path.suffix for path in real.files] == [".xml", ".bin"]
    assert real.size_bytes > sum(w.size for w in toys.trained().get_weights()) * 4 * 0.8
    if "bf16" in found:
        rough = found["bf16"].opener().predict(images)
        assert 0 < np.abs(rough - expected).max() < 0.05
        assert found["bf16"].detail == "bf16" and not found["bf16"].faithful
    else:
        assert any(isinstance(e, Absent) and "no bf16 instructions" in e.reason for e in gathered)
    integer = found["int8"].opener().predict(images)
    assert "convolutions in int8" in found["int8"].detail
    assert not found["int8"].detail.startswith("0 of")
    assert not np.allclose(integer, expected, atol=1e-4)
    assert (integer.argmax(1) == expected.argmax(1)).mean() > 0.9


@needs_openvino
def test_nothing_is_reported_to_anybody_and_torch_is_not_there(material: Material) -> None:
    from benchmarks.peers import open_vino

    open_vino.candidates(material)
    import nncf

    assert sys.modules["openvino_telemetry"] is None
    assert isinstance(nncf.telemetry.telemetry, MagicMock)
    assert "torch" not in sys.modules
