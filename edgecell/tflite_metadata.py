"""TFLite Metadata: what a .tflite file says of itself to MediaPipe Tasks and the Task libraries.

A flatbuffer of :mod:`edgecell.metadata_schema` in a buffer of the model that the name TFLITE_METADATA
points to, and a zip at the end of the file with what it names (labels).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgecell.errors import ArtifactError
from edgecell.metadata_schema import pack, unpack
from edgecell.tflite_file import DAMAGE, parse
from edgecell.tflite_front import Front

NAME = "TFLITE_METADATA"
_MOST_FILES = 64_000_000


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself: ``model`` is the ModelMetadata table, ``files`` the zip's content."""

    model: dict[str, Any]
    files: dict[str, bytes]


def attach(model: bytes, metadata: Metadata) -> bytes:
    """``model`` with these metadata instead of its own, the graph's bytes where and as they were.

    No operator, tensor or weight is written anew (:mod:`edgecell.tflite_front`): the predictions cannot
    change.

    Raises:
        ArtifactError: no TFLite file, a damaged one, or one with constants behind the flatbuffer.
    """
    parse(model)
    front = Front(model[: _zip_start(model)], "metadata")
    old, builder = front.old, front.builder
    buffers = [front.at(old.Buffers(i)) for i in range(old.BuffersLength())]
    entries = [
        front.at(old.Metadata(i))
        for i in range(old.MetadataLength())
        if old.Metadata(i).Name() != NAME.encode()
    ]
    buffers.append(front.buffer(pack(metadata.model)))
    name = builder.CreateString(NAME)
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, name)
    schema.MetadataAddBuffer(builder, len(buffers) - 1)
    entries.append(schema.MetadataEnd(builder))
    graph = front.finish(
        {
            schema.ModelAddBuffers: front.tables(buffers),
            schema.ModelAddMetadata: front.tables(entries),
        }
    )
    return _with_zip(graph, metadata.files)


def _with_zip(model: bytes, files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo's own date: 1980
    return stream.getvalue()


def read(model: bytes, name: str = "the model") -> Metadata | None:
    """The metadata in a .tflite file; None where it has none.

    Raises:
        ArtifactError: no TFLite file, or damaged ones.
    """
    parse(model, name)
    try:
        root = schema.Model.GetRootAs(model, 0)
        for i in range(min(root.MetadataLength(), len(model))):
            if root.Metadata(i).Name() == NAME.encode():
                buffer = root.Buffers(root.Metadata(i).Buffer())
                return Metadata(unpack(buffer.DataAsNumpy().tobytes()), _zipped(model))
    # A zip can be damaged, encrypted (RuntimeError), or packed in a way that nobody unpacks.
    except (*DAMAGE, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ArtifactError(f"{name} has damaged metadata ({error})") from error
    return None


def _zipped(model: bytes) -> dict[str, bytes]:
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return {}
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > _MOST_FILES:
            raise ValueError(f"associated files of {size:,} bytes; allowed: {_MOST_FILES:,}")
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def _zip_start(model: bytes) -> int:
    """Where the zip at the end of the file begins; its end where there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            return min((entry.header_offset for entry in archive.infolist()), default=len(model))
    except zipfile.BadZipFile:
        return len(model)
