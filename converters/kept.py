"""What pruning and clustering leave in a model, what later training must keep, and what a file has of it.

Only kernels of convolutions and dense layers are pruned and clustered. Depthwise kernels hold few
weights and bear neither; TFMOT leaves them alone, and so is it done here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from converters.weighted import WeightedLayer, weighted_layers
from edgecell import tflite_file
from edgecell.errors import ConvertError
from edgecell.tflite_file import TFLiteFile

# Exactly these: TFMOT takes neither depthwise kernels nor subclasses that it does not know.
_TAKEN = (keras.layers.Conv2D, keras.layers.Dense)


@dataclass(frozen=True)
class Pattern:
    """Which weights of a kernel are zero, and which share a value.

    ``mask`` is 0 where a weight is zero, else 1. ``groups`` int64 gives each weight the number of its
    value, None where each has its own.
    """

    mask: NDArray[np.float32]
    groups: NDArray[np.int64] | None

    @classmethod
    def of(cls, kernel: NDArray[np.float32], clustered: bool) -> Pattern:
        """The pattern of a kernel as it stands."""
        mask = (kernel != 0).astype(np.float32)
        if not clustered:
            return cls(mask, None)
        groups = np.unique(kernel, return_inverse=True)[1].reshape(kernel.shape)
        return cls(mask, groups.astype(np.int64))

    def restore(self, kernel: tf.Variable) -> None:
        """Each weight becomes the mean of those it shares its value with, each zero becomes zero.

        The nearest kernel that has the pattern, in least squares: the projection of projected gradient
        descent. Runs in the graph of a training step.
        """
        values = kernel * self.mask
        if self.groups is not None:
            groups = self.groups.reshape(-1)
            means = tf.math.unsorted_segment_mean(
                tf.reshape(values, [-1]), groups, int(groups.max()) + 1
            )
            values = tf.reshape(tf.gather(means, groups), kernel.shape)
        kernel.assign(values)


def taken(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """The layers that can be pruned and clustered, with their names."""
    return [(layer.name, layer) for layer in model.layers if type(layer) in _TAKEN]


def kernels(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    """Layer → kernel of the layers that can be pruned and clustered."""
    return {name: layer.kernel.numpy() for name, layer in taken(model)}


def patterns(model: keras.Model, *, clustered: bool) -> dict[str, Pattern]:
    """Layer → what training must keep of its kernel."""
    return {name: Pattern.of(kernel, clustered) for name, kernel in kernels(model).items()}


def wrapped(
    reference: keras.Model, wrap: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> keras.Model:
    """A copy of ``reference`` with ``wrap`` around each layer that can be pruned and clustered.

    Raises:
        ConvertError: no such layer, or a model inside the model.
    """
    nested = [layer.name for layer in reference.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ConvertError(
            f"'{nested[0]}' is a model inside the model; pruning and clustering take flat ones"
        )
    if not kernels(reference):
        raise ConvertError(
            f"{reference.name} has no convolution or dense layer that can be pruned or clustered"
        )

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        made = layer.__class__.from_config(layer.get_config())
        if not layer.weights:
            return made
        made.build(layer.input_shape)
        made.set_weights(layer.get_weights())
        return wrap(made) if type(layer) in _TAKEN else made

    return keras.models.clone_model(reference, clone_function=copy)


def rows(kernel: NDArray[np.float32]) -> NDArray[np.float64]:
    """A Keras kernel (…, inputs, outputs) as the file has it: (outputs, …)."""
    return np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1).astype(np.float64)


def matched(flatbuffer: bytes, model: keras.Model) -> list[tuple[str, WeightedLayer]]:
    """The file's convolutions and dense layers with the Keras layer each came from, by name.

    Raises:
        ConvertError: a layer that is not in the file, or in it twice.
    """
    file = tflite_file.parse(flatbuffer)
    known = kernels(model)
    found = []
    for each in weighted_layers(flatbuffer):
        name = source_tensor(file, each.weights).name
        parts = {part for segment in name.split(";") for part in segment.split("/")}
        found += [(layer, each) for layer in known if layer in parts and not each.depthwise]
    names = [layer for layer, _ in found]
    odd = {layer for layer in known if names.count(layer) != 1}
    if odd:
        raise ConvertError(
            f"the weights of layer '{min(odd)}' cannot be found in the file by its name; rename it"
        )
    return found


def source_tensor(file: TFLiteFile, index: int) -> Any:
    """A tensor, or what is stored of it before a DEQUANTIZE."""
    writer = file.producer(index)
    if writer is not None and writer.name == "DEQUANTIZE":
        return file.tensors[writer.inputs[0]]
    return file.tensors[index]


def require_kept(flatbuffer: bytes, model: keras.Model, name: str) -> None:
    """Hold the weights in a file against the model's: its zeros and its shared values must be there.

    A file may have more zeros (rounding makes some) and mirrored values (a channel's factor below 0),
    never fewer zeros nor more values; batch normalisation gives each channel of a float file a factor
    of its own, so values count per channel there.

    Raises:
        ConvertError: what pruning or clustering did was lost on the way into the file.
    """
    file = tflite_file.parse(flatbuffer)
    known = kernels(model)
    for layer, each in matched(flatbuffer, model):
        wanted = rows(known[layer])
        stored = file.constant(source_tensor(file, each.weights).index).reshape(wanted.shape)
        lost = int(((wanted == 0) & (stored != 0)).sum())
        if lost:
            raise ConvertError(
                f"{name}: {lost:,} of {int((wanted == 0).sum()):,} zeros of layer '{layer}' are not"
                " zero in the file"
            )
        integer = stored.dtype.kind == "i"
        many = 2 * len(np.unique(wanted))
        values = len(np.unique(stored)) if integer else 0
        per_row = [len(np.unique(row)) for row in wanted], [len(np.unique(row)) for row in stored]
        if values > many or any(b > a for a, b in zip(*per_row, strict=True)):
            raise ConvertError(
                f"{name}: layer '{layer}' has {len(np.unique(wanted))} values in the model and"
                f" {max(values, *per_row[1])} in the file"
            )
