"""What a file of an edge format weighs and costs: parameters and multiply-accumulates, of an .onnx file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, inliner

from compress.errors import ExportError
from exports.graph.model_file import at_batch_one, inputs, parse, read_bytes
from exports.graph.strip import graphs

Shape = tuple[int | str, ...]

_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = ("Gemm", "MatMul", "MatMulInteger")
_INDEX_TYPES = (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)


@dataclass(frozen=True)
class GraphCensus:
    """The size and cost of a file of an edge format.

    Attributes:
        parameters: Values stored in the file, but for shapes, axes and indices.
        macs: Multiply-accumulates of convolutions and matrix products at batch 1; None where a shape is left open.
        operators: Type to count, the most frequent first.
        versions: Name to number of what the format counts of itself, e.g. of its operator set.
        input_shape: Of the first input, as the file lays it out; a name where a side is open, "?" where it has none.
        output_shape: Of the first output, alike.
    """

    parameters: int
    macs: int | None
    operators: Mapping[str, int]
    versions: Mapping[str, int]
    input_shape: Shape
    output_shape: Shape

    @property
    def nodes(self) -> int:
        """Of the whole graph."""
        return sum(self.operators.values())


def graph_census(path: Path) -> GraphCensus:
    """The census of an .onnx file.

    Raises:
        ExportError: The file is not an ONNX model, or asks for more than `exports.graph.model_file` allows.
    """
    model = _load(path)
    parts = list(graphs(model.graph))
    operators = Counter(node.op_type for graph in parts for node in graph.node)
    return GraphCensus(
        parameters=sum(_stored(graph) for graph in parts),
        macs=_macs(at_batch_one(path, model)),
        operators=dict(operators.most_common()),
        versions={"opset": _opset(model), "ir_version": model.ir_version},
        input_shape=shape_of(inputs(model.graph)[0]),
        output_shape=shape_of(model.graph.output[0]),
    )


def _opset(model: ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _load(path: Path) -> ModelProto:
    model = parse(path, read_bytes(path))
    try:
        return inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # the C++ behind it raises whatever it met
        raise ExportError(f"{path}: its functions cannot be counted: {error!s:.300}; export it again") from error


def _stored(graph: GraphProto) -> int:
    constants = (attribute.t for node in graph.node if node.op_type == "Constant" for attribute in node.attribute)
    tensors = (tensor for tensor in (*graph.initializer, *constants) if tensor.data_type not in _INDEX_TYPES)
    return sum(math.prod(tensor.dims) for tensor in tensors)


def shape_of(value: ValueInfoProto) -> Shape:
    """The sides of an input, an output or a value: a name where one is open, "?" where it has none."""
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in sides)


def _macs(graph: GraphProto) -> int | None:
    shapes = {value.name: shape_of(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in _CONVOLUTIONS or node.op_type in _PRODUCTS:
            cost = _node_macs(node, shapes)
            if cost is None:
                return None
            total += cost
    return total


def _node_macs(node: NodeProto, shapes: Mapping[str, Shape]) -> int | None:
    """One product for each output value and each input value it sums over."""
    out = _known(shapes.get(node.output[0]))
    if node.op_type in _CONVOLUTIONS:
        weight = _known(shapes.get(node.input[_CONVOLUTIONS[node.op_type]]))
        return None if out is None or weight is None else math.prod(out) * math.prod(weight[1:])
    left = _known(shapes.get(node.input[0]))
    if out is None or not left:
        return None
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(out) * left[0 if transposed else -1]


def _known(shape: Shape | None) -> tuple[int, ...] | None:
    """The shape where each of its sides is a number, else None."""
    if shape is None:
        return None
    sides = tuple(side for side in shape if isinstance(side, int))
    return sides if len(sides) == len(shape) else None
