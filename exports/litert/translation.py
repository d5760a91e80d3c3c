"""A translation under way: the values of an ONNX network as tensors of a .tflite file, and the moves between layouts.

A value of four dimensions is (B, C, H, W) in ONNX and (B, H, W, C) in the file; any other lies as in ONNX. A matrix
that is a flattened map stays that map until an operator needs its values in the order of ONNX: a dense layer needs none
of it, for its weights can be put in the order of the file.

A tensor is of floats, or of int8 codes on a grid. What a node takes is brought to float unless the node at hand is
computed in codes (see `kernels`), so that an operator need not know of grids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from compress.errors import ExportError
from exports.litert.builder import Builder
from exports.litert.grids import Grid, Whole, whole
from exports.litert.lowered import Constant, Lowered, Node, Shape

Code = schema.BuiltinOperator

TO_FILE, TO_ONNX = (0, 2, 3, 1), (0, 3, 1, 2)  # a permutation of the axes of a map
AXIS_IN_FILE = {0: 0, 1: 3, 2: 1, 3: 2}

_Activation = schema.ActivationFunctionType

CLIPS = {
    (0.0, inf): (Code.RELU, _Activation.RELU),
    (0.0, 6.0): (Code.RELU6, _Activation.RELU6),
    (-1.0, 1.0): (Code.RELU_N1_TO_1, _Activation.RELU_N1_TO_1),
}  # limits to the operator, and what others can do as well
_ACTIVATING = (
    schema.AddOptionsT,
    schema.Conv2DOptionsT,
    schema.DepthwiseConv2DOptionsT,
    schema.DivOptionsT,
    schema.FullyConnectedOptionsT,
    schema.MulOptionsT,
    schema.Pool2DOptionsT,
    schema.SubOptionsT,
)
_DEQUANTIZE = {"float16": 3, "int8": 5, "int4": 6, "int2": 7}  # the first version that takes the type as weights are
_ON_CODES = {
    Code.CONV_2D: 3,
    Code.DEPTHWISE_CONV_2D: 3,
    Code.FULLY_CONNECTED: 5,
    Code.MUL: 3,
    Code.QUANTIZE: 1,
    Code.RESHAPE: 1,
    Code.RESIZE_BILINEAR: 3,
}  # the first version that computes in int8, where that is not 2


@dataclass(frozen=True)
class Value:
    """What a name of the network is in the file.

    Attributes:
        tensor: Its index.
        shape: As in ONNX, for one image.
        flattened: (C, H, W) of the map that the tensor still is, where the value is one flattened; else None.
        positive: No value is below zero.
    """

    tensor: int
    shape: Shape
    flattened: Shape | None = None
    positive: bool = False


class UntranslatableError(ExportError):
    """A network has an operator that is none of those a .tflite file can be written of."""


class Translation:
    """What has been translated so far.

    Args:
        network: What is translated.

    Attributes:
        grid: Of what the node at hand gives, where it is computed in codes; None for floats.
    """

    def __init__(self, network: Lowered) -> None:
        self.network = network
        self.builder = Builder()
        self.values: dict[str, Value] = {}
        self.grid: Grid | None = None
        self._floats: dict[int, int] = {}
        self._makers: dict[str, Any] = {}

    def given(self, node: Node, number: int) -> Value:
        """What a node takes as its input `number`: floats, unless the node is computed in codes.

        Raises:
            ExportError: It is no value computed from the images.
        """
        name = node.inputs[number] if number < len(node.inputs) else ""
        if name not in self.values:
            self.refuse(node, f"its input {number + 1} is not computed from the images")
        return self.values[name] if self.grid is not None else self.floating(self.values[name])

    def floating(self, value: Value) -> Value:
        """The value with a tensor of floats."""
        tensor = value.tensor
        if self.builder.grid(tensor) is None:
            return value
        if tensor not in self._floats:
            self._floats[tensor] = self.builder.value(self.builder.shape(tensor))
            options = schema.DequantizeOptionsT()
            self.builder.operator(Code.DEQUANTIZE, [tensor], self._floats[tensor], options, version=2)
        return replace(value, tensor=self._floats[tensor])

    def snapped(self, tensor: int, grid: Grid) -> int:
        """The tensor in codes on that grid, whatever it is of."""
        if self.builder.grid(tensor) == grid:
            return tensor
        return self._made(Code.QUANTIZE, [tensor], self.builder.shape(tensor), schema.QuantizeOptionsT(), grid)[0]

    def stored(self, node: Node, number: int) -> Constant | None:
        """The constant that a node takes as its input `number`; None where it takes none there or computes it."""
        return self.network.constants.get(node.inputs[number]) if number < len(node.inputs) else None

    def constant(self, node: Node, number: int) -> Constant:
        """The same; ExportError where there is none."""
        found = self.stored(node, number)
        if found is None:
            self.refuse(node, f"its input {number + 1} is not stored in the network")
        return found

    def limits(self, node: Node) -> tuple[float, float]:
        """The least and the largest value of a Clip; infinite where it names none."""
        low, high = (self.constant(node, number) if any(node.inputs[number:][:1]) else None for number in (1, 2))
        return -inf if low is None else low.dense.item(), inf if high is None else high.dense.item()

    def shape(self, node: Node) -> Shape:
        """Of what a node gives, for one image; ExportError where it is not known."""
        found = self.network.shapes.get(node.output, ())
        if not found or min(found) < 1 or found[0] != 1:
            self.refuse(node, f"what it gives has no shape that is known and begins with the images: {found}")
        return found

    def emit(
        self, node: Node, code: int, inputs: Sequence[int], options: object | None = None, *, positive: bool = False
    ) -> None:
        """Let an operator compute what the node gives, laid out as the file has it."""
        shape = self.shape(node)
        tensor, self._makers[node.output] = self._made(code, inputs, in_file(shape), options, self.grid)
        self.values[node.output] = Value(tensor, shape, positive=positive)

    def weigh(
        self, node: Node, code: int, inputs: Sequence[int], options: object, factors: NDArray[np.float32] | None
    ) -> None:
        """Let an operator with weights compute what the node gives.

        Args:
            node: A convolution or a dense layer.
            code: The operator.
            inputs: Tensors of the values, the weights and the bias; -1 for none.
            options: Of the operator.
            factors: (O,), what its outputs are multiplied by before the bias is added; None for nothing.
        """
        if factors is None:
            self.emit(node, code, inputs, options)
            return
        none = self.builder.constant(np.zeros_like(factors))
        products = self.step(code, [*inputs[:2], none], in_file(self.shape(node)), options)
        bias = none if inputs[2] < 0 else inputs[2]
        if len(self.shape(node)) == 4:  # one filter of one pixel a channel, for which there is a kernel of its own
            filters = self.builder.constant(factors.reshape(1, 1, 1, -1))
            self.emit(node, Code.DEPTHWISE_CONV_2D, [products, filters, bias], _pixelwise())
            return
        scaled = [products, self.builder.constant(factors)]
        products = self.step(Code.MUL, scaled, in_file(self.shape(node)), schema.MulOptionsT())
        self.emit(node, Code.ADD, [products, bias], schema.AddOptionsT())

    def step(self, code: int, inputs: Sequence[int], shape: Sequence[int], options: object | None = None) -> int:
        """The tensor that an operator computes on the way: of `shape`, as the file has it, on the grid of its input."""
        return self._made(code, inputs, shape, options, self.builder.grid(inputs[0]))[0]

    def _made(
        self, code: int, inputs: Sequence[int], shape: Sequence[int], options: object | None, grid: Grid | None
    ) -> tuple[int, Any]:
        """A new tensor, and the operator that computes it."""
        tensor = self.builder.value(shape, grid=grid)
        version = 1 if grid is None else _ON_CODES.get(code, 2)
        return tensor, self.builder.operator(code, inputs, tensor, options, version=version)

    def fuse(self, node: Node, activation: int) -> bool:
        """Whether the operator that computes the node's input does the activation as well, from now on.

        It cannot where something else takes that input, where it is of a kind that takes no activation, or where one of
        the two is computed in codes and the other in floats.
        """
        name = node.inputs[0]
        if (self.builder.grid(self.values[name].tensor) is None) != (self.grid is None):
            return False
        options = getattr(self._makers.get(name), "builtinOptions", None)
        if self.network.uses[name] != 1 or not isinstance(options, _ACTIVATING) or options.fusedActivationFunction:
            return False
        options.fusedActivationFunction = activation
        self._makers.pop(name)
        self.values[node.output] = replace(self.values[name], positive=activation != _Activation.RELU_N1_TO_1)
        return True

    def floats(self, constant: Constant, arrange: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray) -> int:
        """A tensor of the constant's float values; those stored as codes stay so in the file where it can scale them.

        Args:
            constant: Any.
            arrange: Brings an array into the order of the file.
        """
        name = constant.values.dtype.name
        if constant.scale is None or name not in _DEQUANTIZE or constant.apart()[1] is not None:
            return self.builder.constant(arrange(constant.dense).astype(np.float32))
        values, scale = arrange(constant.values), None
        if values.dtype != np.float16:
            scale = _narrowed(arrange(np.broadcast_to(constant.scale, constant.values.shape)))
        tensor, version = self.builder.value(values.shape), _DEQUANTIZE[name]
        codes = self.builder.constant(values, scale)
        self.builder.operator(Code.DEQUANTIZE, [codes], tensor, schema.DequantizeOptionsT(), version=version)
        return tensor

    def weight(
        self, node: Node, weight: Constant, arrange: Callable[[NDArray[Any]], NDArray[Any]], *, axis: int = 0
    ) -> int:
        """A tensor of the weight of a node: of floats, or of what an integer kernel takes.

        Args:
            node: A convolution or a dense layer.
            weight: Its weight.
            arrange: Brings that into the order of the file.
            axis: Of the outputs in the weight.
        """
        found = self._whole(node, weight, axis)
        if found is None:
            return self.floats(weight, arrange)
        scale = _narrowed(arrange(np.broadcast_to(found.scale, found.codes.shape)))
        return self.builder.constant(arrange(found.codes), scale)

    def bias(self, node: Node, weight: Constant, *, axis: int = 0) -> int:
        """A tensor of the bias that a node with that weight takes as its input 2, likewise; -1 where it takes none."""
        found = self._whole(node, weight, axis)
        if found is None:
            return self.floats(self.constant(node, 2)) if any(node.inputs[2:]) else -1
        one = (found.scale == found.scale.flat[0]).all()
        return self.builder.constant(found.sums, found.units[:1] if one else found.units)

    def _whole(self, node: Node, weight: Constant, axis: int) -> Whole | None:
        """The weight and the bias of a node that is computed in codes; None for one that is in floats."""
        given = self.builder.grid(self.values[node.inputs[0]].tensor)
        if self.grid is None or given is None:
            return None
        bias = self.constant(node, 2) if any(node.inputs[2:]) else None
        return whole(weight, bias, axis, given.step)

    def number(self, value: float) -> int:
        """A tensor of one float without dimensions."""
        return self.builder.constant(np.asarray(value, np.float32))

    def numbers(self, values: Sequence[int] | NDArray[Any]) -> int:
        """A tensor of whole numbers."""
        return self.builder.constant(np.asarray(values, np.int32))

    def refuse(self, node: Node, reason: str) -> NoReturn:
        """UntranslatableError that says where the network cannot be written, and why."""
        raise UntranslatableError(
            f"{self.network.path}: {node.kind} cannot be written to a .tflite file ({node.place}): {reason}; export "
            "to .onnx, or change the network"
        )

    def in_onnx(self, value: Value) -> int:
        """The tensor of a value in the order of ONNX, whatever order the file has it in."""
        maps = (1, *value.flattened) if value.flattened else value.shape
        if len(maps) != 4:
            return value.tensor
        _, channels, height, width = maps
        if channels == 1 or height * width == 1:
            return self.reshaped(value.tensor, value.shape)
        inputs = [value.tensor, self.numbers(TO_ONNX)]
        tensor = self.step(Code.TRANSPOSE, inputs, maps, schema.TransposeOptionsT())
        return self.reshaped(tensor, value.shape) if value.flattened else tensor

    def reshaped(self, tensor: int, shape: Sequence[int]) -> int:
        """The same numbers in the same order as another shape, however many images there are."""
        options = schema.ReshapeOptionsT(newShape=np.asarray([-1, *shape[1:]], np.int32))
        return self.step(Code.RESHAPE, [tensor, self.numbers([-1, *shape[1:]])], shape, options)

    def keep(self, node: Node, tensor: int, *, positive: bool = False) -> None:
        """Let a tensor in the order of ONNX be what the node gives."""
        shape = self.shape(node)
        if len(shape) == 4:
            _, channels, height, width = shape
            if channels == 1 or height * width == 1:
                tensor = self.reshaped(tensor, in_file(shape))
            else:
                tensor = self.step(
                    Code.TRANSPOSE, [tensor, self.numbers(TO_FILE)], in_file(shape), schema.TransposeOptionsT()
                )
        self.values[node.output] = Value(tensor, shape, positive=positive)


def in_file(shape: Shape) -> Shape:
    """The shape that a value of `shape` has in the file."""
    return tuple(shape[axis] for axis in TO_FILE) if len(shape) == 4 else shape


def _pixelwise() -> object:
    return schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.VALID, strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=1, dilationWFactor=1
    )


def _narrowed(scale: NDArray[Any]) -> NDArray[np.float32]:
    """An array that varies along one axis at most, with a length of 1 along each other."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis)
        if (scale == first).all():
            scale = first
    return scale
