"""A lowered ONNX network as what a translator walks: nodes, constants, and the shape of every value for one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from compress.errors import ExportError
from exports.graph.model_file import at_batch_one, inputs

Shape = tuple[int, ...]

_CODES = ("float16", "int8", "int4", "int2")  # types of weights that a file can store as they are


@dataclass(frozen=True)
class Constant:
    """A stored tensor.

    Attributes:
        values: As stored; float16 or whole numbers where the network brings it to float itself.
        scale: What the float values are `values` times of, of as many dimensions; None for values as they are.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32] | None = None

    @property
    def dense(self) -> NDArray[Any]:
        """The values that the network computes with."""
        return self.values if self.scale is None else self.values.astype(np.float32) * self.scale

    def apart(self) -> tuple[Constant, NDArray[np.float32] | None]:
        """What a file can bring to float itself, and the factors (O,) that it cannot: half floats are of no scale.

        The factors are those of the outputs of an operator whose weight this is; None where there are none.
        """
        if self.scale is None or self.values.dtype != np.float16 or (self.scale == 1).all():
            return self, None
        return Constant(self.values, np.ones_like(self.scale)), self.scale.ravel()


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
        kind: Its name in ONNX.
        inputs: Names of values; "" where an optional one is left out.
        output: Name of its first output.
        attributes: By name; those at their default may be missing.
        place: Where it stands, in words.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]
    place: str

    def ints(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """A list of whole numbers among the attributes."""
        return tuple(int(value) for value in self.attributes.get(name, default))


@dataclass(frozen=True)
class Lowered:
    """A network with one input and one output.

    Attributes:
        path: Of the file that is to be written, for messages.
        input: Name of the images.
        output: Name of the answers.
        nodes: In an order in which they can be computed; those that only bring constants into form are left out.
        constants: By name.
        shapes: Of every other value, for one image.
        uses: How often each value is taken; the answers once more.
    """

    path: Path
    input: str
    output: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant]
    shapes: Mapping[str, Shape]
    uses: Mapping[str, int]


def lowered(path: Path, model: ModelProto) -> Lowered:
    """The model as a translator walks it.

    Args:
        path: Of the file that is to be written, for messages.
        model: A checked model of one graph.

    Raises:
        ExportError: It has more than one input or output, or a shape that cannot be told.
    """
    graph = model.graph
    taken = inputs(graph)
    if len(taken) != 1 or len(graph.output) != 1:
        raise ExportError(
            f"{path}: the network has {len(taken)} inputs and {len(graph.output)} outputs; a .tflite file of edgepress "
            "has one of each"
        )
    constants = {tensor.name: Constant(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    fixed = at_batch_one(path, model)
    shapes = {value.name: _sides(value) for value in (*fixed.input, *fixed.value_info, *fixed.output)}
    nodes = []
    for number, node in enumerate(graph.node, 1):
        folded = _folded(node, constants)
        if folded is not None:
            constants[node.output[0]] = folded
            continue
        place = f"node {number} of {len(graph.node)}, which takes {_listed(node.input, constants, shapes)}"
        nodes.append(_node(node, place))
    uses = Counter(name for node in nodes for name in node.inputs)
    uses[graph.output[0].name] += 1
    return Lowered(path, taken[0].name, graph.output[0].name, tuple(nodes), constants, shapes, uses)


def _node(node: NodeProto, place: str) -> Node:
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return Node(node.op_type, tuple(node.input), node.output[0], attributes, place)


def _listed(names: Sequence[str], constants: Mapping[str, Constant], shapes: Mapping[str, Shape]) -> str:
    known = [str(shapes.get(name, "an unknown shape")) for name in names if name and name not in constants]
    return " and ".join(known) or "nothing but constants"


def _sides(value: ValueInfoProto) -> Shape:
    """The shape; a side that is not known is -1."""
    sides = value.type.tensor_type.shape.dim
    return tuple(int(side.dim_value) if side.HasField("dim_value") else -1 for side in sides)


def _folded(node: NodeProto, constants: Mapping[str, Constant]) -> Constant | None:
    """What a node makes of constants alone, where that only brings them into form; else None."""
    attributes = {entry.name: entry for entry in node.attribute}
    if node.op_type == "Constant" and "value" in attributes:
        return Constant(numpy_helper.to_array(attributes["value"].t))
    taken = [constants.get(name) for name in node.input]
    given = [constant for constant in taken if constant is not None]
    if not given or len(given) != len(taken):
        return None
    if node.op_type == "Identity":
        return given[0]
    if node.op_type == "DequantizeLinear" and "block_size" not in attributes:
        return _dequantized(*given, axis=attributes["axis"].i if "axis" in attributes else 1)
    if node.op_type == "Cast" and attributes["to"].i == TensorProto.FLOAT:
        one = np.ones((1,) * given[0].values.ndim, np.float32)
        return Constant(given[0].values, one) if given[0].values.dtype.name in _CODES else _cast(given[0])
    if node.op_type == "Mul":
        return _scaled(*given) or _scaled(*reversed(given))
    return None


def _cast(constant: Constant) -> Constant:
    return Constant(constant.dense.astype(np.float32))


def _dequantized(codes: Constant, scale: Constant, zero: Constant | None = None, *, axis: int) -> Constant:
    """Codes with a scale for all of them, or for each index of an axis."""
    lanes = [1] * codes.values.ndim
    if scale.values.size > 1:
        lanes[axis] = -1
    factor = scale.dense.astype(np.float32).reshape(lanes)
    if zero is None or not zero.values.any():
        return Constant(codes.values, factor)
    return Constant((codes.values.astype(np.float32) - zero.values.astype(np.float32).reshape(lanes)) * factor)


def _scaled(stored: Constant, factor: Constant) -> Constant | None:
    """Codes brought to float, times a factor for each index of one axis; None where it is something else."""
    if stored.scale is None or factor.scale is not None or factor.values.dtype != np.float32:
        return None
    scale = factor.values.reshape((1,) * (stored.values.ndim - factor.values.ndim) + factor.values.shape)
    if scale.ndim != stored.values.ndim or sum(side != 1 for side in scale.shape) > 1:
        return None
    return Constant(stored.values, stored.scale * scale)
