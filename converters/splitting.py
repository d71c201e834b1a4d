"""Carry a channel twice, half a step apart, where that costs nothing: its rounding error halves.

All channels of an int8 tensor share one step. Two copies of a channel, one shifted up by a quarter of
a step and the other down, round differently; whoever reads them takes half of each and sees the channel
in half steps, k copies in k-th parts of a step. This is the quantization-aware splitting of Zhao et
al. 2019, "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting",
done to activations, and without their larger network. The copies go where there is room:

- into channels that provably say nothing. Behind its first convolution ImageNet's MobileNetV2 has some
  (five of sixteen at width 0.35), and just there depthwise kernels look for edges: they multiply the
  rounding errors of their smooth input.
- into new channels of a tensor that has eight or fewer: kernels compute eight to sixteen at once.

A chain is a convolution, the depthwise ones behind it, and the convolution that reads the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.constants import resize_constants
from converters.lowering import CalibratedModel, calibrated_model
from converters.weighted import WeightedLayer, shared_constants, weighted_layers
from edgecell import tflite_file
from edgecell.errors import ConvertError
from edgecell.tflite_file import TFLiteFile

NARROW = 8
"""A tensor of at most so many channels may get as many again."""

SILENT = 0.02
"""A channel says nothing if it moves no output of its reader by more than this share of a step."""

_STEPS = 255
_KIND = schema.ActivationFunctionType
_LIMITS = {
    _KIND.NONE: (-np.inf, np.inf),
    _KIND.RELU: (0.0, np.inf),
    _KIND.RELU6: (0.0, 6.0),
}

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """``writer`` and the depthwise layers behind it write; ``reader`` alone reads the last of them."""

    writer: WeightedLayer
    depthwise: tuple[WeightedLayer, ...]
    reader: WeightedLayer

    @property
    def writers(self) -> tuple[WeightedLayer, ...]:
        """The layers whose outputs carry the channels."""
        return (self.writer, *self.depthwise)


@dataclass(frozen=True)
class Loudness:
    """What rounding a chain's channels (C,) adds to its reader's outputs.

    ``steps``: of each tensor, in order. ``gains``: variance behind each tensor's depthwise reader, or in
    the end behind the reader, by variance before it. ``bearable``: whether what a shift of half a step
    becomes in the next tensor is less than its step. Copies are shifted either way, so it is gone in
    their mean, unless an activation cuts off what is shifted too far.
    """

    steps: tuple[float, ...]
    gains: tuple[FloatArray, ...]
    bearable: tuple[NDArray[np.bool_], ...]

    def shifted(self, channel: int) -> int:
        """The first tensor at which copies of the channel can be shifted."""
        return next(at for at, fits in enumerate(self.bearable) if fits[channel])

    def noise(self, channel: int, copies: int) -> float:
        """Variance in the reader's outputs, in the same unit for all channels of the chain.

        Until they are shifted copies round alike; there, to k-th parts of a step; behind it, each by
        itself.
        """
        at, variance = self.shifted(channel), 0.0
        for place, (step, gain) in enumerate(zip(self.steps, self.gains, strict=True)):
            power = 0 if place < at else 2 if place == at else 1
            variance = (variance + step**2 / copies**power) * float(gain[channel])
        return variance


def split_channels(calibrated: CalibratedModel) -> CalibratedModel:
    """The same function, with copies of the loudest channels wherever there is room.

    Ranges stay as they are: choose them first. The layers' moments do not: measure them anew. The shifts
    are in the biases, so in float the result differs from ``calibrated``, by less than int8 rounds.

    Raises:
        ConvertError: no chain of this network has room for a copy.
    """
    file = tflite_file.parse(calibrated.flatbuffer)
    found = chains(calibrated.flatbuffer)
    weights = {
        index: file.constant(index).astype(np.float64)
        for chain in found
        for index in _constants(chain)
    }
    widths: dict[int, int] = {}
    changed: set[int] = set()
    ranges = _Ranges(file, calibrated)
    for chain in found:
        silent = _silent(chain, ranges, weights)
        channels = len(weights[chain.writer.weights])
        new = channels if not chain.depthwise and channels <= NARROW else 0
        room = [*silent, *range(channels, channels + new)]
        loudness = _loudness(chain, ranges, weights)
        copies = _copies(loudness, set(range(channels)) - set(silent), len(room))
        if not copies:
            continue
        if new:
            _widen(chain, weights, new)
            widths[chain.writer.output] = channels + new
        _write(chain, weights, loudness, copies, room, silent)
        changed.update(_constants(chain))
    if not changed:
        raise ConvertError("no layer of this network has room for a second copy of a channel")
    values = {index: weights[index].astype(np.float32) for index in sorted(changed)}
    return calibrated_model(resize_constants(calibrated.flatbuffer, values, widths))


def chains(flatbuffer: bytes) -> list[Chain]:
    """All chains in running order; each tensor of one is read by the next layer and nobody else.

    Nor do the layers share their weights with others.
    """
    file = tflite_file.parse(flatbuffer)
    readers: dict[int, list[int]] = {index: [] for index in range(len(file.tensors))}
    for op in file.operators:
        for index in op.inputs:
            if index >= 0:
                readers[index].append(op.index)
    shared = shared_constants(file)
    layers = {
        layer.operator: layer
        for layer in weighted_layers(flatbuffer)
        if layer.bias is not None
        and layer.activation in _LIMITS
        and not {layer.weights, layer.bias} & shared
    }

    def reader_of(layer: WeightedLayer) -> WeightedLayer | None:
        several = len(readers[layer.output]) != 1 or layer.output in file.outputs
        return None if several else layers.get(readers[layer.output][0])

    found = []
    for writer in layers.values():
        between: list[WeightedLayer] = []
        reader = reader_of(writer)
        while reader is not None and reader.depthwise and _keeps_width(file, reader):
            between.append(reader)
            reader = reader_of(reader)
        if writer.kind == "CONV_2D" and reader is not None and reader.kind == "CONV_2D":
            found.append(Chain(writer, tuple(between), reader))
    return found


@dataclass(frozen=True)
class _Ranges:
    """The ranges and steps of a calibrated model's tensors, by index."""

    file: TFLiteFile
    calibrated: CalibratedModel

    def __call__(self, index: int) -> tuple[float, float]:
        return self.calibrated.ranges[self.file.tensors[index].name]

    def step(self, index: int) -> float:
        low, high = self(index)
        return (high - low) / _STEPS


def _keeps_width(file: TFLiteFile, layer: WeightedLayer) -> bool:
    return file.tensors[layer.entry].shape[-1] == file.tensors[layer.output].shape[-1]


def _constants(chain: Chain) -> Iterator[int]:
    for layer in (*chain.writers, chain.reader):
        assert layer.bias is not None
        yield from (layer.weights, layer.bias)


def _silent(chain: Chain, ranges: _Ranges, weights: Mapping[int, FloatArray]) -> dict[int, float]:
    """Channel → what it always is, for the channels that no image can make say anything.

    The bounds follow from the weights and from ranges, which the int8 file cannot leave.
    """
    low, high = ranges(chain.writer.entry)
    kernel = weights[chain.writer.weights]
    bounds = _bounds(chain.writer, kernel * low, kernel * high, (1, 2, 3), ranges, weights)
    for layer in chain.depthwise:
        kernel = weights[layer.weights][0]
        bounds = _bounds(layer, kernel * bounds[0], kernel * bounds[1], (0, 1), ranges, weights)
    reach = np.abs(weights[chain.reader.weights]).sum(axis=(1, 2)).max(axis=0)
    middle = bounds.mean(axis=0)
    moved = reach * (bounds[1] - bounds[0])
    if chain.reader.kernel != (1, 1):  # what is constant would be missed where the border is padded
        moved += reach * np.abs(middle)
    allowed = SILENT * ranges.step(chain.reader.output)
    return {int(channel): float(middle[channel]) for channel in np.flatnonzero(moved <= allowed)}


def _bounds(
    layer: WeightedLayer,
    one: FloatArray,
    other: FloatArray,
    taps: tuple[int, ...],
    ranges: _Ranges,
    weights: Mapping[int, FloatArray],
) -> FloatArray:
    """(2, C): the least and the largest output, where each tap gives between ``one`` and ``other``."""
    least, most = np.minimum(one, other), np.maximum(one, other)
    if layer.same:  # a tap may lie in the padding and give nothing
        least, most = np.minimum(least, 0.0), np.maximum(most, 0.0)
    assert layer.bias is not None
    ends = np.stack([least.sum(axis=taps), most.sum(axis=taps)]) + weights[layer.bias]
    limited: FloatArray = ends.clip(*_LIMITS[layer.activation]).clip(*ranges(layer.output))
    return limited


def _loudness(chain: Chain, ranges: _Ranges, weights: Mapping[int, FloatArray]) -> Loudness:
    steps = tuple(ranges.step(layer.output) for layer in chain.writers)
    kernels = [weights[layer.weights] for layer in (*chain.depthwise, chain.reader)]
    gains = tuple((kernel**2).sum(axis=(0, 1, 2)) for kernel in kernels)
    bearable = [
        np.abs(kernel.sum(axis=(0, 1, 2))) * step / 2 <= following
        for kernel, step, following in zip(kernels, steps, steps[1:], strict=False)
    ]
    return Loudness(steps, gains, (*bearable, np.ones(len(gains[-1]), bool)))


def _copies(loudness: Loudness, channels: set[int], room: int) -> dict[int, int]:
    """Channel → how many copies of it, itself among them; those with one are left out."""
    copies = dict.fromkeys(sorted(channels), 1)

    def saved(channel: int) -> float:
        now = copies[channel]
        return loudness.noise(channel, now) - loudness.noise(channel, now + 1)

    for _ in range(room):
        best = max(copies, key=saved, default=None)
        if best is None or saved(best) <= 0:
            break
        copies[best] += 1
    return {channel: count for channel, count in copies.items() if count > 1}


def _widen(chain: Chain, weights: dict[int, FloatArray], new: int) -> None:
    """Room for ``new`` channels behind those of the writer's output."""
    writer, reader = chain.writer, chain.reader
    assert writer.bias is not None
    for index, axis in ((writer.weights, 0), (writer.bias, 0), (reader.weights, 3)):
        wider = [(0, new if each == axis else 0) for each in range(weights[index].ndim)]
        weights[index] = np.pad(weights[index], wider)


def _write(
    chain: Chain,
    weights: dict[int, FloatArray],
    loudness: Loudness,
    copies: Mapping[int, int],
    room: list[int],
    silent: Mapping[int, float],
) -> None:
    before = {index: weights[index].copy() for index in _constants(chain)}
    reader, free = chain.reader, iter(room)
    for channel, count in copies.items():
        slots = [channel, *(next(free) for _ in range(count - 1))]
        at = loudness.shifted(channel)
        bias = chain.writers[at].bias
        assert bias is not None
        for number, slot in enumerate(slots):
            share = (2 * number + 1) / (2 * count) - 0.5
            _copy(chain, weights, before, channel, slot)
            weights[bias][slot] += share * loudness.steps[at]
            weights[reader.weights][..., slot] = before[reader.weights][..., channel] / count
            if slot in silent:
                assert reader.bias is not None
                said = before[reader.weights][..., slot].sum(axis=(1, 2)) * silent[slot]
                weights[reader.bias] += said


def _copy(
    chain: Chain,
    weights: dict[int, FloatArray],
    before: Mapping[int, FloatArray],
    channel: int,
    slot: int,
) -> None:
    for layer in chain.writers:
        assert layer.bias is not None
        weights[layer.bias][slot] = before[layer.bias][channel]
        if layer.depthwise:
            weights[layer.weights][..., slot] = before[layer.weights][..., channel]
        else:
            weights[layer.weights][slot] = before[layer.weights][channel]
