"""Keras models as .keras and .h5: bytes, the configuration they are built from, and the weights."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from edgecell.disk import atomic_write_text
from edgecell.pipeline.opening import open_model
from edgecell.rundir import RunDir

from . import mutate
from .kind_tflite import SEEDS, must_be_refused, tried

Say = Callable[[str], None]
NASTY: list[Any] = [
    {"class_name": "function", "config": "system", "module": "os", "registered_name": "system"},
    {
        "class_name": "function",
        "config": "exec",
        "module": "builtins",
        "registered_name": "function",
    },
    {"class_name": "Popen", "config": {"args": ["id"]}, "module": "subprocess"},
    {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}},
    {
        "class_name": "Lambda",
        "config": {"function": ["4wAAAA==\n", None, None], "function_type": "lambda"},
    },
    {"class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
    {
        "class_name": "ResidualWrapper",
        "config": {"residual_fn": "4wAAAA==", "residual_fn_type": "lambda"},
    },
    {"class_name": "Thing", "config": {}, "module": "antigravity", "registered_name": "Own>Thing"},
    *(
        "relu",
        "Conv2D",
        "Lambda",
        "os",
        "builtins",
        "tf_keras.src.engine.functional",
        "same",
        "valid",
    ),
    *([None, 16, 16, 3], [None, None, None, 3], [3, 3], [1, 1], -1, 0, 10**6, 10**9, 10**12),
]


class _Model:
    suffix: str

    def prepare(self, folder: Path) -> None:
        """The seeds, and a run whose record names one of them; TensorFlow is loaded, and no model."""
        import tensorflow  # noqa: F401
        import tf_keras  # noqa: F401

        self.files = [path.read_bytes() for path in sorted(SEEDS.glob(f"*{self.suffix}"))]
        self.run = RunDir(folder / "run")
        self.file = self.run.stage("train") / f"model{self.suffix}"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(self.files[0])
        atomic_write_text(self.run.path / "config.toml", "")
        self.run.write_record("train", inputs=[], outputs=[self.file], config={}, results={})

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As a model of a run, and as a stranger's to ``predict``."""
        self.file.write_bytes(data)
        if data != self.files[0]:
            must_be_refused(self.file, self.run)
        path = folder / f"stranger{self.suffix}"
        path.write_bytes(data)
        tried(path, say)
        opened = open_model(path).classifier
        size = opened.spec.height, opened.spec.width
        opened.classify(np.full((2, *size, 3), 99, np.uint8))
        import tf_keras

        tf_keras.backend.clear_session()


class Keras(_Model):
    """The zip of Keras 3."""

    name = "keras"
    suffix = ".keras"

    def make(self, rand: random.Random) -> bytes:
        """A quarter bytes of the zip; the others its members, zipped again."""
        data = rand.choice(self.files)
        if rand.random() < 0.25:
            return mutate.mutated(rand, data, self.files)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        what = rand.random()
        if what < 0.65:
            config = json.loads(members["config.json"])
            members["config.json"] = _dumped(rand, config, members["config.json"])
        elif what < 0.9:
            members["model.weights.h5"] = _weights(rand, members["model.weights.h5"])
        elif what < 0.95:
            members["metadata.json"] = _dumped(rand, json.loads(members["metadata.json"]), b"{}")
        else:
            members[rand.choice(("../evil.py", "assets/a", "config.json2", "/etc/x"))] = (
                b"import os"
            )
        stream = io.BytesIO()
        way = rand.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(stream, "w", way) as archive:
            for name, body in members.items():
                archive.writestr(name, body)
        return stream.getvalue()


class Hdf5(_Model):
    """The older single file."""

    name = "h5"
    suffix = ".h5"

    def make(self, rand: random.Random) -> bytes:
        """Bytes of the file, its configuration, or its arrays and links."""
        data = rand.choice(self.files)
        what = rand.random()
        if what < 0.4:
            return mutate.mutated(
                rand, data, self.files, [b"TREE", b"HEAP", b"SNOD", b"OHDR", b"\x89HDF\r\n\x1a\n"]
            )
        if what < 0.8:
            stream = io.BytesIO(data)
            with h5py.File(stream, "r+") as file:
                text = _dumped(rand, json.loads(file.attrs["model_config"]), b"{}")
                file.attrs["model_config"] = text.replace(b"\0", b" ").decode("utf-8", "replace")
            return stream.getvalue()
        return _weights(rand, data)


def _dumped(rand: random.Random, config: Any, otherwise: bytes) -> bytes:
    if rand.random() < 0.1:
        return mutate.mutated(rand, json.dumps(config).encode())
    try:
        return json.dumps(mutate.tree(rand, config, NASTY)).encode("utf-8", "replace")
    except RecursionError:
        return otherwise


def _weights(rand: random.Random, data: bytes) -> bytes:
    """The arrays of an HDF5 file: another shape or type, gone, a link to elsewhere, a bomb, or damaged."""
    if rand.random() < 0.4:
        return mutate.mutated(rand, data)
    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        found: list[str] = []
        file.visititems(
            lambda name, each: found.append(name) if isinstance(each, h5py.Dataset) else None
        )
        name, what = rand.choice(found), rand.random()
        array = np.asarray(file[name])
        del file[name]
        if what < 0.2:
            file[name] = h5py.ExternalLink("/etc/passwd", "/")
        elif what < 0.3:
            file[name] = h5py.SoftLink("/")
        elif what < 0.4:
            file.create_dataset(name, (10**6, 10**4), "f4", chunks=(1000, 1000), compression="gzip")
        elif what < 0.5:
            file.create_dataset(name, (16,), "f4", external=[("/etc/passwd", 0, 64)])
        elif what < 0.7:
            file[name] = array.astype(rand.choice(("f8", "i4", "u1", "S3", "c8")))
        elif what < 0.9:
            file[name] = np.resize(array, rand.choice(((0,), (1,), (3, 3), (2, 2, 2, 2), (7,))))
        if rand.random() < 0.3:
            file.attrs[rand.choice(list(file.attrs) or ["x"])] = rand.choice(
                ("", "x" * 5000, 7, b"\xff")
            )
    return stream.getvalue()
