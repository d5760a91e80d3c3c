"""The nodes of an ONNX graph that hold the weights of layers, and which layer of the network each of them is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from onnx import GraphProto, NodeProto

from compress.cost import Product

_KINDS = ("Conv", "Gemm", "MatMul")  # parts of the name of every operator that multiplies by a weight, fused or not
_ENDING = ".weight"

Makers = Mapping[str, int]


@dataclass(frozen=True)
class Weighted:
    """A node that multiplies by values that are stored in the file.

    Attributes:
        node: Its number in the graph.
        values: How many there are.
        stored_as: The name under which they are stored.
    """

    node: int
    values: int
    stored_as: str


def multiplies(operator: str) -> bool:
    """Whether an operator of ONNX, or of ONNX Runtime, is a convolution or a matrix product."""
    return any(kind in operator for kind in _KINDS)


def makers(graph: GraphProto) -> Makers:
    """Each value to the number of the node that makes it."""
    return {output: number for number, node in enumerate(graph.node) for output in node.output if output}


def weighted(graph: GraphProto) -> list[Weighted]:
    """The nodes with weights, in the order of the graph; a weight may be stored in codes that other nodes decode."""
    stored, made, found = _stored(graph), makers(graph), []
    for number, node in enumerate(graph.node):
        sources = [name for value in node.input for name in _sources(value, graph.node, made, stored)]
        if multiplies(node.op_type) and sources:
            name = max(sources, key=stored.__getitem__)
            found.append(Weighted(number, stored[name], name))
    return found


def layer_of_node(graph: GraphProto, products: Sequence[Product] = ()) -> dict[int, str]:
    """The number of each node that is known to be a layer, to the layer's name.

    The exporter writes a network's products in the order in which it computes them. Where their weights are as large,
    each in its turn, all are known; else those that lie in stretches that agree.

    Args:
        graph: Of the file.
        products: Of the network it was made of, in the order of its calls. Without any, as for a file from elsewhere,
            the names go by which it stores its weights, where they look like those of layers: "layer1.0.conv1.weight".
    """
    nodes = weighted(graph)
    if not products:
        return {one.node: one.stored_as.removesuffix(_ENDING) for one in nodes if one.stored_as.endswith(_ENDING)}
    sizes, wanted = [one.values for one in nodes], [math.prod(one.weight) for one in products]
    blocks = SequenceMatcher(None, sizes, wanted, autojunk=False).get_matching_blocks()
    return {nodes[block.a + at].node: products[block.b + at].layer for block in blocks for at in range(block.size)}


def back_to(graph: GraphProto, node: int, wanted: Sequence[int]) -> Iterator[int]:
    """The wanted nodes that a node is, or reads without another between them, the nearest first.

    Args:
        graph: Whose nodes are meant.
        node: Where to start.
        wanted: Numbers of nodes.
    """
    made, open_, seen = makers(graph), [node], set[int]()
    while open_:
        number = open_.pop(0)
        if number in seen:
            continue
        seen.add(number)
        if number in wanted:
            yield number
        else:
            open_.extend(made[value] for value in graph.node[number].input if value in made)


def _stored(graph: GraphProto) -> dict[str, int]:
    """Each value that the file holds, to its size."""
    stored = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    constants = ((node, attribute) for node in graph.node if node.op_type == "Constant" for attribute in node.attribute)
    return stored | {node.output[0]: math.prod(attribute.t.dims) for node, attribute in constants}


def _sources(value: str, nodes: Sequence[NodeProto], made: Makers, stored: Mapping[str, int]) -> list[str]:
    """The stored tensors that a value is computed from; none where it depends on an input of the graph."""
    found, open_, seen = list[str](), [value], set[str]()
    while open_:
        name = open_.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in stored:
            found.append(name)
        elif name in made:
            open_.extend(nodes[made[name]].input)
        else:
            return []
    return found
