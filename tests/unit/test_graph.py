"""Counts and work of operators, on small graphs put together by hand."""

from __future__ import annotations

from edgecell.delegation import Node, delegation
from edgecell.graph import other_operators, scaling_operators, stray_operators, work
from edgecell.tflite_file import Operator, Tensor, TFLiteFile


def graph(*operators: tuple, constants: dict[int, tuple] | None = None, last: int) -> TFLiteFile:
    """A file from (name, inputs, outputs); tensor 0 is the input, ``last`` the output."""
    constants = constants or {}
    tensors = tuple(
        Tensor(i, f"t{i}", *constants.get(i, ("INT8", (1, 8, 8, 4))), (), (), 0, i in constants)
        for i in range(last + 1)
    )
    ops = tuple(Operator(i, name, ins, outs) for i, (name, ins, outs) in enumerate(operators))
    return TFLiteFile(tensors, ops, (0,), (last,), 1, 1000)


WEIGHTS = {1: ("INT8", (4, 3, 3, 4)), 2: ("INT32", (4,))}
CLEAN = graph(
    ("QUANTIZE", (0,), (3,)),
    ("CONV_2D", (3, 1, 2), (4,)),
    ("MEAN", (4,), (5,)),
    ("SOFTMAX", (5,), (6,)),
    ("QUANTIZE", (6,), (7,)),
    constants=WEIGHTS,
    last=7,
)


def test_a_change_of_type_at_a_port_is_other_but_not_stray():
    assert other_operators(CLEAN) == {"QUANTIZE": 2}
    assert stray_operators(CLEAN) == {}


def test_waste_is_named():
    wasteful = graph(
        ("MUL", (0, 2), (3,)),
        ("ADD", (3, 2), (4,)),
        ("PAD", (4,), (5,)),
        ("CONV_2D", (5, 1, 2), (6,)),
        ("QUANTIZE", (6,), (7,)),
        ("RESHAPE", (7,), (8,)),
        ("ADD", (8, 7), (9,)),
        ("LOGISTIC", (9,), (10,)),
        constants=WEIGHTS,
        last=10,
    )
    assert [op.index for op in scaling_operators(wasteful)] == [0, 1]
    # the second ADD is of two activations, as in a residual block
    waste = {"MUL": 1, "ADD": 1, "PAD": 1, "QUANTIZE": 1, "RESHAPE": 1}
    assert stray_operators(wasteful) == waste
    assert other_operators(wasteful) == waste | {"LOGISTIC": 1}


def test_weights_made_float_once_are_no_work_of_an_inference():
    half = graph(
        ("DEQUANTIZE", (1,), (3,)),
        ("CONV_2D", (0, 3, 2), (4,)),
        constants={1: ("FLOAT16", (4, 3, 3, 4)), 2: ("FLOAT32", (4,))},
        last=4,
    )
    assert other_operators(half) == {}
    found = delegation(half, [Node("DELEGATE", (0, 1, 2), (4,))], "XNNPACK")
    assert (found.operators, found.label) == (1, "XNNPACK")


def test_work_is_counted_from_shapes():
    conv = work(CLEAN, CLEAN.operators[1])
    values = 8 * 8 * 4
    assert conv.macs == values * 3 * 3 * 4
    assert conv.constant_bytes == 4 * 3 * 3 * 4 + 4 * 4
    assert conv.activation_bytes == 2 * values
    assert work(CLEAN, CLEAN.operators[3]).macs == 0
    depthwise = graph(
        ("DEPTHWISE_CONV_2D", (0, 1), (2,)), constants={1: ("INT8", (1, 3, 3, 4))}, last=2
    )
    assert work(depthwise, depthwise.operators[0]).macs == values * 3 * 3


def test_partitions_are_read_back_to_operators():
    # the delegate took the convolution and the pooling, as one partition from tensor 3 to 5
    part = Node("DELEGATE", (3, 1, 2), (5,))
    nodes = [Node(op.name, op.inputs, op.outputs) for op in CLEAN.operators] + [part]
    found = delegation(CLEAN, nodes, "XNNPACK")
    assert found.taken_indices == (1, 2)
    assert found.left == {"QUANTIZE": 2, "SOFTMAX": 1}
    assert found.label == "XNNPACK 2 of 5"
    assert not found.fell_back
    two = [Node("DELEGATE", (3, 1, 2), (4,)), Node("DELEGATE", (5,), (6,))]
    assert delegation(CLEAN, two, "XNNPACK").taken_indices == (1, 3)


def test_a_delegate_that_took_nothing_is_not_in_the_label():
    nodes = [Node(op.name, op.inputs, op.outputs) for op in CLEAN.operators]
    found = delegation(CLEAN, nodes, "XNNPACK")
    assert found.fell_back
    assert found.label == "built-in kernels"
    assert found.to_json()["label"] == "built-in kernels"
    unasked = delegation(CLEAN, nodes, None)
    assert (unasked.label, unasked.fell_back) == ("built-in kernels", False)
