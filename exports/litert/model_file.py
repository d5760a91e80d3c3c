"""The model in a .tflite file, ours or a stranger's, read into plain data within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from compress.errors import ExportError
from exports.graph import model_file
from exports.graph.model_file import LARGEST_INPUT, LARGEST_SIDE, LARGEST_VALUE
from exports.litert.builder import IDENTIFIER

Span = tuple[int, int]

_MOST_SIDES = 8
_MOST_ENTRIES = 2**16
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Stored:
    """A tensor.

    Attributes:
        shape: As declared; -1 where the file leaves a side open.
        kind: Type of its values, e.g. "FLOAT32".
        scales: What brings its integers to float: a factor for all, or for each index of one axis; empty for none.
        span: (start, end) of its values in the file, in bytes; the two are equal for one that is computed.
    """

    shape: tuple[int, ...]
    kind: str
    scales: tuple[float, ...]
    span: Span


@dataclass(frozen=True)
class Operator:
    """An operator: its kind, the indices of the tensors it takes (-1: none) and gives, and its options by name."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Graph:
    """Tensors, the operators on them, and the indices of those that come in and go out."""

    tensors: tuple[Stored, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """What a .tflite file holds.

    Attributes:
        version: Of the schema.
        producer: What wrote the file, by what it says; "" where it does not.
        graphs: The first is the one that runs; the others are branches and bodies of loops.
        notes: Name and place in the file of what stands beside the graphs: (name, start, end) in bytes.
    """

    version: int
    producer: str
    graphs: tuple[Graph, ...]
    notes: tuple[tuple[str, int, int], ...]


def read_bytes(path: Path) -> bytes:
    """The content of a .tflite file; ExportError if it is missing, no file, too large or unreadable."""
    return model_file.read_bytes(path, "a .tflite file")


def parse(path: Path, content: bytes) -> Model:
    """The model in the content of a file.

    Raises:
        ExportError: It is not a .tflite file, is damaged, or asks for more than a toolkit for small networks gives.
    """
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise ExportError(f"{path}: is not a .tflite file, or is damaged; export it again")
    try:
        model = _model(schema.Model.GetRootAs(content, 0), content)
    except _DAMAGE as error:
        raise ExportError(f"{path}: is not a .tflite file, or is damaged ({error!s:.200}); export it again") from error
    if not model.graphs or not model.graphs[0].inputs or not model.graphs[0].outputs:
        raise ExportError(f"{path}: is not a .tflite file with an input and an output, or is damaged; export it again")
    _check_sizes(path, model)
    return model


def note(path: Path, model: Model, name: str) -> Span | None:
    """Where in the file the note of that name lies; None if there is none, ExportError if there are several."""
    found = [(start, end) for key, start, end in model.notes if key == name]
    if len(found) > 1:
        raise ExportError(f"{path}: its edgepress metadata are damaged: it has {len(found)} of them; export it again")
    return found[0] if found else None


def _model(model: Any, content: bytes) -> Model:
    spans = [_span(model.Buffers(number), content) for number in _count(model.BuffersLength(), content)]
    codes = [model.OperatorCodes(number) for number in _count(model.OperatorCodesLength(), content)]
    kinds = [_kind(code) for code in codes]
    graphs = [model.Subgraphs(number) for number in _count(model.SubgraphsLength(), content)]
    entries = [model.Metadata(number) for number in _count(model.MetadataLength(), content)]
    notes = tuple((_text(entry.Name()), *spans[entry.Buffer()]) for entry in entries)
    made = tuple(_graph(graph, kinds, spans, content) for graph in graphs)
    return Model(model.Version(), _text(model.Description()), made, notes)


def _graph(graph: Any, kinds: list[str], spans: list[Span], content: bytes) -> Graph:
    tensors = [graph.Tensors(number) for number in _count(graph.TensorsLength(), content)]
    operators = [graph.Operators(number) for number in _count(graph.OperatorsLength(), content)]
    made = Graph(
        tuple(_tensor(tensor, spans, content) for tensor in tensors),
        tuple(_operator(operator, kinds) for operator in operators),
        tuple(graph.Inputs(number) for number in _count(graph.InputsLength(), content)),
        tuple(graph.Outputs(number) for number in _count(graph.OutputsLength(), content)),
    )
    indices = [*made.inputs, *made.outputs, *(index for one in made.operators for index in (*one.inputs, *one.outputs))]
    if any(not -1 <= index < len(made.tensors) for index in indices) or -1 in (*made.inputs, *made.outputs):
        raise ValueError(f"a tensor is named that is none of its {len(made.tensors)}")
    return made


def _tensor(tensor: Any, spans: list[Span], content: bytes) -> Stored:
    if max(tensor.ShapeLength(), tensor.ShapeSignatureLength()) > _MOST_SIDES:
        raise ValueError(f"a tensor has {tensor.ShapeLength()} sides; up to {_MOST_SIDES} are possible")
    sides = [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]
    signature = [tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength())]
    return Stored(
        tuple(signature or sides),
        _TYPES.get(tensor.Type(), f"type {tensor.Type()}"),
        _scales(tensor.Quantization(), content),
        spans[tensor.Buffer()],
    )


def _scales(quantization: Any, content: bytes) -> tuple[float, ...]:
    if quantization is None:
        return ()
    return tuple(quantization.Scale(number) for number in _count(quantization.ScaleLength(), content))


def _operator(operator: Any, kinds: list[str]) -> Operator:
    count = max(operator.InputsLength(), operator.OutputsLength())
    if count > _MOST_ENTRIES:
        raise ValueError(f"an operator takes {count} tensors; up to {_MOST_ENTRIES} are possible")
    options = None
    if operator.BuiltinOptionsType():
        options = schema.BuiltinOptionsCreator(operator.BuiltinOptionsType(), operator.BuiltinOptions())
    return Operator(
        kinds[operator.OpcodeIndex()],
        tuple(operator.Inputs(number) for number in range(operator.InputsLength())),
        tuple(operator.Outputs(number) for number in range(operator.OutputsLength())),
        tuple(sorted((name, str(value)) for name, value in vars(options).items())) if options is not None else (),
    )


def _kind(code: Any) -> str:
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM {_text(code.CustomCode())}"
    return str(_NAMES.get(number, f"operator {number}"))


def _span(buffer: Any, content: bytes) -> Span:
    """Where the bytes of a buffer lie in the file."""
    size = buffer.DataLength()
    if not size:
        return 0, 0
    start = buffer._tab.Vector(buffer._tab.Offset(4))  # the schema's accessors give single bytes and a copy of all
    if not 0 <= start <= start + size <= len(content):
        raise ValueError("a buffer leaves the file")
    return start, start + size


def _count(length: int, content: bytes) -> Iterator[int]:
    """The numbers below a length that the file can hold as many entries of."""
    if not 0 <= length <= min(_MOST_ENTRIES, len(content) // 4):
        raise ValueError(f"a list of {length:,} entries in {len(content):,} bytes")
    return iter(range(length))


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _check_sizes(path: Path, model: Model) -> None:
    """Nothing, unless a tensor is larger than can be held; one side left open counts as 1."""
    first = model.graphs[0]
    for index in first.inputs:
        sides = first.tensors[index].shape
        if any(side > LARGEST_SIDE for side in sides) or _values(sides) > LARGEST_INPUT:
            raise ExportError(
                f"{path}: takes input of shape {sides}; sides may be up to {LARGEST_SIDE}, and all values of an input "
                f"up to {LARGEST_INPUT:,}"
            )
    for graph in model.graphs:
        for tensor in graph.tensors:
            if _values(tensor.shape) > LARGEST_VALUE:
                raise ExportError(f"{path}: computes a value of shape {tensor.shape}; it may have {LARGEST_VALUE:,}")


def _values(shape: tuple[int, ...]) -> int:
    return prod(max(1, side) for side in shape)


def text(path: Path, content: bytes, span: Span) -> str:
    """What a note says; ExportError where that is no text."""
    try:
        return content[slice(*span)].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path}: its edgepress metadata are damaged: {error}; export it again") from error
