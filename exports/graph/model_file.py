"""The model in an .onnx file, ours or a stranger's, once it is sure that working on it stays within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, shape_inference

from compress.errors import ExportError
from exports.graph.strip import graphs

LARGEST_FILE_BYTES = 2**31 - 1
LARGEST_SIDE = 8192
LARGEST_INPUT = 2**28
LARGEST_VALUE = 2**29

_HINT_LENGTH = 1024


def read_bytes(path: Path, kind: str = "an .onnx file") -> bytes:
    """The content of a file; ExportError if it is missing, no file, too large or unreadable.

    Args:
        path: The file.
        kind: What it ought to be, for messages.
    """
    if path.is_dir():
        raise ExportError(f"{path} is a folder; give {kind}")
    try:
        if not path.exists():
            raise ExportError(f"{path} does not exist; give {kind}, as `edgepress export` writes them")
        if not path.is_file():
            raise ExportError(f"{path} is not a file; give {kind}")
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise ExportError(f"{path}: has {size:,} bytes; {kind} has at most {LARGEST_FILE_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror or error}") from error


def parse(path: Path, content: bytes) -> ModelProto:
    """The model in the content of a file, whose tensors, inputs and intermediate values are of a size that can be held.

    Values are measured at batch 1, as far as shape inference can tell them without running anything.

    Raises:
        ExportError: It is not an ONNX model, is damaged, or asks for more than a toolkit for small networks gives.
    """
    try:
        model: ModelProto = ModelProto.FromString(content)
        if not model.graph.node or not model.graph.output or not inputs(model.graph):
            raise ExportError(
                f"{path}: is not an ONNX model with an input, nodes and an output, or is damaged; export it again"
            )
        _check_tensors(path, model)
        _check_inputs(path, model.graph)
        _check_values(path, at_batch_one(path, model))
    except (DecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: is not an ONNX model, or is damaged ({error}); export it again") from error
    return model


def inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The inputs that a caller gives: those that no stored tensor fills."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def has_external_data(model: ModelProto) -> bool:
    """Whether some of its tensors lie in another file."""
    return any(tensor.data_location == TensorProto.EXTERNAL for tensor in _tensors(model))


def at_batch_one(path: Path, model: ModelProto) -> GraphProto:
    """The graph for one image, with the shape of every value that can be told.

    Raises:
        ExportError: Its shapes contradict each other.
    """
    fixed = _outline(model)
    graph = fixed.graph
    graph.ClearField("value_info")
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in inputs(graph):
        sides = value.type.tensor_type.shape.dim
        if sides:
            sides[0].dim_value = 1
    try:
        return shape_inference.infer_shapes(fixed, data_prop=True).graph
    except Exception as error:  # the C++ behind it raises whatever the operator at hand throws
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"{path}: its shapes do not fit each other: {reason:.300}; export it again") from error


def _outline(model: ModelProto) -> ModelProto:
    """A copy without the values of large tensors, which say nothing of shapes."""
    outline = ModelProto()
    outline.CopyFrom(model)
    for tensor in _tensors(outline):
        if math.prod(tensor.dims) > _HINT_LENGTH:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
    return outline


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    nodes = [node for function in model.functions for node in function.node]
    for graph in graphs(model.graph):
        yield from graph.initializer
        nodes += graph.node
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors) if attribute.HasField("t") else attribute.tensors


def _check_tensors(path: Path, model: ModelProto) -> None:
    total = 0
    for tensor in _tensors(model):
        if any(side < 0 for side in tensor.dims):
            raise ExportError(f"{path}: a stored tensor has the shape {_few(tensor.dims)}; export it again")
        total += math.prod(tensor.dims) * _item_bytes(tensor)
        if total > LARGEST_FILE_BYTES:
            raise ExportError(
                f"{path}: stores more than {LARGEST_FILE_BYTES:,} bytes of tensors (one of shape {_few(tensor.dims)}); "
                "edgepress runs smaller networks"
            )


def _check_inputs(path: Path, graph: GraphProto) -> None:
    for value in inputs(graph):
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim if side.HasField("dim_value")]
        if any(side > LARGEST_SIDE for side in sides) or math.prod(max(1, side) for side in sides) > LARGEST_INPUT:
            raise ExportError(
                f"{path}: takes input of shape {_few(sides)}; sides may be up to {LARGEST_SIDE}, and all values of an "
                f"input up to {LARGEST_INPUT:,}"
            )


def _check_values(path: Path, graph: GraphProto) -> None:
    for part in graphs(graph):
        for value in (*part.value_info, *part.output):
            sides = [side.dim_value for side in value.type.tensor_type.shape.dim if side.HasField("dim_value")]
            if math.prod(max(1, side) for side in sides) > LARGEST_VALUE:
                raise ExportError(
                    f"{path}: computes a value of shape {_few(sides)} for one image; up to {LARGEST_VALUE:,} numbers "
                    "are allowed"
                )


def _item_bytes(tensor: TensorProto) -> int:
    try:
        return max(1, helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError, ValueError):
        return 1


def _few(sides: object, shown: int = 6) -> str:
    numbers = [str(side) for side in sides]  # type: ignore[attr-defined]
    return "(" + ", ".join(numbers[:shown]) + (", ..." if len(numbers) > shown else "") + ")"
