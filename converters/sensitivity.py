"""What each layer's quantization costs on its own, and files that leave the worst layers in float.

Every operator is quantized alone, all others in float, by the quantizer itself: no emulation. Two
figures follow. At the operator: its output's signal-to-quantization-noise ratio (SQNR) in dB, from
what rounding its inputs, weights and output does there. At the end: how far the probabilities move
and how many answers change. A bad figure at the operator need not matter at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.lowering import CalibratedModel, quantize_int8
from converters.scaling import InputScaling
from converters.scoring import scoring_of
from edgecell import tflite_file
from edgecell.errors import ConvertError, DataError
from edgecell.runtime import ActivationProbe, TFLitePredictor
from edgecell.tflite_file import Operator, Tensor

PROBE_IMAGES = 16
"""Images for the SQNR: thousands of values each, the ratio settles to a tenth of a dB."""

# They move values and compute none: nothing is lost in them.
_MOVING = ("RESHAPE", "PAD", "PADV2", "MAX_POOL_2D", "QUANTIZE", "DEQUANTIZE", "CONCATENATION")

# What the converter calls the weighted part of a fused operator.
_CARRYING = ("Conv2D", "depthwise", "MatMul", "BiasAdd")


@dataclass(frozen=True)
class LayerCost:
    """One operator, quantized alone.

    ``node`` is the name of its output tensor, ``label`` a short one. ``sqnr_db`` is None where
    nothing was lost or nothing comes out. ``probability_error`` is the change of the probabilities
    against the graph in float (:meth:`converters.scoring.Scoring.error`), ``agreement`` the share of
    unchanged answers with the reference, ``agreement_drop`` what the float graph agreed more,
    ``accuracy_drop`` float minus this. Of several labels each decision is an answer.
    """

    node: str
    label: str
    operator: str
    weights: int
    sqnr_db: float | None
    probability_error: float
    agreement: float
    agreement_drop: float
    accuracy_drop: float

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def analyze(
    calibrated: CalibratedModel,
    scaling: InputScaling,
    expected: NDArray[np.float32],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    step: Callable[[str], None] = lambda note: None,
) -> list[LayerCost]:
    """Quantize each operator alone and rank them, the most expensive first (``layer_rule`` of the scoring).

    ``expected`` float32 (N, C) are the reference's probabilities on ``images`` uint8 (N, H, W, 3) of
    val, ``labels`` int64 (N,) or, of several labels, (N, C). ``step`` is called after each
    operator with a line.

    Raises:
        DataError: no images. ConvertError: no operator with a calibrated range.
    """
    if len(images) == 0 or not len(images) == len(labels) == len(expected):
        raise DataError(
            f"sensitivity got {len(images)} images, {len(labels)} labels and {len(expected)}"
            " predictions; allowed: as many, at least 1"
        )
    everything = frozenset(_nodes(calibrated))
    plain = quantize_int8(calibrated, float_nodes=everything)
    # The twin in float has the same input and output steps: what differs is the operator's doing.
    float_rows = TFLitePredictor(plain, threads=0).predict(images)
    how = scoring_of(labels)
    answers, plainly = how.answers(expected), how.answers(float_rows)
    baseline = float((plainly == answers).mean())
    hits = float((plainly == labels).mean())
    entries = scaling.apply(images[:PROBE_IMAGES])
    operators = quantizable(calibrated)
    exact = _outputs(calibrated.flatbuffer, entries, [name for name, _, _ in operators])
    costs = []
    for node, operator, weights in operators:
        alone = quantize_int8(calibrated, float_nodes=everything - {node})
        rows = TFLitePredictor(alone, threads=0).predict(images)
        found = how.answers(rows)
        agreement = float((found == answers).mean())
        cost = LayerCost(
            node,
            label(node),
            operator,
            weights,
            _sqnr(exact[node], _outputs(alone, images[:PROBE_IMAGES], [node])[node]),
            how.error(float_rows, rows),
            agreement,
            baseline - agreement,
            hits - float((found == labels).mean()),
        )
        costs.append(cost)
        step(f"{cost.label}: {len(costs)} of {len(operators)}")
    return sorted(costs, key=lambda cost: (-cost.probability_error, cost.agreement))


def quantizable(calibrated: CalibratedModel) -> list[tuple[str, str, int]]:
    """(node, operator, number of weights) of all that computes and can be left in float.

    The last softmax or sigmoid is not among them: its output has the file's own scale.

    Raises:
        ConvertError: none.
    """
    file = tflite_file.parse(calibrated.flatbuffer)
    found = [
        (file.tensors[op.outputs[0]].name, op.name, _weight_count(file.tensors, op))
        for op in file.operators
        if op.name not in _MOVING
        and op.outputs[0] not in file.outputs
        and file.tensors[op.outputs[0]].name in calibrated.ranges
    ]
    if not found:
        raise ConvertError("no operator with a calibrated range; nothing can be quantized alone")
    return found


def worst_nodes(costs: Iterable[LayerCost], count: int) -> frozenset[str]:
    """The nodes of the ``count`` most expensive layers with weights, of a ranked list.

    Layers without weights are passed over: an addition in float between integer layers costs two
    conversions and saves nothing that its neighbours do not lose anyway.
    """
    ranked = [cost.node for cost in costs if cost.weights > 0]
    if not 1 <= count < len(ranked):
        raise ConvertError(
            f"{count} layers in float; allowed: 1 to {len(ranked) - 1} of {len(ranked)} with weights"
            " (all of them would be a float file: --float32)"
        )
    return frozenset(ranked[:count])


def label(node: str) -> str:
    """A short name for a fused tensor's name: the Keras layer that carries the weights, if any."""
    parts = [part.strip("/") for part in node.split(";") if "/" in part] or [node]
    carrying = [part for part in parts if part.rsplit("/", 1)[-1].startswith(_CARRYING)]
    words = (carrying or parts)[-1].split("/")
    return "/".join(words[1:-1] or words)[-40:]


def _nodes(calibrated: CalibratedModel) -> list[str]:
    file = tflite_file.parse(calibrated.flatbuffer)
    return [file.tensors[op.outputs[0]].name for op in file.operators]


def _weight_count(tensors: tuple[Tensor, ...], op: Operator) -> int:
    if op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    return math.prod(tensors[op.inputs[1]].shape)


def _outputs(
    flatbuffer: bytes, entries: NDArray[Any], names: list[str]
) -> dict[str, NDArray[np.float64]]:
    """The real values of the named tensors, one row an image; integers are dequantized."""
    probe = ActivationProbe(flatbuffer)
    by_name = {tensor.name: tensor for tensor in probe.file.tensors}
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for entry in entries:
        probe.run(entry[None])
        for name in names:
            tensor = by_name[name]
            value = probe.value(tensor.index).astype(np.float64).ravel()
            if tensor.scales:
                value = (value - tensor.zero_points[0]) * tensor.scales[0]
            rows[name].append(value)
    return {name: np.stack(each) for name, each in rows.items()}


def _sqnr(exact: NDArray[np.float64], found: NDArray[np.float64]) -> float | None:
    signal, noise = float((exact**2).mean()), float(((exact - found) ** 2).mean())
    if signal == 0 or noise == 0:
        return None
    return 10 * math.log10(signal / noise)
