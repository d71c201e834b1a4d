"""What a Keras file says, looked at before Keras acts on it.

Loading builds objects from names: of layers, but also of modules, which Keras imports, of functions,
which it calls, and of TensorFlow operations, of which some write files; some layers run bytecode out of
the file whatever ``safe_mode`` says. Here only the layers that image models are made of are let through,
and of TensorFlow's functions those that compute. The HDF5 file may point at other files and unpack to
any size; neither is followed. What is compiled into a model is not loaded and not looked at.
"""

from __future__ import annotations

import io
import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from edgecell.documents import DocumentError, json_of
from edgecell.hdf5_heaps import Bytes, never_ends
from edgecell.keras_order import waits_forever

MOST_CONFIG = 64_000_000
MOST_WEIGHTS = 4_000_000_000
MOST_RATIO = 100
"""Of unpacked to packed bytes: weights hardly pack at all."""
MOST_OBJECTS = 100_000
MEMBERS = ("config.json", "metadata.json", "model.weights.h5")

# What image models are made of. Keras has more classes, some of which run bytecode out of the file
# (Lambda, ResidualWrapper), call any method by its name, or read files of the machine.
_CLASSES_TEXT = """
    Functional Model Sequential InputLayer Dense Activation Flatten Reshape Permute RepeatVector Masking
    Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose SeparableConv1D SeparableConv2D DepthwiseConv1D
    DepthwiseConv2D LocallyConnected2D Convolution2D EinsumDense Embedding Attention AdditiveAttention
    MultiHeadAttention TimeDistributed
    MaxPooling1D MaxPooling2D MaxPool2D AveragePooling1D AveragePooling2D AvgPool2D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAvgPool2D GlobalMaxPool2D
    BatchNormalization BatchNormalizationV1 SyncBatchNormalization LayerNormalization GroupNormalization
    UnitNormalization SpectralNormalization Normalization
    ReLU LeakyReLU PReLU ELU ThresholdedReLU Softmax
    Dropout SpatialDropout1D SpatialDropout2D GaussianNoise GaussianDropout AlphaDropout
    ActivityRegularization
    ZeroPadding1D ZeroPadding2D Cropping1D Cropping2D UpSampling1D UpSampling2D
    Add Subtract Multiply Average Maximum Minimum Concatenate Dot
    Rescaling Resizing CenterCrop RandomCrop RandomFlip RandomTranslation RandomRotation RandomZoom
    RandomHeight RandomWidth RandomContrast RandomBrightness
    Zeros Ones Constant Identity Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling
    GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform
    L1 L2 L1L2 OrthogonalRegularizer MaxNorm NonNeg UnitNorm MinMaxNorm RadialConstraint
    Policy __tensor__ __numpy__ __ellipsis__ TensorShape
"""
_FUNCTIONS_TEXT = """
    relu relu6 softmax sigmoid hard_sigmoid tanh elu selu gelu swish silu softplus softsign mish exponential
    linear leaky_relu
"""
_HOMES = ("keras", "tf_keras", "builtins")
# Written by Keras 3 alone; tf_keras, which is Keras 2, cannot build from them.
_OF_KERAS_3 = ("DTypePolicy", "__keras_tensor__")
# Calls of TensorFlow inside a model, by the first part of their name.
_CALLS = ("TFOpLambda", "SlicingOpLambda")
_COMPUTING_TEXT = """
    math nn linalg image __operators__ cast concat convert_to_tensor expand_dims squeeze reshape transpose
    pad stack unstack split tile clip_by_value identity ones_like zeros_like shape slice strided_slice where
    gather reverse minimum maximum add subtract multiply divide abs exp sqrt square tanh sigmoid repeat
    broadcast_to constant fill range
"""


_CLASSES, _FUNCTIONS, _COMPUTING = (
    frozenset(text.split()) for text in (_CLASSES_TEXT, _FUNCTIONS_TEXT, _COMPUTING_TEXT)
)


class RefusedError(ValueError):
    """A Keras file that is not loaded; the text says why."""


def check(path: Path) -> None:
    """Look at a ``.keras`` or ``.h5`` file.

    Raises:
        RefusedError: it runs code of its own, points outside of itself, or unpacks to too much.
        OSError, and what zipfile, h5py and others raise on a damaged file: see keras_file.
    """
    if zipfile.is_zipfile(path):
        _check_archive(path)
    elif h5py.is_hdf5(path):
        with path.open("rb") as stream:
            check_hdf5(stream, path.stat().st_size)
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise RefusedError("it holds weights without a model; save it with model.save")
    else:
        raise RefusedError("it is neither a zip nor HDF5")


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        strange = [name for name in names if name not in MEMBERS]
        if strange:
            raise RefusedError(f"it holds {strange[0][:80]!r}; allowed: {', '.join(MEMBERS)}")
        if sorted(names) != sorted(MEMBERS):
            raise RefusedError(
                f"it holds {', '.join(names) or 'nothing'}; wanted {', '.join(MEMBERS)}"
            )
        for info in archive.infolist():
            most = MOST_WEIGHTS if info.filename.endswith(".h5") else MOST_CONFIG
            if info.file_size > most or info.file_size > MOST_RATIO * info.compress_size + 65_536:
                raise RefusedError(
                    f"{info.filename} unpacks from {info.compress_size:,} to {info.file_size:,} bytes"
                )
        check_config(archive.read("config.json"))
        json_of(archive.read("metadata.json"))
        weights = archive.read("model.weights.h5")
    check_hdf5(io.BytesIO(weights), len(weights))


def check_config(text: bytes | str) -> None:
    """Look at the JSON that a model is built from; RefusedError as :func:`check`."""
    try:
        config = json_of(text)
    except DocumentError as error:
        raise RefusedError(f"its configuration is no JSON that is read: {error}") from error
    if isinstance(config, dict):
        config = {key: value for key, value in config.items() if key != "compile_config"}
    waiting, seen = [config], 0
    while waiting:
        each = waiting.pop()
        seen += 1
        if seen > MOST_OBJECTS:
            raise RefusedError(f"its configuration has more than {MOST_OBJECTS:,} parts")
        if isinstance(each, dict):
            if "class_name" in each:
                _check_object(each)
            stuck = waits_forever(each)
            if stuck is not None:
                raise RefusedError(f"its layer {stuck[:80]!r} never gets what it takes")
            waiting.extend(v for v in each.values() if isinstance(v, dict | list))
        elif isinstance(each, list):
            waiting.extend(v for v in each if isinstance(v, dict | list))


def _check_object(each: dict[str, Any]) -> None:
    name, module = each["class_name"], each.get("module")
    home = module.split(".")[0] if isinstance(module, str) else module
    if home is not None and home not in _HOMES:
        raise RefusedError(f"it holds {name!r} of the module {module!r}, which is no part of Keras")
    if name == "function":
        name, allowed = each.get("config"), _FUNCTIONS
    elif name in _CALLS:
        _check_call(each.get("config"))
        return
    else:
        allowed = _CLASSES
    if name in _OF_KERAS_3:
        raise RefusedError(
            "it was saved by Keras 3, whose files tf_keras cannot read: build the same layers with"
            " tf_keras, new.set_weights(old.get_weights()), and save that"
        )
    if not isinstance(name, str) or name not in allowed:
        raise RefusedError(f"it holds {str(name)[:80]!r}, which is no part of Keras that is loaded")
    if each.get("registered_name") not in (None, name):
        raise RefusedError(
            f"it holds {str(each['registered_name'])[:80]!r}, which is no part of Keras"
        )


def _check_call(config: Any) -> None:
    """A call of TensorFlow in the model: one that computes, and touches no file."""
    called = config.get("function") if isinstance(config, dict) else None
    if not isinstance(called, str) or called.split(".")[0] not in _COMPUTING:
        raise RefusedError(
            f"it calls TensorFlow's {str(called)[:80]!r}, which may do more than compute"
        )


def check_hdf5(stream: BinaryIO, size: int) -> None:
    """Look at an open HDF5 file of ``size`` bytes: a whole model, or weights; RefusedError as :func:`check`."""
    if never_ends(_content(stream)):
        raise RefusedError("one of its heaps never ends")
    with h5py.File(stream, "r") as file:
        total, waiting, seen = 0, [file], 0
        visited = set()
        while waiting:
            group = waiting.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in visited:
                raise RefusedError(f"{group.name!r} is in it twice")
            visited.add(address)
            for name in group:
                seen += 1
                if seen > MOST_OBJECTS:
                    raise RefusedError(f"it has more than {MOST_OBJECTS:,} groups and arrays")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise RefusedError(f"{name!r} is a link to elsewhere")
                below = group[name]
                if isinstance(below, h5py.Dataset):
                    total += _array_bytes(below)
                elif isinstance(below, h5py.Group):
                    waiting.append(below)
        most = min(MOST_WEIGHTS, MOST_RATIO * size)
        if total > most:
            raise RefusedError(f"its arrays are {total:,} bytes in a file of {size:,}")
        config = file.attrs.get("model_config")
        if config is not None:
            if not isinstance(config, str | bytes):
                raise RefusedError("its model_config is no text")
            check_config(config)


def _content(stream: BinaryIO) -> Bytes:
    if isinstance(stream, io.BytesIO):
        return stream.getvalue()
    return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _array_bytes(array: Any) -> int:
    if array.external or array.is_virtual:
        raise RefusedError(f"{array.name!r} lies in another file")
    if array.dtype.hasobject:
        raise RefusedError(f"{array.name!r} holds no numbers")
    return int(array.nbytes)


# What zipfile, h5py and zlib raise on a damaged file.
DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, EOFError),
    *(NotImplementedError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, SystemError),
)
