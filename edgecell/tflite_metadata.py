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

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgecell.errors import ArtifactError
from edgecell.metadata_schema import pack, unpack
from edgecell.tflite_file import DAMAGE, parse

NAME = "TFLITE_METADATA"
_MOST_FILES = 64_000_000
_ALIGNMENT = 64  # no constant of a .tflite is aligned to more


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself: ``model`` is the ModelMetadata table, ``files`` the zip's content."""

    model: dict[str, Any]
    files: dict[str, bytes]


def attach(model: bytes, metadata: Metadata) -> bytes:
    """``model`` with these metadata instead of its own, the graph's bytes where and as they were.

    A new root table in front of the old file points into it, so that no operator, tensor or weight is
    written anew: the predictions cannot change, and every weight keeps its alignment.

    Raises:
        ArtifactError: no TFLite file, a damaged one, or one with constants behind the flatbuffer.
    """
    parse(model)
    graph = model[: _zip_start(model)]
    graph += bytes(-len(graph) % _ALIGNMENT)
    old = schema.Model.GetRootAs(graph, 0)
    if any(old.Buffers(i).Offset() > 1 for i in range(old.BuffersLength())):
        raise ArtifactError("a model whose constants lie behind the flatbuffer takes no metadata")
    builder = flatbuffers.Builder(0)
    # A flatbuffer grows towards its front, and an offset counts from its end: with the old file as the
    # end of the new one, what is in it can be pointed at.
    builder.Bytes, builder.head = bytearray(_ALIGNMENT) + graph, _ALIGNMENT
    builder.minalign = _ALIGNMENT
    buffers = [_from_end(graph, old.Buffers(i)) for i in range(old.BuffersLength())]
    entries = [
        _from_end(graph, old.Metadata(i))
        for i in range(old.MetadataLength())
        if old.Metadata(i).Name() != NAME.encode()
    ]
    data = _aligned_bytes(builder, pack(metadata.model))
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    buffers.append(schema.BufferEnd(builder))
    name = builder.CreateString(NAME)
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, name)
    schema.MetadataAddBuffer(builder, len(buffers) - 1)
    entries.append(schema.MetadataEnd(builder))
    vectors = {
        schema.ModelAddBuffers: _offsets(builder, buffers),
        schema.ModelAddMetadata: _offsets(builder, entries),
    }
    # The other fields stay where they are: place in the schema → function that points at them.
    kept = {
        1: schema.ModelAddOperatorCodes,
        2: schema.ModelAddSubgraphs,
        3: schema.ModelAddDescription,
        5: schema.ModelAddMetadataBuffer,
        7: schema.ModelAddSignatureDefs,
    }
    for place, add in kept.items():
        at = old._tab.Offset(4 + 2 * place)
        if at:
            vectors[add] = len(graph) - old._tab.Indirect(old._tab.Pos + at)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, old.Version())
    for add, offset in vectors.items():
        add(builder, offset)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return _with_zip(bytes(builder.Output()), metadata.files)


def _from_end(graph: bytes, table: Any) -> int:
    return len(graph) - int(table._tab.Pos)


def _offsets(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _aligned_bytes(builder: flatbuffers.Builder, data: bytes) -> int:
    builder.StartVector(1, len(data), 16)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return int(builder.EndVector())


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
