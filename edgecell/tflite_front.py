"""Adding to a .tflite file without writing it anew: a new front in front of the old bytes.

A flatbuffer grows towards its front, and an offset counts from its end. With the old file as the end of
the new one, new tables can point at what is in it, and every weight stays byte for byte as it was, a
multiple of 64 further back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgecell.errors import ArtifactError

_ALIGNMENT = 64  # no constant of a .tflite is aligned to more
# Place in the schema → function that sets the field of a Model.
_FIELDS: dict[int, Callable[[Any, int], None]] = {
    1: schema.ModelAddOperatorCodes,
    2: schema.ModelAddSubgraphs,
    3: schema.ModelAddDescription,
    4: schema.ModelAddBuffers,
    5: schema.ModelAddMetadataBuffer,
    6: schema.ModelAddMetadata,
    7: schema.ModelAddSignatureDefs,
}


class Front:
    """A builder whose end is ``model``, a checked .tflite flatbuffer without a zip behind it.

    Attributes:
        old: the old root. builder: where new tables are written. end: where offsets count from.

    Raises:
        ArtifactError: constants behind the flatbuffer, which would be looked for at their old place.
    """

    def __init__(self, model: bytes, what: str) -> None:
        """``what`` the model is to take, for the message."""
        tail = model + bytes(-len(model) % _ALIGNMENT)
        self.end = len(tail)
        self.old = schema.Model.GetRootAs(tail, 0)
        if any(self.old.Buffers(i).Offset() > 1 for i in range(self.old.BuffersLength())):
            raise ArtifactError(
                f"a model whose constants lie behind the flatbuffer takes no {what}"
            )
        self.builder = flatbuffers.Builder(0)
        self.builder.Bytes, self.builder.head = bytearray(_ALIGNMENT) + tail, _ALIGNMENT
        self.builder.minalign = _ALIGNMENT

    def at(self, table: Any) -> int:
        """The offset of an old table, given as the schema's reader."""
        return self.end - int(table._tab.Pos)

    def field(self, table: Any, place: int) -> int:
        """The offset of what field ``place`` of an old table points at; 0 where it is not set."""
        at = table._tab.Offset(4 + 2 * place)
        return self.end - int(table._tab.Indirect(table._tab.Pos + at)) if at else 0

    def tables(self, offsets: Sequence[int]) -> int:
        """A list of tables."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def numbers(self, values: Sequence[int]) -> int:
        """A list of int32."""
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def buffer(self, data: bytes | NDArray[Any]) -> int:
        """A Buffer with ``data``, aligned to 16 as the schema asks for."""
        content = data if isinstance(data, bytes) else data.tobytes()
        self.builder.StartVector(1, len(content), 16)
        self.builder.head -= len(content)
        self.builder.Bytes[self.builder.head : self.builder.head + len(content)] = content
        vector = self.builder.EndVector()
        schema.BufferStart(self.builder)
        schema.BufferAddData(self.builder, vector)
        return int(schema.BufferEnd(self.builder))

    def finish(self, changed: Mapping[Callable[[Any, int], None], int]) -> bytes:
        """The new file: a root with ``changed`` fields (``schema.ModelAdd…`` → offset), the others as before."""
        fields = {add: self.field(self.old, place) for place, add in _FIELDS.items()} | dict(
            changed
        )
        schema.ModelStart(self.builder)
        schema.ModelAddVersion(self.builder, self.old.Version())
        for add, offset in fields.items():
            if offset:
                add(self.builder, offset)
        self.builder.Finish(schema.ModelEnd(self.builder), b"TFL3")
        return bytes(self.builder.Output())
