"""What a .tflite file weighs and costs, told from its shapes as they are declared."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

from exports.graph.census import GraphCensus, Shape
from exports.litert.model_file import Graph, Operator, parse, read_bytes

_NUMBERS = ("FLOAT32", "FLOAT16", "FLOAT64", "INT8", "UINT8", "INT16", "INT4")
_FREE = ("CONV_3D", "CONV_3D_TRANSPOSE", "TRANSPOSE_CONV", "SVDF", "WHILE", "IF", "CALL", "CALL_ONCE")
_FREE_ENDS = ("RNN", "LSTM")


def graph_census(path: Path) -> GraphCensus:
    """The census of a .tflite file; its MACs are None where a shape is open, or a product is of a kind not counted.

    Raises:
        ExportError: The file is not a .tflite file.
    """
    model = parse(path, read_bytes(path))
    first = model.graphs[0]
    operators = Counter(one.kind for graph in model.graphs for one in graph.operators)
    return GraphCensus(
        parameters=sum(_stored(graph) for graph in model.graphs),
        macs=_macs(first),
        operators=dict(operators.most_common()),
        versions={"schema": model.version},
        input_shape=_shape(first, first.inputs[0]),
        output_shape=_shape(first, first.outputs[0]),
    )


def _stored(graph: Graph) -> int:
    """Values that are stored, but for whole numbers that nothing scales: those are shapes and axes."""
    constants = [tensor for tensor in graph.tensors if tensor.span[1] > tensor.span[0]]
    return sum(prod(tensor.shape) for tensor in constants if tensor.kind in _NUMBERS or tensor.scales)


def _shape(graph: Graph, index: int) -> Shape:
    sides = graph.tensors[index].shape
    return tuple(("?" if axis else "batch") if side < 0 else side for axis, side in enumerate(sides))


def _macs(graph: Graph) -> int | None:
    """One product for each output value and each input value it sums over, for one image."""
    total = 0
    for operator in graph.operators:
        cost = _operator_macs(graph, operator)
        if cost is None:
            return None
        total += cost
    images = graph.tensors[graph.inputs[0]].shape[:1]
    return total // max(1, *images) if images else total


def _operator_macs(graph: Graph, operator: Operator) -> int | None:
    kind = operator.kind
    if kind in _FREE or kind.endswith(_FREE_ENDS) or kind.startswith(("CUSTOM", "STABLEHLO")):
        return None
    if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"):
        return 0
    out = _known(graph, operator.outputs[0])
    weight = _known(graph, operator.inputs[0 if operator.kind == "BATCH_MATMUL" else 1])
    if out is None or weight is None:
        return None
    if operator.kind == "CONV_2D":
        return prod(out) * prod(weight[1:])
    if operator.kind == "DEPTHWISE_CONV_2D":
        return prod(out) * prod(weight[1:3])
    turned = ("adjX", "True") in operator.options
    return prod(out) * weight[-2 if turned else -1]


def _known(graph: Graph, index: int) -> tuple[int, ...] | None:
    """The shape of a tensor for one image; None where it is open, or no shape."""
    shape = graph.tensors[index].shape
    shape = (1, *shape[1:]) if shape and shape[0] < 0 else shape
    return shape if shape and min(shape) > 0 else None
