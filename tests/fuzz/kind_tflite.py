"""Converted models: bytes of the flatbuffer, and what its tables say."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecell import quarantine
from edgecell.disk import atomic_write_text, sha256_bytes
from edgecell.errors import ArtifactError, EdgecellError
from edgecell.pipeline.inspecting import inspect_file
from edgecell.pipeline.opening import open_model
from edgecell.pipeline.vouching import admit
from edgecell.rundir import RunDir

from . import mutate
from .harness import CONTAINED, SilentAcceptance

Say = Callable[[str], None]
SEEDS = Path(__file__).parent / "seeds"
# Operators that classifiers have, and those that bring other graphs, variables or tables with them.
_CODES = (
    *range(0, 40),
    *(47, 53, 65, 78, 82, 83, 97, 106, 114, 117, 118, 119, 126, 127, 129, 142),
    *range(150, 210),
)


def must_be_refused(file: Path, run: RunDir) -> None:
    """SilentAcceptance where ``file``, which is not what the record of ``run`` says, is let in."""
    try:
        admit(file, run)
    except ArtifactError as error:
        assert "was altered" in str(error), error
    else:
        raise SilentAcceptance("a file with another hash than its record's")


class Tflite:
    """Files of every precision, with and without metadata."""

    name = "tflite"

    def prepare(self, folder: Path) -> None:
        """The seeds, and a run whose record names one of them."""
        self.files = [path.read_bytes() for path in sorted(SEEDS.glob("*.tflite"))]
        self.words = [b"TFL3", b"TFLITE_METADATA", b"M001", b"PK\x03\x04", b"PK\x05\x06", b"CUSTOM"]
        self.run = RunDir(folder / "run")
        self.file = self.run.stage("quantize") / "int8.tflite"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(self.files[-1])
        atomic_write_text(self.run.path / "config.toml", "")
        self.run.write_record("quantize", inputs=[], outputs=[self.file], config={}, results={})

    def make(self, rand: random.Random) -> bytes:
        """Half of them bytes, half tables, packed anew by the schema's own code."""
        data = rand.choice(self.files)
        if rand.random() < 0.5:
            return mutate.mutated(rand, data, self.files, self.words)
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        try:
            for _ in range(rand.choice((1, 1, 2, 3))):
                _change(rand, model)
            builder = flatbuffers.Builder(len(data))
            builder.Finish(model.Pack(builder), b"TFL3")
            return bytes(builder.Output())
        except Exception:  # what cannot be packed is no input
            return mutate.mutated(rand, data, self.files, self.words)

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As ``inspect``, as a file of a run, and as a stranger's to ``predict``."""
        self.file.write_bytes(data)
        if data not in self.files:
            must_be_refused(self.file, self.run)
        path = folder / "stranger.tflite"
        path.write_bytes(data)
        inspect_file(path)
        tried(path, say)
        opened = open_model(path).classifier
        size = opened.spec.height, opened.spec.width
        opened.classify(np.full((2, *size, 3), 99, np.uint8))


def tried(path: Path, say: Say) -> None:
    """What the child process does, in the phase of that name; then this process knows the file as tried."""
    say(CONTAINED)
    try:
        quarantine.attempt(path)
    except EdgecellError:
        raise
    except Exception as error:  # as quarantine.main takes it
        raise ArtifactError(f"in the child: {type(error).__name__}") from error
    say("")
    quarantine._TRIED.add(sha256_bytes(path.read_bytes()))


def _change(rand: random.Random, model: Any) -> None:
    """One number or list of one table, of any depth."""
    holder = model
    for _ in range(rand.choice((1, 2, 3, 3, 4))):
        inner = [v for v in vars(holder).values() if hasattr(v, "__dict__")]
        lists = [
            v
            for v in vars(holder).values()
            if isinstance(v, list) and v and hasattr(v[0], "__dict__")
        ]
        if not inner and not lists:
            break
        below = [*inner, *(rand.choice(each) for each in lists)]
        holder = rand.choice(below)
    name = rand.choice(list(vars(holder)))
    old = getattr(holder, name)
    if name in ("builtinCode", "deprecatedBuiltinCode"):
        code = rand.choice(_CODES)
        holder.builtinCode, holder.deprecatedBuiltinCode = code, min(code, 127)
    elif isinstance(old, bool):
        setattr(holder, name, not old)
    elif isinstance(old, int):
        setattr(holder, name, rand.choice((rand.randrange(-1, 40), mutate.integer(rand, old))))
    elif isinstance(old, float):
        setattr(holder, name, rand.choice((0.0, -1.0, 1e38, float("nan"), float("inf"))))
    elif isinstance(old, list | np.ndarray) and len(old):
        _change_list(rand, holder, name, old)
    elif isinstance(old, bytes | str):
        setattr(holder, name, rand.choice((None, b"", b"x" * 500, b"TFLITE_METADATA", b"\xff\xfe")))


def _change_list(rand: random.Random, holder: Any, name: str, old: Any) -> None:
    entries, what = list(old), rand.random()
    at = rand.randrange(len(entries))
    if what < 0.2:
        del entries[at]
    elif what < 0.35:
        entries.insert(at, rand.choice(entries))
    elif what < 0.45:
        entries.reverse()
    elif what < 0.5:
        entries *= rand.choice((0, 2, 50))
    elif isinstance(old, np.ndarray) or isinstance(entries[0], int | float):
        entries[at] = type(entries[at])(
            rand.choice((rand.randrange(-1, 40), rand.choice((0, 1, 2**31 - 1, -2, 127))))
        )
    else:
        entries[at] = rand.choice(entries)
    try:
        setattr(
            holder, name, np.array(entries, old.dtype) if isinstance(old, np.ndarray) else entries
        )
    except (OverflowError, ValueError):
        setattr(holder, name, [])
