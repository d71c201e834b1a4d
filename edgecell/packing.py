"""How small a .tflite file packs, and what in its weights lets it: zeros and repeated values.

A file stores a zero in as many bytes as any other number. Pruned and clustered weights pay where the
file is compressed: in an app's package, in a download, in flash that is unpacked at start.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgecell.graph import WEIGHTED
from edgecell.tflite_file import Operator, Tensor, TFLiteFile


@dataclass(frozen=True)
class StoredWeights:
    """The weights of one operator as the file stores them.

    ``values`` counts different stored values, ``channel_values`` those of the output channel that
    has most: folded batch normalisation multiplies each channel of a float file by a number of its own.
    """

    layer: str
    operator: str
    count: int
    zeros: int
    values: int
    channel_values: int


def deflated_bytes(data: bytes) -> int:
    """Bytes after DEFLATE at its strongest, the method of zip, gzip and Android packages."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return len(packer.compress(data)) + len(packer.flush())


def stored_weights(file: TFLiteFile) -> Iterator[StoredWeights]:
    """Convolutions and dense layers of a file in running order.

    Raises:
        ArtifactError: weights of an element type without a NumPy twin.
    """
    for op in file.operators:
        if op.name not in WEIGHTED:
            continue
        tensor = _source(file, op)
        if not tensor.constant:
            continue
        stored = file.constant(tensor.index)
        channels = np.moveaxis(stored, 3 if op.name == "DEPTHWISE_CONV_2D" else 0, 0)
        yield StoredWeights(
            tensor.name.rsplit(";", 1)[-1],
            op.name,
            int(stored.size),
            int(stored.size - np.count_nonzero(stored)),
            len(np.unique(stored)),
            max(len(np.unique(channel)) for channel in channels),
        )


def summary(file: TFLiteFile) -> dict[str, Any]:
    """Share of zeros among all weights, figures of the ``kernels`` but depthwise ones, all ``layers``."""
    layers = list(stored_weights(file))
    kernels = [layer for layer in layers if layer.operator != "DEPTHWISE_CONV_2D"]
    return {
        "sparsity": _sparsity(layers),
        "kernels": {
            "count": sum(layer.count for layer in kernels),
            "sparsity": _sparsity(kernels),
            "least_sparsity": min((_sparsity([layer]) for layer in kernels), default=0.0),
            "most_values": max((layer.values for layer in kernels), default=0),
            "most_channel_values": max((layer.channel_values for layer in kernels), default=0),
        },
        "layers": [asdict(layer) for layer in layers],
    }


def _sparsity(layers: list[StoredWeights]) -> float:
    total = sum(layer.count for layer in layers)
    return sum(layer.zeros for layer in layers) / total if total else 0.0


def _source(file: TFLiteFile, op: Operator) -> Tensor:
    """The stored weights, before a DEQUANTIZE where they are float16."""
    tensor = file.tensors[op.inputs[WEIGHTED[op.name]]]
    writer = file.producer(tensor.index)
    if writer is not None and writer.name == "DEQUANTIZE":
        return file.tensors[writer.inputs[0]]
    return tensor
