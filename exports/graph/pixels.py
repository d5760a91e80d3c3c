"""An ONNX model that takes uint8 pixels, made of one that takes them scaled, in as few nodes as can be.

What goes in is pixel * factor - shift, channel by channel. Where it goes into one plain convolution W x + b, the factor
is a part of W. The shift is a part of b where nothing is padded; beside zeros, which stand for shifted values, it is
not: there shift / factor, the mean in pixels, is subtracted first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compress.preprocessing import Scale
from exports.graph.strip import graphs

_OWN = "edgepress/"  # begins no name that torch gives
_CAST = f"{_OWN}cast"

Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Convolution:
    """The one node that reads the input.

    Attributes:
        node: In the graph.
        weight: (O, C, h, w), as stored.
        bias: (O,), zeros where it has none.
        padded: It puts zeros around what it reads.
    """

    node: NodeProto
    weight: Values
    bias: Values
    padded: bool


def take_pixels(model: ModelProto, scale: Scale) -> ModelProto:
    """A copy of the model whose input is (B, C, H, W) uint8 pixels, of the same name.

    It begins with a Cast. Where a convolution of one group alone reads the input, and alone reads its stored weights,
    the scale is in these weights, but for a Sub if it pads; else a Mul and a Sub follow.

    Args:
        model: It takes float32 of a known number of channels.
        scale: What it wants done to pixels.
    """
    made = ModelProto()
    made.CopyFrom(model)
    graph, taken = made.graph, made.graph.input[0]
    channels = taken.type.tensor_type.shape.dim[1].dim_value
    mean, std = (np.broadcast_to(np.array(values, np.float64), channels) for values in (scale.mean, scale.std))
    factor, shift = 1 / (255 * std), mean / std
    convolution = _convolution(graph, taken.name)
    if convolution is None:
        steps = [("Mul", factor), ("Sub", shift)]
    elif convolution.padded:
        _fold(graph, convolution, factor, np.zeros(channels))
        steps = [("Sub", shift / factor)]
    else:
        _fold(graph, convolution, factor, shift)
        steps = []
    _begin(graph, steps)
    taken.type.tensor_type.elem_type = TensorProto.UINT8
    return made


def _convolution(graph: GraphProto, taken: str) -> _Convolution | None:
    """What reads the input, where the scale can be a part of its weights."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    reads = Counter(name for part in graphs(graph) for node in part.node for name in node.input)
    node = next((node for node in graph.node if taken in node.input), None)
    if node is None or node.op_type != "Conv" or taken in node.input[1:] or reads[taken] != 1:
        return None
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    weights = [name for name in node.input[1:] if name]
    own = all(name in stored and reads[name] == 1 for name in weights)
    single = all(stored[name].data_type == TensorProto.FLOAT for name in weights if name in stored)
    if not own or not single or settings.get("group", 1) != 1 or settings.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    weight, *bias = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in weights)
    return _Convolution(node, weight, bias[0] if bias else np.zeros(len(weight)), any(settings.get("pads", ())))


def _fold(graph: GraphProto, convolution: _Convolution, factor: Values, shift: Values) -> None:
    """Put the scale of the (C,) channels into the weights of a convolution that does not have to shift what it pads."""
    sides = (1, -1, *(1 for _ in convolution.weight.shape[2:]))
    bias = convolution.bias - (convolution.weight * shift.reshape(sides)).reshape(len(convolution.bias), -1).sum(1)
    replaced = list(convolution.node.input[1:])
    kept = [tensor for tensor in graph.initializer if tensor.name not in replaced]
    values = {"weight": convolution.weight * factor.reshape(sides)} | ({"bias": bias} if bias.any() else {})
    del graph.initializer[:]
    graph.initializer.extend([*(_tensor(name, value) for name, value in values.items()), *kept])
    del convolution.node.input[1:]
    convolution.node.input.extend(f"{_OWN}{name}" for name in values)


def _begin(graph: GraphProto, steps: list[tuple[str, Values]]) -> None:
    """Let the graph begin with a Cast and these steps, each of them with one value for each of the (C,) channels."""
    taken = graph.input[0].name
    nodes, last = [helper.make_node("Cast", [taken], [_CAST], to=TensorProto.FLOAT)], _CAST
    for operator, values in steps:
        if values.any():
            result = f"{_OWN}{operator}"
            graph.initializer.append(_tensor(f"{operator} by", values.reshape(-1, 1, 1)))
            nodes.append(helper.make_node(operator, [last, f"{_OWN}{operator} by"], [result]))
            last = result
    for part in graphs(graph):
        for node in part.node:
            node.input[:] = [last if name == taken else name for name in node.input]
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)


def _tensor(name: str, values: Values) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), f"{_OWN}{name}")
