"""The resize inside of a finished file: an input of the images' own, smaller size, enlarged in the graph.

Clients resize each in their own way; one that gets a file of the image's size leaves the pixels alone.
Bilinear with half-pixel centres, as :mod:`edgecell.preprocess` enlarges, in the same order: all rows, then
all columns, each pass rounded in an integer file. Enlarging needs no antialias; shrinking would, and
RESIZE_BILINEAR has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecell import tflite_file
from edgecell.errors import ConvertError
from edgecell.graph import enlarging_operators
from edgecell.tflite_file import Tensor
from edgecell.tflite_front import Front

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class _Step:
    """An operator to write: the place of its code, the tensors it reads, the one it writes."""

    code: int
    inputs: Sequence[int]
    output: int


def enlarged(model: bytes, size: Size) -> bytes:
    """``model`` with an input of ``size`` that it enlarges to its own; weights and scales stay as they are.

    The resize comes behind a QUANTIZE at the input: that one has fewer pixels to do, and
    microcontrollers resize int8 only. The old bytes are the end of the new file.

    Raises:
        ConvertError: a size that is larger than the model's in a direction, or is its own, or a model
            that resizes already. ArtifactError: no TFLite file, or a damaged one.
    """
    file = tflite_file.parse(model)
    if enlarging_operators(file):
        raise ConvertError("the model resizes its input already; take the file it was made from")
    if len(file.inputs) != 1 or len(file.tensors[file.inputs[0]].shape) != 4:
        raise ConvertError(
            "a model with one image as its input takes a resize, this one has another"
        )
    entry = file.tensors[file.inputs[0]]
    full = (entry.shape[1], entry.shape[2])
    check_enlarges(size, full)
    front = Front(model, "resize")
    graph = front.old.Subgraphs(0)
    tensors = [front.at(graph.Tensors(i)) for i in range(graph.TensorsLength())]
    operators = [front.at(graph.Operators(i)) for i in range(graph.OperatorsLength())]
    buffers = [front.at(front.old.Buffers(i)) for i in range(front.old.BuffersLength())]
    codes = [front.at(front.old.OperatorCodes(i)) for i in range(front.old.OperatorCodesLength())]

    def add(tensor: int) -> int:
        tensors.append(tensor)
        return len(tensors) - 1

    def constant(numbers: Sequence[int]) -> int:
        buffers.append(front.buffer(np.array(numbers, "<i4")))
        return add(_tensor(front, "resize/size", schema.TensorType.INT32, (2,), len(buffers) - 1))

    def activation(like: Tensor, name: str, height: int, width: int) -> int:
        shape = (1, height, width, like.shape[3])
        old = graph.Tensors(like.index)
        return _tensor(front, name, old.Type(), shape, 0, front.field(old, 4))

    new_input = add(activation(entry, entry.name, *size))
    first = file.consumers(entry.index)
    before: list[_Step] = []
    target, source = entry, new_input
    if len(first) == 1 and first[0].name == "QUANTIZE":
        # The place of the old input is free: nothing else reads it.
        target = file.tensors[first[0].outputs[0]]
        tensors[entry.index] = activation(target, "resize/pixels", *size)
        source = entry.index
        quantize = graph.Operators(first[0].index)
        before = [_Step(quantize.OpcodeIndex(), [new_input], source)]
        del operators[first[0].index]
    codes.append(_resize_code(front, target.dtype))
    passes = [s for s in dict.fromkeys(((size[0], full[1]), full)) if s != size]
    for height, width in passes:
        last = (height, width) == full
        output = target.index if last else add(activation(target, "resize/rows", height, width))
        before.append(_Step(len(codes) - 1, [source, constant((height, width))], output))
        source = output
    operators = [_operator(front, step, step.code == len(codes) - 1) for step in before] + operators
    changed = {
        schema.ModelAddOperatorCodes: front.tables(codes),
        schema.ModelAddBuffers: front.tables(buffers),
        schema.ModelAddSubgraphs: _subgraphs(front, tensors, operators, new_input),
    }
    if front.old.SignatureDefsLength():
        changed[schema.ModelAddSignatureDefs] = _signatures(front, entry.index, new_input)
    return front.finish(changed)


def check_enlarges(size: Size, full: Size) -> None:
    """ConvertError unless images of ``size`` only grow on their way to ``full``."""
    if size == full:
        raise ConvertError(
            f"the images have the model's own size, {_text(full)} pixels: there is nothing to resize"
        )
    if size[0] > full[0] or size[1] > full[1]:
        raise ConvertError(
            f"images of {_text(size)} pixels are larger than the model's {_text(full)}: shrinking takes"
            " an antialias, which TFLite's resize does not have; feed this model what model.json of its"
            " bundle says"
        )


def resize_violations(model: bytes, size: Size) -> list[str]:
    """In what a file is not one that enlarges images of ``size`` as edgecell does, a line each."""
    file = tflite_file.parse(model)
    found = enlarging_operators(file)
    entry = file.tensors[file.inputs[0]]
    lines = []
    if entry.shape[1:3] != tuple(size):
        lines.append(f"input shape {entry.shape}, allowed (1, {size[0]}, {size[1]}, 3)")
    if not found:
        lines.append("no RESIZE_BILINEAR at its input")
    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    for op in found:
        options = schema.ResizeBilinearOptions()
        table = graph.Operators(op.index).BuiltinOptions()
        if table is None:
            lines.append(f"operator {op.name} {op.index} has no options")
            continue
        options.Init(table.Bytes, table.Pos)
        if not options.HalfPixelCenters() or options.AlignCorners():
            lines.append(
                f"operator {op.name} {op.index} resizes without half-pixel centres, which the training has"
            )
        entry, leave = file.tensors[op.inputs[0]], file.tensors[op.outputs[0]]
        kinds = [(t.dtype, t.scales, t.zero_points) for t in (entry, leave)]
        if kinds[0] != kinds[1]:
            lines.append(f"operator {op.name} {op.index} changes the scale of the pixels")
    return lines


def _text(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _tensor(
    front: Front, name: str, kind: int, shape: Sequence[int], buffer: int, quantization: int = 0
) -> int:
    text, dimensions = front.builder.CreateString(name), front.numbers(shape)
    schema.TensorStart(front.builder)
    schema.TensorAddShape(front.builder, dimensions)
    schema.TensorAddType(front.builder, kind)
    schema.TensorAddBuffer(front.builder, buffer)
    schema.TensorAddName(front.builder, text)
    if quantization:
        schema.TensorAddQuantization(front.builder, quantization)
    return int(schema.TensorEnd(front.builder))


def _resize_code(front: Front, dtype: str) -> int:
    schema.OperatorCodeStart(front.builder)
    number = schema.BuiltinOperator.RESIZE_BILINEAR
    schema.OperatorCodeAddDeprecatedBuiltinCode(front.builder, number)
    schema.OperatorCodeAddBuiltinCode(front.builder, number)
    # Half-pixel centres came with version 3, int16 with 4.
    schema.OperatorCodeAddVersion(front.builder, 4 if dtype == "INT16" else 3)
    return int(schema.OperatorCodeEnd(front.builder))


def _operator(front: Front, step: _Step, resizes: bool) -> int:
    builder = front.builder
    inputs, outputs = front.numbers(step.inputs), front.numbers([step.output])
    options = 0
    if resizes:
        schema.ResizeBilinearOptionsStart(builder)
        schema.ResizeBilinearOptionsAddHalfPixelCenters(builder, True)
        options = schema.ResizeBilinearOptionsEnd(builder)
    schema.OperatorStart(builder)
    schema.OperatorAddOpcodeIndex(builder, step.code)
    schema.OperatorAddInputs(builder, inputs)
    schema.OperatorAddOutputs(builder, outputs)
    if options:
        schema.OperatorAddBuiltinOptionsType(builder, schema.BuiltinOptions.ResizeBilinearOptions)
        schema.OperatorAddBuiltinOptions(builder, options)
    return int(schema.OperatorEnd(builder))


def _subgraphs(front: Front, tensors: list[int], operators: list[int], new_input: int) -> int:
    graph = front.old.Subgraphs(0)
    fields = {
        schema.SubGraphAddTensors: front.tables(tensors),
        schema.SubGraphAddInputs: front.numbers([new_input]),
        schema.SubGraphAddOutputs: front.field(graph, 2),
        schema.SubGraphAddOperators: front.tables(operators),
        schema.SubGraphAddName: front.field(graph, 4),
    }
    schema.SubGraphStart(front.builder)
    for add, offset in fields.items():
        if offset:
            add(front.builder, offset)
    made = schema.SubGraphEnd(front.builder)
    others = [front.at(front.old.Subgraphs(i)) for i in range(1, front.old.SubgraphsLength())]
    return front.tables([made, *others])


def _signatures(front: Front, old_input: int, new_input: int) -> int:
    builder, made = front.builder, []
    for i in range(front.old.SignatureDefsLength()):
        signature = front.old.SignatureDefs(i)
        entries = []
        for k in range(signature.InputsLength()):
            entry = signature.Inputs(k)
            index = entry.TensorIndex()
            schema.TensorMapStart(builder)
            schema.TensorMapAddName(builder, front.field(entry, 0))
            schema.TensorMapAddTensorIndex(builder, new_input if index == old_input else index)
            entries.append(schema.TensorMapEnd(builder))
        inputs = front.tables(entries)
        schema.SignatureDefStart(builder)
        schema.SignatureDefAddInputs(builder, inputs)
        schema.SignatureDefAddOutputs(builder, front.field(signature, 1))
        schema.SignatureDefAddSignatureKey(builder, front.field(signature, 2))
        schema.SignatureDefAddSubgraphIndex(builder, signature.SubgraphIndex())
        made.append(schema.SignatureDefEnd(builder))
    return front.tables(made)
