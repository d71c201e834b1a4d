"""The Keras model as ONNX that takes raw bytes, so that every runtime gets the same input."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.interface import Material

_OPSET = 17
_SCALE, _ZERO = 1 / 128, 128
INPUT = "pixels"
OUTPUT = "probabilities"
SCALED = "scaled_pixels"


def float_model(material: Material) -> Path:
    """float32.onnx in ``material.folder``, made once: uint8 (1, H, W, 3) → probabilities (1, C)."""
    if "onnx" not in material.made:
        path = material.folder / "float32.onnx"
        path.write_bytes(to_onnx(material.model))
        material.made["onnx"] = path
    return material.made["onnx"]


def to_onnx(model: Any) -> bytes:
    """A tf_keras classifier as an ONNX model that takes bytes.

    tf2onnx writes the graph, with BatchNorm folded. The scaling of pixels, (u - 128) / 128, becomes one
    DequantizeLinear: an int8 runtime then reads the bytes as they are, as edgecell's int8 files do.
    """
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    height, width = model.input_shape[1:3]
    signature = (tf.TensorSpec((1, height, width, 3), tf.float32, name=INPUT),)

    @tf.function(input_signature=signature)
    def run(pixels: Any) -> Any:
        return {OUTPUT: model(pixels, training=False)}

    proto, _ = tf2onnx.convert.from_function(run, input_signature=signature, opset=_OPSET)
    _take_bytes(proto, (1, height, width, 3))
    return bytes(proto.SerializeToString())


def _take_bytes(proto: Any, shape: tuple[int, ...]) -> None:
    """Make the input of ``proto`` uint8, in place."""
    import onnx
    from onnx import helper, numpy_helper

    graph = proto.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    scaling = _scaling(graph, constants)
    replaced = scaling[-1].output[0] if scaling else INPUT
    turn = next(
        (n for n in graph.node if n.op_type == "Transpose" and n.input[0] == replaced), None
    )
    for node in (*scaling, *([turn] if turn else [])):
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for each in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(each)
    entry = INPUT
    new = []
    if turn is not None:  # of bytes, a quarter of the work
        new.append(
            helper.make_node("Transpose", [INPUT], ["turned"], perm=list(turn.attribute[0].ints))
        )
        entry, replaced = "turned", turn.output[0]
    if scaling:
        new.append(helper.make_node("DequantizeLinear", [entry, "scale", "zero_point"], [SCALED]))
        graph.initializer.append(numpy_helper.from_array(np.asarray(_SCALE, np.float32), "scale"))
        graph.initializer.append(numpy_helper.from_array(np.asarray(_ZERO, np.uint8), "zero_point"))
    else:
        new.append(helper.make_node("Cast", [entry], [SCALED], to=onnx.TensorProto.FLOAT))
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == replaced:
                node.input[i] = SCALED
    for node in reversed(new):
        graph.node.insert(0, node)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, shape))
    onnx.checker.check_model(proto)


def _scaling(graph: Any, constants: dict[str, Any]) -> list[Any]:
    """The two nodes that compute (u - 128) / 128 from the input; empty where it is scaled otherwise."""
    name, found = INPUT, []
    for operator, value in (("Mul", _SCALE), ("Add", -1.0)):
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type != operator:
            return []
        others = [constants.get(other) for other in readers[0].input if other != name]
        if len(others) != 1 or others[0] is None or not np.all(others[0] == np.float32(value)):
            return []
        found.append(readers[0])
        name = readers[0].output[0]
    return found
